"""A fit: fit the preprocessor, sample the rows, sum over them, and last whiten by the controls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import setting, warn_of_input
from balans_dask.kernels.projection import Projection
from balans_dask.model.inputs import CheckedInput, Inputs, components_of
from balans_dask.model.pass_data import FittedOperator, PassData
from balans_dask.model.sampler import SamplerState, sample_rows
from balans_dask.model.state import sampled_from
from balans_dask.parameters import (
    ALIGN,
    AUTO,
    KEEP,
    LOCATION,
    NEAREST,
    OFFSET,
    PATIENCE,
    SCALE,
    SHARE,
    Parameters,
)
from balans_dask.passes.align import learn_align
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.operators import learn_operator, map_fields
from balans_dask.passes.profiles import Landmarks
from balans_dask.passes.projection import fit_projection
from balans_dask.passes.sphering import Sphering, learn_sphering
from balans_dask.passes.stage import PREPARING, SAMPLING, SUMMING, Stage

__all__ = [
    "UNCOVERED_SHARE",
    "Fit",
    "fit",
    "fit_operator",
    "fit_preprocessor",
    "fit_sphering",
    "limited_landmarks",
    "share_sphering",
    "to_cover_more",
]

UNCOVERED_SHARE = 0.01
"""Share of uncovered rows that is worth a warning; the paper's stop rule leaves a few."""
FATES = {
    OFFSET: "move with their batch",
    NEAREST: "follow the nearest one",
    KEEP: "stay as they are",
}
"""Of uncovered rows."""
CAPPED_SHARE = 0.25
"""Share of landmarks beyond the guard's limit that is worth a warning, chosen on what it was tried
on: up to 0.21 where every population is in every batch (CPJUMP1 by plate, mixtures of 3 to 50
dimensions), 0.26 or more with 10 of 20 clusters in one batch."""
MOST_CAPPED_SHARE = 0.9
"""Share from which on the guard holds back the correction as a whole; our choice."""


@dataclass(frozen=True)
class Fit:
    """Sampled landmarks, whose rows of A_S are still on the workers.

    Attributes
    ----------
    prepared : PassData
    sampled : SamplerState
    """

    prepared: PassData
    sampled: SamplerState


def fit_preprocessor(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    plan: MemoryPlan,
    examined: CheckedInput,
) -> Projection:
    """Fit what makes scores of profiles; once, whatever the number of passes."""
    n_components = components_of(parameters, inputs)
    stage = Stage(PREPARING, n_total=plan.tiling.n_partitions)
    with engine.following(stage, ("scatter", "squares")):
        return fit_projection(
            engine, plan.tiling, inputs.scored, examined.reference, n_components, inputs.reference
        )


def fit(
    engine: Engine,
    prepared: PassData,
    resumed: Mapping[str, NDArray[Any]] | None = None,
    on_round: Callable[[SamplerState], None] = lambda sampled: None,
) -> Fit:
    """Sample the landmarks of one pass.

    Parameters
    ----------
    resumed : mapping of str to ndarray, or None
        State of an interrupted fit of the same inputs and parameters, by ``state.arrays_of``.
    on_round : callable
        Told about every round, when its state may be saved.
    """
    parameters, plan = prepared.parameters, prepared.plan

    def after_round(sampled: SamplerState) -> None:
        _warn_of_landmarks(sampled, plan)
        engine.tell(Stage(SAMPLING, sampled.curve[-1], prepared.pass_number))
        on_round(sampled)

    engine.tell(Stage(SAMPLING, number=prepared.pass_number))
    sampled = sample_rows(
        engine,
        prepared.scores,
        parameters,
        plan.piece_bytes,
        prepared.pass_number,
        None if resumed is None else sampled_from(resumed, parameters.block_rows),
        after_round,
    )
    # Rows far from all anchors are no surprise: they move as the nearest anchors do.
    nearby = prepared.inputs.reference is None or parameters.uncovered == KEEP
    # Nor are those of steps that move whole batches, covered or not.
    differs = prepared.step not in (LOCATION, SCALE) or parameters.uncovered == KEEP
    if nearby and differs and not prepared.fitted_alone:
        _warn_of_uncovered(sampled, parameters)
    return Fit(prepared, sampled)


