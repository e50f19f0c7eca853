"""Sums of arrays along the one binary tree over tiles: within a partition, and above."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from balans_dask.passes.engine import task
from balans_dask.tiling import PairwiseSum, tree_sum

__all__ = ["add_arrays", "array_sum"]


def array_sum() -> PairwiseSum[NDArray[np.float64]]:
    """Start the sum of a partition's tiles; adds in place."""
    return PairwiseSum(_add_in_place)


@task
def add_arrays(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sum consecutive nodes of one level."""
    return tree_sum(parts, np.add)


def _add_in_place(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.add(a, b, out=a)
