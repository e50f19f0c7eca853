"""The driver's state as arrays, for a checkpoint, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.coverage import Reach
from balans_dask.kernels.landmarks import LandmarkBlock, landmark_block
from balans_dask.kernels.projection import Projection
from balans_dask.sampled import Round, SampledRows
from balans_dask.stopping import tally_from

__all__ = [
    "arrays_of",
    "block_arrays",
    "blocks_from",
    "is_sound",
    "sampled_from",
]


def arrays_of(projection: Projection, sampled: SampledRows) -> dict[str, NDArray[Any]]:
    """Everything that a fit has learned so far; rows of A_S and coverage can be computed again.

    Parameters
    ----------
    projection : Projection
    sampled : SampledRows
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
    }


def block_arrays(blocks: Sequence[LandmarkBlock]) -> dict[str, NDArray[Any]]:
    """Join the tables of all blocks, each without its padding.

    Parameters
    ----------
    blocks : sequence of LandmarkBlock
    """
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


def sampled_from(state: Mapping[str, NDArray[Any]], block_rows: int) -> SampledRows:
    """Restore the sampler as it was after its last saved round, without the workers' part.

    Parameters
    ----------
    state : mapping of str to ndarray
    block_rows : int
        Of the run: blocks are padded as they were.
    """
    sampled = SampledRows(blocks_from(state, block_rows), stop_reason=str(state["stop_reason"]))
    sampled.curve += [
        Round(number + 1, int(n_sampled), int(n_covered), int(n_rows), tally_from(tally))
        for number, ((n_sampled, n_covered, n_rows), tally) in enumerate(
            zip(state["curve"], state["tally"], strict=True)
        )
    ]
    ends = np.cumsum(state["block_sizes"])[:-1]
    sampled.reach += map(Reach, np.split(state["n_kept"], ends), np.split(state["n_new"], ends))
    return sampled


def is_sound(state: Mapping[str, NDArray[Any]], n_rows: int) -> bool:
    """Tell whether a state fits together and fits the data, as a damaged file may not.

    Parameters
    ----------
    state : mapping of str to ndarray
    n_rows : int
        Of the data set.
    """
    try:
        n_landmarks = int(state["block_sizes"].sum())
        tables = ("rows", "scores", "scales", "thresholds", "limits", "capped", "n_kept", "n_new")
        return (
            all(len(state[name]) == n_landmarks for name in tables)
            and bool(((state["rows"] >= 0) & (state["rows"] < n_rows)).all())
            and len(state["curve"]) == len(state["tally"]) == len(state["block_sizes"]) > 0
            and state["tally"].shape[1:] == (3,)
            and bool((np.isfinite(state["tally"]) & (state["tally"] >= 0)).all())
            and int(state["curve"][-1, 0]) == n_landmarks
            and bool((state["curve"][:, 2] == n_rows).all())
            and int(state["curve"][-1, 1]) == int(state["n_new"].sum())
            and bool(((state["n_new"] >= 0) & (state["n_new"] <= state["n_kept"])).all())
            and state["used"].shape == state["mean"].shape
            and all(state[name].ndim == 0 for name in ("total_variance", "unit", "stop_reason"))
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return False
