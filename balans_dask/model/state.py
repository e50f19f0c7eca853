"""The driver's state as arrays, for a checkpoint, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.coverage import Reach
from balans_dask.kernels.landmarks import LandmarkBlock, landmark_block
from balans_dask.kernels.projection import Projection
from balans_dask.model.bounds import Sizes, Table, fault_of, landmark_fault, projection_fault
from balans_dask.model.sampler import Round, SamplerState
from balans_dask.model.stopping import tally_from
from balans_dask.parameters import STOPPING

__all__ = [
    "arrays_of",
    "block_arrays",
    "blocks_from",
    "is_sound",
    "sampled_from",
]

FACTS = ("rho", "kappa")
STOP_REASONS = ("", "all_rows", "max_rows", *STOPPING)


def arrays_of(projection: Projection, sampled: SamplerState) -> dict[str, NDArray[Any]]:
    """Everything that a fit has learned so far; rows of A_S and coverage can be computed again.

    Parameters
    ----------
    sampled : SamplerState
        Between two rounds.
    """
    return {
        **projection.arrays(),
        **block_arrays(sampled.blocks),
        "curve": np.array([(p.n_sampled, p.n_covered, p.n_rows) for p in sampled.curve]),
        "tally": np.array([astuple(p.tally) for p in sampled.curve]),
        "n_kept": sampled.n_kept,
        "n_new": sampled.n_new,
        "stop_reason": np.array(sampled.stop_reason),
        "facts": np.array(list(sampled.facts.values()), dtype=np.float64),
    }


def block_arrays(blocks: Sequence[LandmarkBlock]) -> dict[str, NDArray[Any]]:
    """Join the tables of all blocks, each without its padding."""
    return {
        "block_sizes": np.array([block.n_landmarks for block in blocks]),
        "rows": np.concatenate([block.rows for block in blocks]),
        "scores": np.concatenate([block.scores[: block.n_landmarks] for block in blocks]),
        "scales": np.concatenate([block.scales for block in blocks]),
        "thresholds": np.concatenate([block.thresholds for block in blocks]),
        "limits": np.concatenate([block.limits for block in blocks]),
        "capped": np.concatenate([block.capped for block in blocks]),
    }


def blocks_from(state: Mapping[str, NDArray[Any]], block_rows: int) -> list[LandmarkBlock]:
    """Restore blocks of landmarks, padded as they were."""
    blocks = []
    stops = np.cumsum(state["block_sizes"])
    for start, stop in zip(stops - state["block_sizes"], stops, strict=True):
        part = slice(start, stop)
        block = landmark_block(state["rows"][part], state["scores"][part], block_rows)
        block = block.with_scales(state["scales"][part])
        block = block.with_guard(state["limits"][part], state["capped"][part])
        blocks.append(block.with_thresholds(state["thresholds"][part]))
    return blocks


def sampled_from(state: Mapping[str, NDArray[Any]], block_rows: int) -> SamplerState:
    """Restore the sampler as it was after its last saved round, without the workers' part.

    Parameters
    ----------
    block_rows : int
        Of the run: blocks are padded as they were.
    """
    sampled = SamplerState(blocks_from(state, block_rows), stop_reason=str(state["stop_reason"]))
    if len(state["facts"]):
        sampled.facts = dict(zip(FACTS, state["facts"].tolist(), strict=True))
    sampled.curve += [
        Round(number + 1, int(n_sampled), int(n_covered), int(n_rows), tally_from(tally))
        for number, ((n_sampled, n_covered, n_rows), tally) in enumerate(
            zip(state["curve"], state["tally"], strict=True)
        )
    ]
    ends = np.cumsum(state["block_sizes"])[:-1]
    sampled.reach += map(Reach, np.split(state["n_kept"], ends), np.split(state["n_new"], ends))
    return sampled


def is_sound(state: Mapping[str, NDArray[Any]], sizes: Sizes, weighted: bool) -> bool:
    """Tell whether a state fits together and fits the data, as a damaged file may not.

    Parameters
    ----------
    sizes : mapping of str to int
        ``n_rows``, ``n_batches`` and ``n_columns`` of the pass, and its ``block_rows``.
    weighted : bool
        Scores are principal components.
    """
    n_rows = sizes["n_rows"]
    try:
        if projection_fault(state, sizes["n_columns"], weighted):
            return False
        n_components = state["weights"].shape[1] if weighted else len(state["used"])
        if landmark_fault(state, {**sizes, "n_components": n_components}):
            return False
        n_kept, curve = state["n_kept"], state["curve"]
        n_facts = len(FACTS) if len(state["facts"]) else 0
        counts = {"n_landmarks": len(state["rows"]), "n_rounds": len(curve), "n_facts": n_facts}
        if fault_of(state, _rules(n_rows), counts):
            return False
        covered = np.cumsum(state["n_new"])[curve[:, 0] - 1]
        return (
            bool((state["n_new"] <= n_kept).all() and (covered == curve[:, 1]).all())
            and bool((state["tally"][:, :2] <= curve[:, :1]).all())
            and str(state["stop_reason"]) in STOP_REASONS
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return False


def _rules(n_rows: int) -> dict[str, Table]:
    """Say what the tables of a sampler may hold besides its landmarks."""

    def counts(values: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray((values >= 0) & (values <= n_rows))

    def tallies(values: NDArray[np.float64]) -> NDArray[np.bool_]:
        whole = values == np.floor(values)
        whole[:, 2] = True
        return np.asarray(np.isfinite(values) & (values >= 0.0) & whole)

    return {
        "n_kept": Table(np.int64, ("n_landmarks",), counts),
        "n_new": Table(np.int64, ("n_landmarks",), counts),
        "tally": Table(np.float64, ("n_rounds", 3), tallies),
        "facts": Table(np.float64, ("n_facts",), lambda facts: (facts >= 0.0) & (facts <= 1.0)),
    }
