"""One step of ``align``: from the landmarks' rows of A_S to a move, or a scale, of every batch.

The tables of columns, of shape (n_batches, n_landmarks, some columns), stay on the workers, cut by
columns; the driver holds what has one entry a batch and column, or a batch and landmark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.align import (
    Meetings,
    OffsetSystem,
    ScaleMoments,
    beliefs,
    gates,
    local_moves,
    log_scales,
    means_and_variances,
    meeting_places,
    meetings,
    offset_sides,
    pair_shares,
    scale_moments,
    shared_kappa,
)
from balans_dask.kernels.displace import BatchSums
from balans_dask.kernels.evidence import BatchUnits, batch_units
from balans_dask.kernels.local_scale import SCALE_FLOOR
from balans_dask.kernels.operators import Affine, Local, Operator
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.evidence import Evidence, find_evidence, rows_met, sum_pairs
from balans_dask.passes.profiles import Landmarks, Profiles
from balans_dask.passes.scores import Scores
from balans_dask.passes.sums import sum_by_batch

__all__ = [
    "AlignStep",
    "StepRows",
    "affine",
    "joined",
    "learn_align",
    "matrices_of",
    "moves_chunk",
    "softness",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AlignStep:
    """What a step of ``align`` has learned.

    Attributes
    ----------
    operator : Operator
        Of futures.
    facts : dict of str to float
        ``rho`` and ``kappa``.
    targets : dict of str to list of Future or ndarray
        What batches that the fit has not seen need, besides the landmarks; tables of columns are
        futures, cut by columns.
    """

    operator: Operator
    facts: dict[str, float]
    targets: dict[str, list[Any]]


@dataclass(frozen=True)
class StepRows:
    """Rows and landmarks of one step, and what is summed over them.

    Attributes
    ----------
    evidence : Evidence
        On the workers until ``release``.
    """

    engine: Engine
    scores: Scores
    profiles: Profiles
    landmarks: Landmarks
    evidence: Evidence

    @classmethod
    def of(
        cls,
        engine: Engine,
        scores: Scores,
        profiles: Profiles,
        landmarks: Landmarks,
        units: BatchUnits,
    ) -> "StepRows":
        """Measure the evidence of the rows."""
        evidence = find_evidence(engine, scores, landmarks, units)
        return cls(engine, scores, profiles, landmarks, evidence)

    def pairs(self) -> Floats:
        """Sum A E, A and A / sum_i A, of shape (n_batches, n_landmarks, 3)."""
        return sum_pairs(self.engine, self.scores, self.landmarks, self.evidence).sums

    def met(self, power: float) -> Floats:
        """Count the rows of every batch that meet others, N_b."""
        met = rows_met(self.engine, self.scores, self.landmarks, self.evidence, power)
        return met.sums[:, 0, 0]

    def by_batch(
        self, n_batches: int, power: float, centre: Floats | None = None
    ) -> Iterator[tuple[slice, Future]]:
        """Sum columns by A E^power, as ``sum_by_batch`` does."""
        return sum_by_batch(
            self.engine,
            self.scores,
            self.profiles,
            self.landmarks,
            n_batches,
            self.evidence,
            power,
            centre,
        )

    def release(self) -> None:
        """Let the evidence go."""
        self.engine.release([self.evidence.units, *self.evidence.least])


def learn_align(
    engine: Engine,
    step: str,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    own_scales: Floats,
    sizes: NDArray[np.integer],
    shared: bool,
) -> AlignStep:
    """Learn one step.

    Parameters
    ----------
    step : {"location", "scale", "local"}
    own_scales : ndarray of shape (n_landmarks,), float64
        sigma^2 of every landmark in its own batch.
    sizes : ndarray of shape (n_batches,), int64
        Rows of every batch, whether the step is learned from them or not: they weigh the means.
    shared : bool
        The user knows that every batch holds every population.
    """
    own = scores.codes[landmarks.rows]
    least_squared = SCALE_FLOOR * scores.projection.total_variance
    units = batch_units(own_scales, own, scores.n_batches, least_squared)
    rows = StepRows.of(engine, scores, profiles, landmarks, units)
    pairs = rows.pairs()
    shares = pair_shares(pairs[:, :, 0], pairs[:, :, 1], own)
    kappa = 0.0 if step == "location" else shared_kappa(shares.rho)
    kappa = 1.0 if shared else kappa
    relative = shares.relative(own)
    belief = engine.share("beliefs", beliefs(relative, kappa))
    gate = engine.share("gates", gates(relative, kappa)) if step == "local" else None
    found = _learn_offsets(rows, sizes, 1.0 - kappa, belief, gate, softness(kappa, shared))
    targets: dict[str, list[Any]] = {
        "own_batch": [units.own],
        "batch_units": [np.append(units.of_batch, units.typical)],
        "shares": [np.array([shares.rho, kappa, shares.across])],
        "own_shares": [shares.of_own],
        "places": found.places,
    }
    offsets = np.concatenate(found.offsets, axis=1)
    operator: Operator
    if step == "location":
        operator = affine(engine, np.zeros_like(offsets), offsets)
    elif step == "local":
        shared_offsets = [engine.share("offsets", of_cut) for of_cut in found.offsets]
        operator = Local(found.moves, shared_offsets)
    else:
        power = 0.5 * (1.0 - kappa)
        centre = np.concatenate(found.centres)
        moments, more = _scale_sums(rows, power, centre, belief, pairs[:, :, 2], offsets)
        logs, means = _log_scales(moments, rows.met(power), sizes, profiles)
        targets |= more | {"centre": [centre], "mean_logs": [means]}
        factor = np.expm1(-logs)
        operator = affine(engine, factor, offsets - factor * moments.centre)
    rows.release()
    return AlignStep(operator, {"rho": shares.rho, "kappa": kappa}, targets)


@dataclass(frozen=True)
class _Towards:
    """Where batches meet, by cuts of columns.

    Attributes
    ----------
    offsets : list of ndarray of shape (n_batches, some columns), float64
        g_b.
    places : list of Future of ndarray of shape (n_landmarks, some columns), float64
        t_i.
    moves : list of Future of ndarray of shape (n_batches, n_landmarks, some columns), float32
        Of the step *local*.
    centres : list of ndarray of shape (some columns,), float64
        Weighted means over all rows.
    """

    offsets: list[Floats]
    places: list[Any]
    moves: list[Any]
    centres: list[Floats]


def _learn_offsets(
    rows: StepRows,
    sizes: NDArray[np.integer],
    power: float,
    belief: Future,
    gate: Future | None,
    soft: float,
) -> _Towards:
    """Solve for the offsets of one cut of columns after another: a table of sums is let go first.

    Parameters
    ----------
    belief : Future of ndarray of shape (n_batches, n_landmarks), float64
        r_ib.
    gate : Future of ndarray of shape (n_batches, n_landmarks), float64, or None
        G_ib, where moves are wanted.
    """
    engine, found, system = rows.engine, _Towards([], [], [], []), None
    for _, sums in rows.by_batch(len(sizes), power):
        if system is None:
            [met] = engine.take(engine.map("meetings", _meetings_chunk, [sums], [belief]))
            system = OffsetSystem(met.laplacian(), sizes)
        sides, centre = engine.take(
            [
                *engine.map("sides", _sides_chunk, [sums], [belief]),
                *engine.map("centre", _centre_chunk, [sums]),
            ]
        )
        offsets = np.ascontiguousarray(system.offsets(sides))
        found.offsets.append(offsets)
        found.centres.append(centre)
        found.places.extend(engine.map("places", _places_chunk, [sums], [belief], [offsets]))
        if gate is not None:
            given = (found.places[-1:], [offsets], [gate], [soft])
            found.moves.extend(engine.map("moves", moves_chunk, [sums], *given))
        engine.wait([*found.places[-1:], *found.moves[-1:]])
        engine.release([sums])
    return found


def softness(kappa: float, shared: bool) -> float:
    """Lambda: the affinity at which a batch's mean near a landmark is trusted by half."""
    return 1.0 if shared else 3.0 - 2.0 * kappa / 0.75


