"""What a run is asked to correct, and the plan of its memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from balans_dask.batches import BatchLabels
from balans_dask.errors import InvalidInputError
from balans_dask.memory import MemoryPlan, Workers, plan_memory
from balans_dask.parameters import Parameters
from balans_dask.passes.sources import RowSource
from balans_dask.task_memory import RunShape

__all__ = ["Inputs", "components_of", "plan_run", "require_sizes"]


@dataclass(frozen=True)
class Inputs:
    """The data of a run.

    Attributes
    ----------
    features : RowSource
        What is corrected.
    labels : BatchLabels
    feature_names : sequence of str
    embedding : RowSource or None
        Where distances are taken, if not in the features; corrected with the same weights.
    shard_tiles : int
        Tiles of a write unit of the output.
    in_memory : bool
        Input and output are numpy arrays on the driver.
    table_bytes : int
        Row annotations on the driver.
    """

    features: RowSource
    labels: BatchLabels
    feature_names: Sequence[str]
    embedding: RowSource | None = None
    shard_tiles: int = 1
    in_memory: bool = False
    table_bytes: int = 0

    @property
    def n_rows(self) -> int:
        """Number of profiles."""
        return self.features.shape[0]

    @property
    def scored(self) -> RowSource:
        """What the scores are made from."""
        return self.features if self.embedding is None else self.embedding


def components_of(parameters: Parameters, inputs: Inputs) -> int | None:
    """Components of the PCA; ``None`` where distances are taken in an embedding."""
    return None if inputs.embedding is not None else parameters.n_components


def require_sizes(name: str, shape: tuple[int, int]) -> None:
    """Refuse an input too small to align.

    Raises
    ------
    InvalidInputError
        If there are fewer than 2 rows, or no features.
    """
    n_rows, n_features = shape
    if n_rows < 2 or n_features < 1:
        raise InvalidInputError(
            f"{name} has {n_rows} rows and {n_features} features: give at least 2 rows and 1 "
            "feature"
        )


def plan_run(inputs: Inputs, parameters: Parameters, workers: Workers) -> MemoryPlan:
    """Plan the memory of a run.

    Raises
    ------
    InsufficientMemoryError
        If no plan fits.
    """
    n_rows, n_features = inputs.features.shape
    n_components = components_of(parameters, inputs)
    n_scored = inputs.scored.shape[1]
    n_scores = n_scored if n_components is None else min(n_components, n_scored, n_rows - 1)
    n_embedding = n_scores if n_components is not None or inputs.embedding is not None else 0
    matrices = [inputs.features] + ([] if inputs.embedding is None else [inputs.embedding])
    row_bytes = sum(matrix.shape[1] * matrix.dtype.itemsize for matrix in matrices)
    return plan_memory(
        RunShape(
            n_rows=n_rows,
            n_features=n_features,
            n_components=n_scores,
            n_embedding=n_embedding,
            n_batches=inputs.labels.n_batches,
            block_rows=parameters.block_rows,
            n_neighbors=min(parameters.n_neighbors, int(inputs.labels.sizes.max())),
            max_rows=parameters.max_rows,
            operator=parameters.operator,
            row_bytes=row_bytes,
            pca=n_components is not None,
            chunks=tuple(matrix.chunks for matrix in matrices if matrix.chunks is not None),
            shard_tiles=inputs.shard_tiles,
            in_memory=inputs.in_memory,
            table_bytes=inputs.table_bytes,
        ),
        workers,
    )
