"""One step of ``align``: from the landmarks' rows of A_S to a move, or a scale, of every batch.

The tables of columns, of shape (n_batches, n_landmarks, some columns), stay on the workers, cut by
columns; the driver holds what has one entry a batch and column, or a batch and landmark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.align import (
    ScaleMoments,
    drawn_shares,
    gates,
    local_moves,
    log_scales,
    means_and_variances,
    meeting_places,
    meetings,
    new_gates,
    new_log_scales,
    new_offsets,
    offset_sides,
    pair_shares,
    scale_moments,
    shared_kappa,
    solve_offsets,
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
    sums = sum_by_batch(
        engine, scores, profiles, landmarks, scores.n_batches, evidence, 1.0 - kappa
    )
    n = len(sums)
    sides = np.concatenate(engine.take(engine.map("sides", _sides_chunk, sums)), axis=1)
    [weight] = engine.take(engine.map("weight", _weight_chunk, sums[:1]))
    offsets = solve_offsets(meetings(weight).laplacian(), sides, sizes)
    cuts = column_cuts(offsets.shape[1], landmarks.n_landmarks, scores.n_batches)
    of_cut = [np.ascontiguousarray(offsets[:, cut]) for cut in cuts]
    places = engine.map("places", _places_chunk, sums, of_cut)
    targets: dict[str, list[Any]] = {
        "own_batch": [units.own],
        "batch_units": [np.append(units.of_batch, units.typical)],
        "shares": [np.array([shares.rho, kappa, shares.across])],
        "own_shares": [shares.of_own],
        "places": places,
    }
    operator: Operator
    if step == "location":
        operator = _affine(engine, np.zeros_like(offsets), offsets)
    elif step == "local":
        gate = engine.share("gates", gates(shares, own, kappa))
        moves = engine.map(
            "moves", _moves_chunk, sums, places, of_cut, [gate] * n, [softness(kappa, shared)] * n
        )
        engine.wait(moves)
        operator = Local(moves, [engine.share("offsets", offsets_cut) for offsets_cut in of_cut])
    else:
        power = 0.5 * (1.0 - kappa)
        centre = np.concatenate(engine.take(engine.map("centre", _centre_chunk, sums)))
        moments, more = _scale_sums(
            engine, scores, profiles, landmarks, evidence, power, centre, pairs[:, :, 2], offsets
        )
        n_met = rows_met(engine, scores, landmarks, evidence, power).sums[:, 0, 0]
        logs, means = _log_scales(moments, n_met, sizes, profiles)
        targets |= more | {"centre": [centre], "mean_logs": [means]}
        factor = np.expm1(-logs)
        operator = _affine(engine, factor, offsets - factor * moments.centre)
    engine.wait(places)
    engine.release([*sums, evidence.units, *evidence.least])
    return AlignStep(operator, {"rho": shares.rho, "kappa": kappa}, targets)


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
    sums = sum_by_batch(engine, scores, profiles, landmarks, n_new, evidence, 1.0 - kappa)
    n = len(sums)
    cuts = column_cuts(places.shape[1], landmarks.n_landmarks, n_new)
    places_of_cut = [np.ascontiguousarray(places[:, cut]) for cut in cuts]
    found = engine.take(engine.map("new-offsets", _new_offsets_chunk, sums, places_of_cut))
    offsets = np.concatenate(found, axis=1)
    if isinstance(frozen, Local):
        of_pair = drawn_shares(pairs[:, :, 0], pairs[:, :, 1], across)
        gate = np.where(small[:, None], 0.0, new_gates(of_pair, targets["own_shares"], kappa))
        new = engine.map(
            "moves",
            _moves_chunk,
            sums,
            places_of_cut,
            [np.ascontiguousarray(offsets[:, cut]) for cut in cuts],
            [gate] * n,
            [softness(kappa, shared)] * n,
        )
        of_known = [np.ascontiguousarray(frozen.moves[0][:, :, cut]) for cut in cuts]
        moves = engine.map("all-moves", all_moves_chunk, of_known, new)
        engine.wait(moves)
        engine.release([*sums, *new])
        all_offsets = np.concatenate([frozen.offsets[0], offsets])
        return Local(moves, [engine.share("offsets", all_offsets[:, cut]) for cut in cuts])
    assert isinstance(frozen, Affine)
    factor, shift = np.zeros_like(offsets), offsets
    if step == "scale":
        power = 0.5 * (1.0 - kappa)
        moments = _new_scale_moments(
            engine, scores, profiles, landmarks, evidence, power, targets, pairs[:, :, 2]
        )
        n_met = rows_met(engine, scores, landmarks, evidence, power).sums[:, 0, 0]
        logs = np.zeros_like(offsets)
        for columns in matrices_of(profiles, offsets.shape[1]):
            means = targets["mean_logs"][columns]
            logs[:, columns] = new_log_scales(moments.of_columns(columns), n_met, means)
        factor = np.expm1(-np.where(small[:, None], 0.0, logs))
        shift = offsets - factor * moments.centre
    engine.release(sums)
    return _affine(
        engine,
        np.concatenate([frozen.factor[0], factor]),
        np.concatenate([frozen.shift[0], shift]),
    )


def _new_scale_moments(
    engine: Engine,
    scores: Scores,
    profiles: Profiles,
    landmarks: Landmarks,
    evidence: Evidence,
    power: float,
    targets: Mapping[str, NDArray[Any]],
    shares_of_rows: Floats,
) -> ScaleMoments:
    centre, n_new = targets["centre"], len(shares_of_rows)
    sums = sum_by_batch(engine, scores, profiles, landmarks, n_new, evidence, power, centre)
    cuts = column_cuts(len(centre), landmarks.n_landmarks, 2 * n_new)
    found = engine.map(
        "scale-moments",
        _new_scale_moments_chunk,
        sums,
        [[targets["scale_places"][:, cut], targets["common"][:, cut]] for cut in cuts],
        [centre[cut] for cut in cuts],
        [shares_of_rows] * len(sums),
    )
    engine.wait(found)
    engine.release(sums)
    return _joined(engine.take(found))


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
    shares_of_rows: Floats,
    offsets: Floats,
) -> tuple[ScaleMoments, dict[str, list[Any]]]:
    """Sum again by weaker evidence, with squares: it is variances that are compared."""
    sums = sum_by_batch(
        engine, scores, profiles, landmarks, scores.n_batches, evidence, power, centre
    )
    n = len(sums)
    cuts = column_cuts(len(centre), landmarks.n_landmarks, 2 * scores.n_batches)
    fields = engine.map(
        "fields",
        _fields_chunk,
        sums,
        [centre[cut] for cut in cuts],
        [np.ascontiguousarray(offsets[:, cut]) for cut in cuts],
    )
    found = engine.map(
        "scale-moments",
        _scale_moments_chunk,
        sums,
        fields,
        [centre[cut] for cut in cuts],
        [shares_of_rows] * n,
    )
    moments = _joined(engine.take(found))
    targets: dict[str, list[Any]] = {
        name: engine.map(name, _field_chunk, fields, [place] * n)
        for place, name in enumerate(("scale_places", "common"))
    }
    engine.wait([*targets["scale_places"], *targets["common"]])
    engine.release([*sums, *fields])
    return moments, targets


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
def _weight_chunk(sums: BatchSums) -> Floats:
    return sums.sums[:, :, -1].copy()


@task
def _sides_chunk(sums: BatchSums) -> Floats:
    return offset_sides(meetings(sums.sums[:, :, -1]), means_and_variances(sums.sums)[0])


@task
def _centre_chunk(sums: BatchSums) -> Floats:
    total = sums.sums.sum(axis=(0, 1))
    centre: Floats = total[:-1] / total[-1]
    return centre


@task
def _places_chunk(sums: BatchSums, offsets: Floats) -> Floats:
    met = meetings(sums.sums[:, :, -1])
    return meeting_places(met, means_and_variances(sums.sums)[0], offsets)


@task
def _moves_chunk(
    sums: BatchSums, places: Floats, offsets: Floats, gate: Floats, soft: float
) -> NDArray[np.float32]:
    means = means_and_variances(sums.sums)[0]
    return local_moves(sums.sums[:, :, -1], means, places, offsets, gate, soft)


@task
def _fields_chunk(sums: BatchSums, centre: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    met = meetings(sums.sums[:, :, -1])
    means, variances = means_and_variances(sums.sums, centre)
    return meeting_places(met, means, offsets), meeting_places(met, variances)


@task
def _scale_moments_chunk(
    sums: BatchSums, fields: Sequence[Floats], centre: Floats, shares_of_rows: Floats
) -> ScaleMoments:
    omega = meetings(sums.sums[:, :, -1]).trust * shares_of_rows
    return scale_moments(omega, sums.sums, centre, *fields)


@task
def _new_scale_moments_chunk(
    sums: BatchSums, fields: Sequence[Floats], centre: Floats, shares_of_rows: Floats
) -> ScaleMoments:
    weight = sums.sums[:, :, -1]
    omega = weight / (weight + 1.0) * shares_of_rows
    return scale_moments(omega, sums.sums, centre, *fields)


@task
def _new_offsets_chunk(sums: BatchSums, places: Floats) -> Floats:
    return new_offsets(sums.sums[:, :, -1], means_and_variances(sums.sums)[0], places)


@task
def _field_chunk(fields: Sequence[Floats], place: int) -> Floats:
    return fields[place]
