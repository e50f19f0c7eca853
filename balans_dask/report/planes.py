"""Some rows of a store as points of a plane."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from balans_dask.io.matrices import checked_array

__all__ = ["has_umap", "principal_plane", "read_rows", "stratified_rows", "umap_plane"]

SLAB_BYTES = 2**26


def stratified_rows(codes: NDArray[np.integer], n_rows: int, seed: int) -> NDArray[np.int64]:
    """Choose rows at random, from every batch as many as its share, and at least one.

    Parameters
    ----------
    codes : ndarray of shape (n_all_rows,), integer
        Batch of every row.
    n_rows : int
        How many, about.
    seed : int

    Returns
    -------
    rows : ndarray of int64
        In random order; all rows, if they are not more.
    """
    random = np.random.default_rng(seed).permutation(len(codes))
    if len(codes) <= n_rows:
        return random
    by_batch = random[np.argsort(codes[random], kind="stable")]
    sizes = np.bincount(codes)
    rank = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    quota = np.maximum(1, np.round(sizes * (n_rows / len(codes)))).astype(np.int64)
    chosen = np.zeros(len(codes), dtype=bool)
    chosen[by_batch[rank < np.repeat(quota, sizes)]] = True
    return random[chosen[random]]


def read_rows(matrix: zarr.Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read rows of a matrix in their order, holding one slab of it at a time.

    Parameters
    ----------
    matrix : zarr.Array of shape (n_all_rows, n_features)
    rows : ndarray of int64

    Raises
    ------
    InvalidInputError
        If it is damaged.
    """
    n_all, width = matrix.shape
    values = np.empty((len(rows), width), dtype=np.float32)
    source = checked_array(matrix)
    chunk = int(matrix.chunks[0])
    slab = max(1, SLAB_BYTES // (chunk * width * matrix.dtype.itemsize)) * chunk
    for start in range(0, n_all, slab):
        wanted = np.flatnonzero((rows >= start) & (rows < start + slab))
        if len(wanted):
            part: Any = source[start : start + slab]
            values[wanted] = part[rows[wanted] - start]
    return values


def principal_plane(
    values: NDArray[np.float32], standardise: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Project rows on their own first two principal components.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
    standardise : bool
        Give every feature the same deviation first, as the run did.

    Returns
    -------
    points : ndarray of shape (n_rows, 2)
    components : ndarray of shape (n_rows, n_components)
        At most 50, for ``umap_plane``.
    """
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    if standardise:
        deviation = centred.std(axis=0)
        centred = centred[:, deviation > 0] / deviation[deviation > 0]
    if min(centred.shape) < 2:
        centred = np.pad(centred, [(0, 0), (0, 2)])
    n_components = min(50, *centred.shape)
    solver = PCA(n_components, svd_solver="randomized", random_state=0)
    components = solver.fit_transform(centred).astype(np.float32)
    points = components[:, :2]
    return (points if points.shape[1] == 2 else np.pad(points, [(0, 0), (0, 1)])), components


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return find_spec("umap") is not None


def umap_plane(components: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Lay rows out by UMAP.

    Parameters
    ----------
    components : ndarray of shape (n_rows, n_components)
    seed : int
    """
    import umap  # noqa: PLC0415  (optional, and slow to import)

    points: NDArray[np.float32] = umap.UMAP(random_state=seed, n_jobs=1).fit_transform(components)
    return points
