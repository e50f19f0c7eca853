"""The plan of a run's memory: of a fit of all rows, of some that all then follow, or of a model."""

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

from balans_dask.errors import InsufficientMemoryError
from balans_dask.model.inputs import Inputs, components_of
from balans_dask.parameters import Parameters
from balans_dask.passes.memory import MemoryPlan, plan_memory
from balans_dask.passes.task_bytes import LABEL_ROW_BYTES, RunShape
from balans_dask.passes.workers import Workers

__all__ = ["ModelSizes", "plan_run"]


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model that is to transform a run's rows.

    Attributes
    ----------
    n_landmarks, n_components : int
    batches : tuple of str
    """

    n_landmarks: int
    n_components: int
    batches: tuple[str, ...]


def plan_run(
    inputs: Inputs,
    parameters: Parameters,
    workers: Workers,
    model: ModelSizes | None = None,
    freezes: bool = False,
    holds_fit: bool = False,
) -> MemoryPlan:
    """Plan the memory of a run.

    Parameters
    ----------
    model : ModelSizes or None
        Of the model that transforms; ``None`` for a fit, whose landmarks are still to be drawn.
    freezes : bool
        The driver holds the model that a fit makes.
    holds_fit : bool
        The driver holds the rows of the fit, where these are some of all.

    Raises
    ------
    InsufficientMemoryError
        If no plan fits.
    """
    sizes = None if model is not None else inputs.fit_sizes(parameters)
    shape = _shape(inputs, parameters, inputs.n_rows if sizes is None else int(sizes.sum()))
    if model is None and sizes is None:
        frozen = len(parameters.alignment) if freezes else 0
        return plan_memory(replace(shape, n_frozen=frozen), workers)
    shape = replace(shape, n_frozen=len(parameters.alignment))
    if model is None:
        return _plan_fit_of_some(inputs, shape, workers, holds_fit)
    names = {*inputs.labels.names, *model.batches}
    shape = replace(
        _moving(shape, inputs.n_rows, model.n_landmarks),
        n_components=model.n_components,
        n_embedding=model.n_components if shape.n_embedding else 0,
        n_batches=len(names),
    )
    if len(names) == len(model.batches):
        # Nothing is learned: tables of all steps are held together, if that fits.
        with suppress(InsufficientMemoryError):
            return plan_memory(replace(shape, n_at_once=shape.n_frozen), workers)
    return plan_memory(shape, workers)


def _plan_fit_of_some(
    inputs: Inputs, shape: RunShape, workers: Workers, holds_fit: bool
) -> MemoryPlan:
    """Plan a fit of some rows, whose steps all rows take: at once if that fits in any way.

    Raises
    ------
    InsufficientMemoryError
        If no plan fits.
    """
    row_bytes = LABEL_ROW_BYTES + (shape.row_bytes if inputs.in_memory else 0)
    held_bytes = inputs.n_rows * row_bytes
    of_fit = replace(shape, spheres=False, in_memory=holds_fit, held_bytes=held_bytes)
    for n_at_once, n_landmarks in product((shape.n_frozen, 1), shape.may_plan_for):
        try:
            fitted = plan_memory(of_fit, workers, n_landmarks)
            moving = _moving(shape, inputs.n_rows, fitted.n_landmarks)
            return plan_memory(replace(moving, n_at_once=n_at_once), workers).after(fitted)
        except InsufficientMemoryError as error:
            refused = error
    raise refused


def _moving(shape: RunShape, n_rows: int, n_landmarks: int) -> RunShape:
    """Return the shape of rows that take what others have learned."""
    return replace(shape, n_rows=n_rows, max_rows=n_landmarks, draws=False)


def _shape(inputs: Inputs, parameters: Parameters, n_rows: int) -> RunShape:
    """Return the sizes of a fit of so many rows."""
    n_features = inputs.features.shape[1]
    n_components = components_of(parameters, inputs)
    n_scored = inputs.scored.shape[1]
    n_scores = n_scored if n_components is None else min(n_components, n_scored, n_rows - 1)
    n_embedding = n_scores if n_components is not None or inputs.embedding is not None else 0
    return RunShape(
        n_rows=n_rows,
        n_features=n_features,
        n_components=n_scores,
        n_embedding=n_embedding,
        n_batches=inputs.labels.n_batches,
        block_rows=parameters.block_rows,
        n_neighbors=min(parameters.n_neighbors, int(inputs.labels.sizes.max())),
        max_rows=parameters.max_rows and min(parameters.max_rows, n_rows),
        operator=parameters.operator,
        row_bytes=sum(matrix.shape[1] * matrix.dtype.itemsize for matrix in inputs.matrices),
        pca=n_components is not None,
        chunks=tuple(m.chunks for m in inputs.matrices if m.chunks is not None),
        shard_tiles=inputs.shard_tiles,
        in_memory=inputs.in_memory,
        n_passes=len(parameters.steps),
        spheres=parameters.sphering is not None,
        anchors=inputs.reference is not None,
        table_bytes=inputs.table_bytes,
    )
