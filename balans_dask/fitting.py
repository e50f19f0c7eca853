"""A fit from arrays: check the values, make the scores, sample the rows, sum over them."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.batches import BatchLabels
from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.kernels.moments import Moments
from balans_dask.kernels.projection import Projection
from balans_dask.memory import MemoryPlan, RunShape, Workers, plan_memory
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.pca import compute_moments, fit_projection
from balans_dask.passes.scores import Scores
from balans_dask.passes.smooth import Profiles, RowSink, smooth_rows, sum_rows
from balans_dask.passes.sources import RowSource
from balans_dask.sampling import Round, SampledRows, sample_rows
from balans_dask.state import projection_from, sampled_from
from balans_dask.tiling import Partition, Tiling

__all__ = [
    "Examined",
    "Fit",
    "Inputs",
    "LandmarkSums",
    "Stage",
    "examine",
    "fit",
    "plan_run",
    "require_sizes",
    "smooth",
    "sum_landmarks",
]

logger = logging.getLogger(__name__)

NAMED = 5
"""Names that a message lists before it goes on with an ellipsis."""
UNCOVERED_SHARE = 0.01
"""Share of uncovered rows that is worth a warning; the paper's stop rule leaves a few."""


@dataclass(frozen=True)
class Stage:
    """What a run is doing now; the argument of every progress callback.

    Attributes
    ----------
    name : str
    round : Round or None
        While rows are sampled: the last round.
    """

    name: str
    round: Round | None = None


OnStage = Callable[[Stage], None]


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


@dataclass(frozen=True)
class Examined:
    """The values of the input, found usable.

    Attributes
    ----------
    features, scored : Moments
        Of the features, and of what the scores are made from (often the same).
    """

    features: Moments
    scored: Moments


@dataclass(frozen=True)
class Fit:
    """Sampled landmarks, whose rows of A_S are still on the workers.

    Attributes
    ----------
    inputs, parameters, plan
        What was asked for, and how it is done.
    examined : Examined
    scores : Scores
    profiles : Profiles
    sampled : SampledRows
    """

    inputs: Inputs
    parameters: Parameters
    plan: MemoryPlan
    examined: Examined
    scores: Scores
    profiles: Profiles
    sampled: SampledRows


@dataclass(frozen=True)
class LandmarkSums:
    """What the corrector needs of the landmarks, on the workers.

    Attributes
    ----------
    table : Future of list of LandmarkBlock
    sums : Future of ndarray of shape (n_landmarks, n_columns + 1), float64
        A_S [X, E, 1].
    """

    table: Future
    sums: Future


def components_of(parameters: Parameters, inputs: Inputs) -> int | None:
    """Components of the PCA; ``None`` where distances are taken in an embedding."""
    return None if inputs.embedding is not None else parameters.n_components


def require_sizes(inputs: Inputs) -> None:
    """Refuse an input too small to align.

    Raises
    ------
    InvalidInputError
        If there are fewer than 2 rows, or no features.
    """
    n_rows, n_features = inputs.features.shape
    if n_rows < 2:
        raise InvalidInputError(f"the input has {n_rows} rows: give at least 2 to align")
    if n_features < 1:
        raise InvalidInputError("the input has 0 features: give at least 1")


def plan_run(inputs: Inputs, parameters: Parameters, workers: Workers) -> MemoryPlan:
    """Plan the memory of a run.

    Raises
    ------
    InvalidInputError
        If there are fewer than 2 rows, or no features.
    InsufficientMemoryError
        If no plan fits.
    """
    require_sizes(inputs)
    n_rows, n_features = inputs.features.shape
    n_components = components_of(parameters, inputs)
    n_scored = inputs.scored.shape[1]
    n_scores = n_scored if n_components is None else min(n_components, n_scored, n_rows - 1)
    n_embedding = n_scores if n_components is not None or inputs.embedding is not None else 0
    row_bytes = n_features * inputs.features.dtype.itemsize
    if inputs.embedding is not None:
        row_bytes += n_scored * inputs.embedding.dtype.itemsize
    return plan_memory(
        RunShape(
            n_rows=n_rows,
            n_features=n_features,
            n_components=n_scores,
            n_embedding=n_embedding,
            n_batches=inputs.labels.n_batches,
            block_rows=parameters.block_rows,
            n_neighbors=parameters.n_neighbors,
            max_rows=parameters.max_rows,
            row_bytes=row_bytes,
            pca=n_components is not None,
            shard_tiles=inputs.shard_tiles,
            in_memory=inputs.in_memory,
            table_bytes=inputs.table_bytes,
        ),
        workers,
    )


def examine(engine: Engine, inputs: Inputs, parameters: Parameters, tiling: Tiling) -> Examined:
    """Read all values once; refuse what cannot be corrected and warn of what is odd.

    Raises
    ------
    InvalidInputError
        If values are NaN or infinite, or no feature varies.
    """
    features = compute_moments(engine, tiling, inputs.features)
    _require_finite(features, inputs.feature_names)
    scored = features
    if inputs.embedding is not None:
        scored = compute_moments(engine, tiling, inputs.embedding)
        _require_finite(scored, [f"embedding column {i}" for i in range(len(scored.total))])
    if scored.constant.all():
        raise InvalidInputError(
            f"all {len(scored.constant)} features are constant: give at least one that varies"
        )
    _warn_of_oddities(features, inputs, parameters)
    return Examined(features, scored)


