"""One step of ``align``: from the landmarks' rows of A_S to a move, or a scale, of every batch.

The tables of columns, of shape (n_batches, n_landmarks, some columns), stay on the workers, cut by
columns; the driver holds what has one entry a batch and column, or a batch and landmark.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from balans_dask.kernels.align import (
    Meetings,
    OffsetSystem,
    ScaleMoments,
    beliefs,
    drawn_shares,
    gates,
    local_moves,
    log_scales,
    means_and_variances,
    meeting_places,
    meetings,
    new_log_scales,
    new_offsets,
    offset_sides,
    pair_shares,
    relative_shares,
    scale_moments,
    shared_kappa,
    trusts,
)
from balans_dask.kernels.displace import BatchSums
from balans_dask.kernels.evidence import BatchUnits, batch_units
from balans_dask.kernels.local_scale import SCALE_FLOOR
from balans_dask.kernels.operators import Affine, Local, Operator
from balans_dask.passes.engine import Engine, task
from balans_dask.passes.evidence import Evidence, find_evidence, rows_met, sum_pairs
from balans_dask.passes.operators import all_moves_chunk
from balans_dask.passes.profiles import Landmarks, Profiles
from balans_dask.passes.scores import Scores
from balans_dask.passes.sums import column_cuts, sum_by_batch

__all__ = ["AlignStep", "adapt_align", "learn_align", "softness"]

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


def learn_align(
    engine: Engine,
    step: str,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    own_scales: Floats,
    shared: bool,
) -> AlignStep:
    """Learn one step.

    Parameters
    ----------
    step : {"location", "scale", "local"}
    own_scales : ndarray of shape (n_landmarks,), float64
        sigma^2 of every landmark in its own batch.
    shared : bool
        The user knows that every batch holds every population.
    """
    own = scores.codes[landmarks.rows]
    sizes = np.bincount(scores.codes, minlength=scores.n_batches)
    least_squared = SCALE_FLOOR * scores.projection.total_variance
    units = batch_units(own_scales, own, scores.n_batches, least_squared)
    evidence = find_evidence(engine, scores, landmarks, units)
    pairs = sum_pairs(engine, scores, landmarks, evidence).sums
    shares = pair_shares(pairs[:, :, 0], pairs[:, :, 1], own)
    kappa = 0.0 if step == "location" else shared_kappa(shares.rho)
    kappa = 1.0 if shared else kappa
    by_cut = sum_by_batch(
        engine, scores, profiles, landmarks, scores.n_batches, evidence, 1.0 - kappa
    )
    relative = shares.relative(own)
    belief = engine.share("beliefs", beliefs(relative, kappa))
    gate = engine.share("gates", gates(relative, kappa)) if step == "local" else None
    found = _learn_offsets(engine, by_cut, sizes, belief, gate, softness(kappa, shared))
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
        operator = _affine(engine, np.zeros_like(offsets), offsets)
    elif step == "local":
        shared_offsets = [engine.share("offsets", of_cut) for of_cut in found.offsets]
        operator = Local(found.moves, shared_offsets)
    else:
        power = 0.5 * (1.0 - kappa)
        centre = np.concatenate(found.centres)
        moments, more = _scale_sums(
            engine,
            scores,
            profiles,
            landmarks,
            evidence,
            power,
            centre,
            belief,
            pairs[:, :, 2],
            offsets,
        )
        n_met = rows_met(engine, scores, landmarks, evidence, power).sums[:, 0, 0]
        logs, means = _log_scales(moments, n_met, sizes, profiles)
        targets |= more | {"centre": [centre], "mean_logs": [means]}
        factor = np.expm1(-logs)
        operator = _affine(engine, factor, offsets - factor * moments.centre)
    engine.release([evidence.units, *evidence.least])
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
    engine: Engine,
    sums_by_cut: Iterable[Future],
    sizes: NDArray[np.integer],
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
    found = _Towards([], [], [], [])
    system = None
    for sums in sums_by_cut:
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
            found.moves.extend(engine.map("moves", _moves_chunk, [sums], *given))
        engine.wait([*found.places[-1:], *found.moves[-1:]])
        engine.release([sums])
    return found


def adapt_align(
    engine: Engine,
    step: str,
    frozen: Operator,
    targets: Mapping[str, NDArray[Any]],
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    n_known: int,
    shared: bool,
    small: NDArray[np.bool_],
) -> Operator:
    """Let a frozen step move batches that its fit has not seen, towards its own targets.

    Parameters
    ----------
    step : {"location", "scale", "local"}
    frozen : Operator
        Of arrays, uncut.
    targets : mapping of str to ndarray
        By ``AlignStep``, uncut.
    n_known : int
        Batches of the fit; those of higher codes are new, and the only ones with reference rows.
    small : ndarray of shape (n_new,), bool
        New batches of too few rows for more than an offset.
    """
    n_new = scores.n_batches - n_known
    known_units, typical = np.split(targets["batch_units"], [-1])
    least_squared = SCALE_FLOOR * scores.projection.total_variance
    units = BatchUnits(
        targets["own_batch"],
        float(typical[0]),
        np.append(known_units, np.repeat(typical, n_new)),
        least_squared / float(typical[0]),
    )
    evidence = find_evidence(engine, scores, landmarks, units)
    pairs = sum_pairs(engine, scores, landmarks, evidence).sums
    _, kappa, across = targets["shares"].tolist()
    places = targets["places"]
    by_cut = sum_by_batch(engine, scores, profiles, landmarks, n_new, evidence, 1.0 - kappa)
    cuts = column_cuts(places.shape[1], landmarks.n_landmarks, n_new)
    of_pair = drawn_shares(pairs[:, :, 0], pairs[:, :, 1], across)
    relative = relative_shares(of_pair, targets["own_shares"])
    belief = engine.share("beliefs", beliefs(relative, kappa))
    known_moves, gate = None, None
    if isinstance(frozen, Local):
        gate = engine.share("gates", np.where(small[:, None], 0.0, gates(relative, kappa)))
        known_moves = frozen.moves[0]
    of_cuts = zip(cuts, by_cut, strict=True)
    soft = softness(kappa, shared)
    found = _meet_places(engine, of_cuts, places, known_moves, belief, gate, soft)
    offsets = np.concatenate(found.offsets, axis=1)
    if isinstance(frozen, Local):
        engine.release([evidence.units, *evidence.least])
        all_offsets = np.concatenate([frozen.offsets[0], offsets])
        shared_offsets = [engine.share("offsets", all_offsets[:, cut]) for cut in cuts]
        return Local(found.moves, shared_offsets)
    assert isinstance(frozen, Affine)
    factor, shift = np.zeros_like(offsets), offsets
    if step == "scale":
        power = 0.5 * (1.0 - kappa)
        moments = _new_scale_moments(
            engine, scores, profiles, landmarks, evidence, power, targets, belief, pairs[:, :, 2]
        )
        n_met = rows_met(engine, scores, landmarks, evidence, power).sums[:, 0, 0]
        logs = np.zeros_like(offsets)
        for columns in matrices_of(profiles, offsets.shape[1]):
            means = targets["mean_logs"][columns]
            logs[:, columns] = new_log_scales(moments.of_columns(columns), n_met, means)
        factor = np.expm1(-np.where(small[:, None], 0.0, logs))
        shift = offsets - factor * moments.centre
    engine.release([evidence.units, *evidence.least])
    return _affine(
        engine,
        np.concatenate([frozen.factor[0], factor]),
        np.concatenate([frozen.shift[0], shift]),
    )


def _meet_places(
    engine: Engine,
    by_cut: Iterable[tuple[slice, Future]],
    places: Floats,
    known_moves: NDArray[np.float32] | None,
    belief: Future,
    gate: Future | None,
    soft: float,
) -> _Towards:
    """Find the offsets, and moves, of new batches towards the places of a fit.

    Parameters
    ----------
    by_cut : iterable of (slice, Future of BatchSums)
        Columns, and the sums of the new batches over them.
    places : ndarray of shape (n_landmarks, n_columns), float64
    known_moves : ndarray of shape (n_known, n_landmarks, n_columns), float32, or None
        Those of the fit, which come first.
    belief : Future of ndarray of shape (n_new, n_landmarks), float64
    gate : Future of ndarray of shape (n_new, n_landmarks), float64, or None
        Where moves are wanted.
    """
    found = _Towards([], [], [], [])
    for cut, sums in by_cut:
        here = [np.ascontiguousarray(places[:, cut])]
        offsets = engine.take(engine.map("new-offsets", _new_offsets_chunk, [sums], [belief], here))
        found.offsets.extend(offsets)
        if known_moves is not None:
            new = engine.map("moves", _moves_chunk, [sums], here, offsets, [gate], [soft])
            known = [np.ascontiguousarray(known_moves[:, :, cut])]
            found.moves.extend(engine.map("all-moves", all_moves_chunk, known, new))
            engine.wait(found.moves[-1:])
            engine.release(new)
        engine.release([sums])
    return found


def _new_scale_moments(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    evidence: Evidence,
    power: float,
    targets: Mapping[str, NDArray[Any]],
    belief: Future,
    shares_of_rows: Floats,
) -> ScaleMoments:
    centre, n_new = targets["centre"], len(shares_of_rows)
    by_cut = sum_by_batch(engine, scores, profiles, landmarks, n_new, evidence, power, centre)
    cuts = column_cuts(len(centre), landmarks.n_landmarks, 2 * n_new)
    found: list[ScaleMoments] = []
    for cut, sums in zip(cuts, by_cut, strict=True):
        fields = [targets["scale_places"][:, cut], targets["common"][:, cut]]
        of_cut = [[sums], [belief], [fields], [centre[cut]], [shares_of_rows]]
        found += engine.take(engine.map("scale-moments", _new_scale_moments_chunk, *of_cut))
        engine.release([sums])
    return _joined(found)


def _joined(of_cuts: Sequence[ScaleMoments]) -> ScaleMoments:
    names = ("centre", "variance", "target")
    return ScaleMoments(
        *(np.concatenate([getattr(of, name) for of in of_cuts], axis=1) for name in names)
    )


def softness(kappa: float, shared: bool) -> float:
    """Lambda: the affinity at which a batch's mean near a landmark is trusted by half."""
    return 1.0 if shared else 3.0 - 2.0 * kappa / 0.75