def affine(engine: Engine, factor: Floats, shift: Floats) -> Affine:
    """Share an operator of factors and shifts with the workers."""
    return Affine([engine.share("factor", factor)], [engine.share("shift", shift)])


def _scale_sums(
    rows: StepRows,
    power: float,
    centre: Floats,
    belief: Future,
    shares_of_rows: Floats,
    offsets: Floats,
) -> tuple[ScaleMoments, dict[str, list[Any]]]:
    """Sum again by weaker evidence, with squares: it is variances that are compared."""
    engine, moments = rows.engine, list[ScaleMoments]()
    targets: dict[str, list[Any]] = {"scale_places": [], "common": []}
    for cut, sums in rows.by_batch(len(offsets), power, centre):
        here = np.ascontiguousarray(offsets[:, cut])
        fields = engine.map("fields", _fields_chunk, [sums], [belief], [centre[cut]], [here])
        of_cut = [[sums], [belief], fields, [centre[cut]], [shares_of_rows]]
        moments += engine.take(engine.map("scale-moments", _scale_moments_chunk, *of_cut))
        for place, of_columns in enumerate(targets.values()):
            of_columns += engine.map("field", _field_chunk, fields, [place])
            engine.wait(of_columns[-1:])
        engine.release([sums, *fields])
    return joined(moments), targets