def fit_operator(engine: Engine, fitted: Fit) -> FittedOperator:
    """Reduce over all partitions what the operator must know, and wait for it."""
    prepared, sampled = fitted.prepared, fitted.sampled
    n_partitions = prepared.plan.tiling.n_partitions
    landmarks = Landmarks(
        sampled.rows,
        engine.share("landmarks", list(sampled.blocks)),
        [sampled.pieces_of(number) for number in range(n_partitions)],
    )
    stage = Stage(SUMMING, number=prepared.pass_number, n_total=n_partitions)
    scores, profiles = prepared.scores, prepared.profiles
    with engine.following(stage, ("sums", "batch-sums")):
        if prepared.parameters.operator != ALIGN:
            operator, targets = learn_operator(engine, prepared.step, scores, profiles, landmarks)
            return FittedOperator(landmarks, operator, targets, {})
        own = scores.codes[sampled.rows]
        scales = np.concatenate([block.scales for block in sampled.blocks])
        found = learn_align(
            engine,
            prepared.step,
            scores,
            profiles,
            landmarks,
            scales[np.arange(len(own)), own],
            prepared.inputs.labels.sizes,
            prepared.parameters.shared_populations is True,
        )
    return FittedOperator(landmarks, found.operator, found.targets, found.facts)


def fit_sphering(
    engine: Engine, prepared: PassData, constant_scored: NDArray[np.bool_]
) -> Sphering:
    """Find what whitens the rows, from the controls as the correction has left them.

    Parameters
    ----------
    constant_scored : ndarray of shape (n_columns,), bool
        Columns of a given embedding that hold a single value.

    Raises
    ------
    InvalidInputError
        If the controls do not vary in all directions.
    """
    scores, profiles, controls = prepared.scores, prepared.profiles, prepared.inputs.controls
    assert controls is not None  # who asks for a sphering names them
    constant = [profiles.constant]
    if profiles.embed_scores:
        constant.append(np.zeros(scores.projection.n_components, dtype=bool))
    elif profiles.embedding is not None:
        constant.append(constant_scored)
    n_tasks = 2 * len(scores.partitions)
    stage = Stage(SUMMING, number=prepared.pass_number, n_total=n_tasks)
    with engine.following(stage, ("control-means", "control-sums")):
        return learn_sphering(engine, scores, profiles, controls, constant)


def share_sphering(engine: Engine, prepared: PassData, sphering: Sphering) -> FittedOperator:
    """Hand a sphering to the workers: an operator without landmarks."""
    operator = map_fields(
        sphering.operator, lambda part: [engine.share("sphere", array) for array in part]
    )
    landmarks = Landmarks(
        np.empty(0, dtype=np.int64),
        engine.share("landmarks", []),
        [[] for _ in prepared.scores.partitions],
    )
    return FittedOperator(landmarks, operator, {}, {})


def _warn_of_uncovered(sampled: SamplerState, parameters: Parameters) -> None:
    last = sampled.curve[-1]
    n_uncovered = last.n_rows - last.n_covered
    if n_uncovered > UNCOVERED_SHARE * last.n_rows:
        warn_of_input(
            f"{n_uncovered} of {last.n_rows} rows are covered by no sampled row and "
            f"{FATES[parameters.uncovered]}: {to_cover_more(sampled.stop_reason, parameters)}"
        )


def to_cover_more(stop_reason: str, parameters: Parameters) -> str:
    """Say what covers more rows."""
    remedy = f"raise {setting('max_rows' if stop_reason == 'max_rows' else PATIENCE)}"
    if stop_reason in (AUTO, SHARE):
        remedy = f"give {setting('stopping', PATIENCE)}"
    if parameters.max_neighbors is not None:
        remedy = f"raise {setting('max_neighbors')} or {remedy}"
    return f"{remedy} to cover more"


def limited_landmarks(n_capped: int, n_sampled: int) -> str:
    """Say what the guard's limits mean for the correction; empty where they are few.

    Parameters
    ----------
    n_capped, n_sampled : int
        Landmarks whose scales were limited in some batch, and all of them.
    """
    if n_capped <= CAPPED_SHARE * n_sampled:
        return ""
    meaning = (
        f": plates may lack treatments, or hold fewer than {setting('n_neighbors')} wells of them, "
        "and mix less there"
    )
    if n_capped > MOST_CAPPED_SHARE * n_sampled:
        meaning = (
            ", so little is corrected: plates lie as far apart as treatments do, lack treatments, "
            f"or hold fewer than {setting('n_neighbors')} wells of them"
        )
    return (
        f"{n_capped:,} of {n_sampled:,} sampled wells are too far from some plate to match it"
        f"{meaning}; if every plate holds every treatment, give {setting('max_scale_ratio', None)}"
    )


def _warn_of_landmarks(sampled: SamplerState, plan: MemoryPlan) -> None:
    """Say it in the round that leaves the plan."""
    n_before = sampled.n_sampled - sampled.blocks[-1].n_landmarks
    if n_before <= plan.n_landmarks < sampled.n_sampled:
        warn_of_input(
            f"more than the {plan.n_landmarks} landmarks are drawn that memory was planned for: "
            f"expect more than the plan says, or set {setting('max_rows')}"
        )