def _affine(engine: Engine, factor: Floats, shift: Floats) -> Affine:
    return Affine([engine.share("factor", factor)], [engine.share("shift", shift)])


def _scale_sums(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    evidence: Evidence,
    power: float,
    centre: Floats,
    belief: Future,
    shares_of_rows: Floats,
    offsets: Floats,
) -> tuple[ScaleMoments, dict[str, list[Any]]]:
    """Sum again by weaker evidence, with squares: it is variances that are compared."""
    by_cut = sum_by_batch(
        engine, scores, profiles, landmarks, scores.n_batches, evidence, power, centre
    )
    cuts = column_cuts(len(centre), landmarks.n_landmarks, 2 * scores.n_batches)
    moments: list[ScaleMoments] = []
    targets: dict[str, list[Any]] = {"scale_places": [], "common": []}
    for cut, sums in zip(cuts, by_cut, strict=True):
        here = np.ascontiguousarray(offsets[:, cut])
        fields = engine.map("fields", _fields_chunk, [sums], [belief], [centre[cut]], [here])
        of_cut = [[sums], [belief], fields, [centre[cut]], [shares_of_rows]]
        moments += engine.take(engine.map("scale-moments", _scale_moments_chunk, *of_cut))
        for place, of_columns in enumerate(targets.values()):
            of_columns += engine.map("field", _field_chunk, fields, [place])
            engine.wait(of_columns[-1:])
        engine.release([sums, *fields])
    return _joined(moments), targets


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
def _moves_chunk(
    sums: BatchSums, places: Floats, offsets: Floats, gate: Floats, soft: float
) -> NDArray[np.float32]:
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
def _new_scale_moments_chunk(
    sums: BatchSums,
    belief: Floats,
    fields: Sequence[Floats],
    centre: Floats,
    shares_of_rows: Floats,
) -> ScaleMoments:
    omega = trusts(sums.sums[:, :, -1], belief) * shares_of_rows
    return scale_moments(omega, sums.sums, centre, *fields)


@task
def _new_offsets_chunk(sums: BatchSums, belief: Floats, places: Floats) -> Floats:
    return new_offsets(sums.sums[:, :, -1], belief, means_and_variances(sums.sums)[0], places)


@task
def _field_chunk(fields: Sequence[Floats], place: int) -> Floats:
    return fields[place]
