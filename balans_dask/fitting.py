"""A fit: make the scores, sample the rows, sum over them, correct."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Future
from numpy.typing import NDArray

from balans_dask.errors import warn_of_input
from balans_dask.examine import Examined
from balans_dask.inputs import Inputs, components_of
from balans_dask.kernels.projection import Projection
from balans_dask.memory import MemoryPlan
from balans_dask.parameters import Parameters
from balans_dask.passes.corrected import RowSink, correct_rows
from balans_dask.passes.engine import Engine
from balans_dask.passes.operators import learn_operator
from balans_dask.passes.pca import fit_projection
from balans_dask.passes.profiles import Profiles
from balans_dask.passes.rows import Pieces, affinity_rows_again
from balans_dask.passes.scores import Scores
from balans_dask.sampling import Round, SampledRows, sample_rows
from balans_dask.state import projection_from, sampled_from
from balans_dask.tiling import Partition

__all__ = ["Fit", "Learned", "OnStage", "Stage", "correct", "fit", "learn"]

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
class Learned:
    """What the operator knows of the landmarks, on the workers.

    Attributes
    ----------
    table : Future of list of LandmarkBlock
    pieces : list over partitions of Pieces
        Rows of A_S that wait on the workers.
    correction : list
        The operator, with futures.
    """

    table: Future
    pieces: list[Pieces]
    correction: list[Any]


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
        _warn_of_landmarks(sampled, plan)
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


def learn(engine: Engine, fitted: Fit) -> Learned:
    """Reduce over all partitions what the operator must know, and wait for it.

    Parameters
    ----------
    engine : Engine
    fitted : Fit
    """
    table = engine.share("landmarks", list(fitted.sampled.blocks))
    pieces = _pieces(engine, fitted, table)
    correction = learn_operator(
        engine,
        fitted.parameters.operator,
        fitted.scores,
        fitted.profiles,
        table,
        pieces,
        fitted.sampled.rows,
    )
    return Learned(table, pieces, correction)


def _pieces(engine: Engine, fitted: Fit, table: Future) -> list[Pieces]:
    """Rows of A_S by partition; those of rounds before a resume are computed again, once."""
    sampled = fitted.sampled
    partitions = range(fitted.plan.tiling.n_partitions)
    n_blocks = sampled.n_restored
    if not n_blocks:
        return [sampled.pieces_of(number) for number in partitions]
    free_bytes = fitted.plan.piece_bytes - sampled.kept_bytes
    again = affinity_rows_again(engine, fitted.scores, table, n_blocks, free_bytes)
    return [[again[number], *sampled.pieces_of(number, n_blocks)] for number in partitions]


def correct(
    engine: Engine,
    fitted: Fit,
    learned: Learned,
    sink: RowSink | None,
    partitions: Sequence[Partition] | None = None,
) -> list[Future]:
    """Correct the rows that were fitted, one future of ``CorrectedRows`` a partition.

    Parameters
    ----------
    engine : Engine
    fitted : Fit
    learned : Learned
    sink : RowSink or None
        Where tasks write the rows; ``None`` to return them.
    partitions : sequence of Partition or None
        Those to correct; ``None`` for all.
    """
    return correct_rows(
        engine,
        fitted.scores,
        fitted.profiles,
        fitted.plan.tiling.partitions() if partitions is None else partitions,
        learned.table,
        learned.pieces,
        learned.correction,
        fitted.parameters.uncovered == "keep",
        fitted.parameters.strength,
        sink,
    )


def _warn_of_uncovered(sampled: SampledRows, parameters: Parameters) -> None:
    last = sampled.curve[-1]
    n_uncovered = last.n_rows - last.n_covered
    if n_uncovered > UNCOVERED_SHARE * last.n_rows:
        fate = "stay as they are" if parameters.uncovered == "keep" else "follow the nearest one"
        remedy = "max_rows" if sampled.stop_reason == "max_rows" else "patience"
        remedy = remedy if parameters.max_neighbors is None else f"max_neighbors or {remedy}"
        warn_of_input(
            f"{n_uncovered} of {last.n_rows} rows are covered by no sampled row and {fate}: "
            f"raise {remedy} to cover more"
        )


def _warn_of_landmarks(sampled: SampledRows, plan: MemoryPlan) -> None:
    """Say it in the round that leaves the plan."""
    n_before = sampled.n_sampled - sampled.blocks[-1].n_landmarks
    if n_before <= plan.n_landmarks < sampled.n_sampled:
        warn_of_input(
            f"more than the {plan.n_landmarks} landmarks are drawn that memory was planned for: "
            "expect more than the plan says, or set max_rows"
        )
