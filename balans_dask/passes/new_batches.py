"""What a frozen step of ``align`` does to batches that its fit has not seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.align import (
    ScaleMoments,
    beliefs,
    drawn_shares,
    gates,
    means_and_variances,
    new_log_scales,
    new_offsets,
    relative_shares,
    scale_moments,
    trusts,
)
from balans_dask.kernels.displace import BatchSums
from balans_dask.kernels.evidence import BatchUnits
from balans_dask.kernels.local_scale import SCALE_FLOOR
from balans_dask.kernels.operators import Affine, Local, Operator
from balans_dask.passes.align import (
    StepRows,
    affine,
    joined,
    matrices_of,
    moves_chunk,
    softness,
)
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.operators import all_moves_chunk
from balans_dask.passes.profiles import Landmarks, Profiles
from balans_dask.passes.scores import Scores

__all__ = ["adapt_align"]

Floats = NDArray[np.float64]


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
        New batches of too few reference rows for more than an offset.
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
    rows = StepRows.of(engine, scores, profiles, landmarks, units)
    pairs = rows.pairs()
    _, kappa, across = targets["shares"].tolist()
    of_pair = drawn_shares(pairs[:, :, 0], pairs[:, :, 1], across)
    relative = relative_shares(of_pair, targets["own_shares"])
    belief = engine.share("beliefs", beliefs(relative, kappa))
    if isinstance(frozen, Local):
        gate = engine.share("gates", np.where(small[:, None], 0.0, gates(relative, kappa)))
        soft = softness(kappa, shared)
        local = _with_new_moves(
            rows, frozen, n_new, targets["places"], 1.0 - kappa, belief, gate, soft
        )
        rows.release()
        return local
    assert isinstance(frozen, Affine)
    offsets = _new_offsets(rows, n_new, targets["places"], 1.0 - kappa, belief)
    factor, shift = np.zeros_like(offsets), offsets
    if step == "scale":
        power = 0.5 * (1.0 - kappa)
        moments = _new_scale_moments(rows, n_new, power, targets, belief, pairs[:, :, 2])
        n_met, logs = rows.met(power), np.zeros_like(offsets)
        for columns in matrices_of(profiles, offsets.shape[1]):
            means = targets["mean_logs"][columns]
            logs[:, columns] = new_log_scales(moments.of_columns(columns), n_met, means)
        factor = np.expm1(-np.where(small[:, None], 0.0, logs))
        shift = offsets - factor * moments.centre
    rows.release()
    return affine(
        engine,
        np.concatenate([frozen.factor[0], factor]),
        np.concatenate([frozen.shift[0], shift]),
    )


def _new_offsets(
    rows: StepRows, n_new: int, places: Floats, power: float, belief: Future
) -> Floats:
    """Find g of new batches.

    Parameters
    ----------
    places : ndarray of shape (n_landmarks, n_columns), float64
    belief : Future of ndarray of shape (n_new, n_landmarks), float64
    """
    engine, found = rows.engine, list[Floats]()
    for cut, sums in rows.by_batch(n_new, power):
        here = [np.ascontiguousarray(places[:, cut])]
        found += engine.take(engine.map("new-offsets", _new_offsets_chunk, [sums], [belief], here))
        engine.release([sums])
    return np.concatenate(found, axis=1)


def _with_new_moves(
    rows: StepRows,
    frozen: Local,
    n_new: int,
    places: Floats,
    power: float,
    belief: Future,
    gate: Future,
    soft: float,
) -> Local:
    """Find g and moves of new batches, behind those of the fit.

    Parameters
    ----------
    gate : Future of ndarray of shape (n_new, n_landmarks), float64
    """
    engine, moves, all_offsets = rows.engine, list[Future](), list[Future]()
    for cut, sums in rows.by_batch(n_new, power):
        here = [np.ascontiguousarray(places[:, cut])]
        offsets = engine.take(engine.map("new-offsets", _new_offsets_chunk, [sums], [belief], here))
        new = engine.map("moves", moves_chunk, [sums], here, offsets, [gate], [soft])
        known = [np.ascontiguousarray(frozen.moves[0][:, :, cut])]
        moves += engine.map("all-moves", all_moves_chunk, known, new)
        engine.wait(moves[-1:])
        engine.release([sums, *new])
        of_all = np.concatenate([frozen.offsets[0][:, cut], *offsets])
        all_offsets.append(engine.share("offsets", of_all))
    return Local(moves, all_offsets)


def _new_scale_moments(
    rows: StepRows,
    n_new: int,
    power: float,
    targets: Mapping[str, NDArray[Any]],
    belief: Future,
    shares_of_rows: Floats,
) -> ScaleMoments:
    engine, centre, found = rows.engine, targets["centre"], list[ScaleMoments]()
    for cut, sums in rows.by_batch(n_new, power, centre):
        fields = [targets["scale_places"][:, cut], targets["common"][:, cut]]
        of_cut = [[sums], [belief], [fields], [centre[cut]], [shares_of_rows]]
        found += engine.take(engine.map("scale-moments", _new_scale_moments_chunk, *of_cut))
        engine.release([sums])
    return joined(found)


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