def fit(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    plan: MemoryPlan,
    examined: Examined,
    on_stage: OnStage = lambda stage: None,
    resumed: Mapping[str, NDArray[Any]] | None = None,
    on_round: Callable[[Projection, SampledRows], None] = lambda projection, sampled: None,
) -> Fit:
    """Sample the landmarks.

    Parameters
    ----------
    engine : Engine
    inputs : Inputs
    parameters : Parameters
    plan : MemoryPlan
        Made by ``plan_run``; decides where data waits, never what comes out.
    examined : Examined
    on_stage : callable
        Told what the run is doing.
    resumed : mapping of str to ndarray, or None
        State of an interrupted fit of the same inputs and parameters, by ``state.arrays_of``.
    on_round : callable
        Told about every round, when its state may be saved.
    """
    tiling = plan.tiling
    on_stage(Stage("preparing scores"))
    if resumed is None:
        n_components = components_of(parameters, inputs)
        projection = fit_projection(engine, tiling, inputs.scored, examined.scored, n_components)
    else:
        projection = projection_from(resumed)
    labels = inputs.labels
    scores = Scores.load(
        engine,
        tiling,
        inputs.scored,
        labels.codes,
        labels.n_batches,
        projection,
        keep=plan.keep_scores,
    )
    profiles = Profiles(
        inputs.features,
        examined.features.constant,
        inputs.embedding,
        embed_scores=projection.weights is not None,
    )

    def after_round(sampled: SampledRows) -> None:
        on_stage(Stage("sampling rows", sampled.curve[-1]))
        on_round(projection, sampled)

    sampled = sample_rows(
        engine,
        scores,
        parameters,
        plan.piece_bytes,
        None if resumed is None else sampled_from(resumed, parameters.block_rows),
        after_round,
    )
    _warn_of_uncovered(sampled, parameters)
    return Fit(inputs, parameters, plan, examined, scores, profiles, sampled)


def sum_landmarks(engine: Engine, fitted: Fit) -> LandmarkSums:
    """Reduce A_S [X, E, 1] over all partitions, and wait for it.

    Parameters
    ----------
    engine : Engine
    fitted : Fit
    """
    table = engine.share("landmarks", list(fitted.sampled.blocks))
    pieces = fitted.sampled.pieces_by_partition(fitted.plan.tiling.n_partitions)
    sums = sum_rows(engine, fitted.scores, fitted.profiles, table, pieces)
    engine.wait([sums])
    return LandmarkSums(table, sums)


def smooth(
    engine: Engine,
    fitted: Fit,
    landmarks: LandmarkSums,
    sink: RowSink | None,
    partitions: Sequence[Partition] | None = None,
) -> list[Future]:
    """Correct the rows that were fitted, one future of ``SmoothedRows`` a partition.

    Parameters
    ----------
    engine : Engine
    fitted : Fit
    landmarks : LandmarkSums
    sink : RowSink or None
        Where tasks write the rows; ``None`` to return them.
    partitions : sequence of Partition or None
        Those to correct; ``None`` for all.
    """
    return smooth_rows(
        engine,
        fitted.scores,
        fitted.profiles,
        fitted.plan.tiling.partitions() if partitions is None else partitions,
        landmarks.table,
        fitted.sampled.pieces_by_partition(fitted.plan.tiling.n_partitions),
        landmarks.sums,
        fitted.parameters.uncovered == "keep",
        sink,
    )


def _require_finite(moments: Moments, names: Sequence[str]) -> None:
    bad = np.flatnonzero(moments.n_bad)
    if len(bad):
        listed = ", ".join(str(names[i]) for i in bad[:NAMED])
        more = ", ..." if len(bad) > NAMED else ""
        raise InvalidInputError(
            f"{moments.n_bad_rows} of {moments.n_rows} rows hold NaN or infinite values in "
            f"{len(bad)} features ({listed}{more}): drop or impute these features or rows"
        )


def _warn_of_oddities(features: Moments, inputs: Inputs, parameters: Parameters) -> None:
    n_constant = int(features.constant.sum())
    if n_constant:
        names = [str(inputs.feature_names[i]) for i in np.flatnonzero(features.constant)[:NAMED]]
        more = ", ..." if n_constant > NAMED else ""
        _warn(
            f"{n_constant} of {len(features.constant)} features are constant "
            f"({', '.join(names)}{more}): they take no part in distances and stay as they are"
        )
    labels = inputs.labels
    if labels.n_batches == 1:
        _warn(f"all {inputs.n_rows} rows are of one batch ({labels.names[0]}): nothing to align")
    clamped = labels.clamped(parameters.n_neighbors)
    if clamped:
        more = ", ..." if len(clamped) > NAMED else ""
        _warn(
            f"{len(clamped)} of {labels.n_batches} batches have at most {parameters.n_neighbors} "
            f"rows ({', '.join(clamped[:NAMED])}{more}): their local scale is the distance to "
            "their farthest row"
        )


def _warn_of_uncovered(sampled: SampledRows, parameters: Parameters) -> None:
    last = sampled.curve[-1]
    n_uncovered = last.n_rows - last.n_covered
    if n_uncovered > UNCOVERED_SHARE * last.n_rows:
        fate = "stay as they are" if parameters.uncovered == "keep" else "follow the nearest one"
        remedy = "max_rows" if sampled.stop_reason == "max_rows" else "patience"
        _warn(
            f"{n_uncovered} of {last.n_rows} rows are covered by no sampled row and {fate}: "
            f"raise {remedy} to cover more"
        )


def _warn(message: str) -> None:
    logger.info(message)
    warnings.warn(message, InputWarning, stacklevel=4)