def joined(of_cuts: Sequence[ScaleMoments]) -> ScaleMoments:
    """Put those of all columns beside each other."""
    names = ("centre", "variance", "target")
    return ScaleMoments(
        *(np.concatenate([getattr(of, name) for of in of_cuts], axis=1) for name in names)
    )


def _log_scales(
    moments: ScaleMoments, n_met: Floats, sizes: NDArray[np.integer], profiles: Profiles
) -> tuple[Floats, Floats]:
    """Find the scales of every matrix for itself; constant features take no part."""
    logs = np.zeros_like(moments.variance)
    means = np.zeros(logs.shape[1])
    for columns in matrices_of(profiles, logs.shape[1]):
        found = log_scales(moments.of_columns(columns), n_met, sizes)
        logs[:, columns], means[columns] = found
    return logs, means


def matrices_of(profiles: Profiles, n_columns: int) -> list[NDArray[np.intp]]:
    """List the columns of features that vary, and those of the embedding, where there are some."""
    features = np.flatnonzero(~profiles.constant)
    embedding = np.arange(len(profiles.constant), n_columns)
    return [columns for columns in (features, embedding) if len(columns)]


@task
def _meetings_chunk(sums: BatchSums, belief: Floats) -> Meetings:
    return meetings(sums.sums[:, :, -1], belief)


@task
def _sides_chunk(sums: BatchSums, belief: Floats) -> Floats:
    return offset_sides(meetings(sums.sums[:, :, -1], belief), means_and_variances(sums.sums)[0])


@task
def _centre_chunk(sums: BatchSums) -> Floats:
    total = sums.sums.sum(axis=(0, 1))
    centre: Floats = total[:-1] / total[-1]
    return centre


@task
def _places_chunk(sums: BatchSums, belief: Floats, offsets: Floats) -> Floats:
    met = meetings(sums.sums[:, :, -1], belief)
    return meeting_places(met, means_and_variances(sums.sums)[0], offsets)


@task
def moves_chunk(
    sums: BatchSums, places: Floats, offsets: Floats, gate: Floats, soft: float
) -> NDArray[np.float32]:
    """Move the rows of every batch near every landmark."""
    means = means_and_variances(sums.sums)[0]
    return local_moves(sums.sums[:, :, -1], means, places, offsets, gate, soft)


@task
def _fields_chunk(
    sums: BatchSums, belief: Floats, centre: Floats, offsets: Floats
) -> tuple[Floats, Floats]:
    met = meetings(sums.sums[:, :, -1], belief)
    means, variances = means_and_variances(sums.sums, centre)
    return meeting_places(met, means, offsets), meeting_places(met, variances)


@task
def _scale_moments_chunk(
    sums: BatchSums,
    belief: Floats,
    fields: Sequence[Floats],
    centre: Floats,
    shares_of_rows: Floats,
) -> ScaleMoments:
    omega = meetings(sums.sums[:, :, -1], belief).trust * shares_of_rows
    return scale_moments(omega, sums.sums, centre, *fields)


@task
def _field_chunk(fields: Sequence[Floats], place: int) -> Floats:
    return fields[place]
