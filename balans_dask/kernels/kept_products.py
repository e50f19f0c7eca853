"""Matrix products that wait for the next pass over the same block of landmarks."""

from collections.abc import Iterator
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.distances import inner_products
from balans_dask.tiling import TILE_ROWS

__all__ = ["KeptProducts", "products_of"]


def products_of(
    tiles: NDArray[np.float32], landmarks: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Inner products of landmarks with every tile; each is overwritten by the next.

    Parameters
    ----------
    tiles : ndarray of shape (n_tiles, TILE_ROWS, n_components), float32
    landmarks : ndarray of shape (block_rows, n_components), float32
    """
    products = np.empty((len(landmarks), TILE_ROWS), dtype=np.float32)
    for tile in tiles:
        inner_products(landmarks, tile, products)
        yield products


class KeptProducts:
    """The products of one partition with the block of landmarks that asked last.

    A memo beside the tiles it belongs to: what it returns depends on its arguments alone. It stays
    where it was made, and arrives empty at another worker.

    Parameters
    ----------
    n_tiles, block_rows : int
    """

    def __init__(self, n_tiles: int, block_rows: int) -> None:
        self._shape = (n_tiles, block_rows, TILE_ROWS)
        self._landmarks: NDArray[np.float32] | None = None
        self._products: NDArray[np.float32] | None = None
        self._in_use = Lock()

    def __reduce__(self) -> tuple[type["KeptProducts"], tuple[int, int]]:
        return KeptProducts, self._shape[:2]

    @property
    def nbytes(self) -> int:
        """Memory of all products."""
        return 4 * int(np.prod(self._shape))

    def of(
        self, tiles: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        """Inner products of landmarks with every tile, which must be those of every other call.

        Parameters
        ----------
        tiles : ndarray of shape (n_tiles, TILE_ROWS, n_components), float32
        landmarks : ndarray of shape (block_rows, n_components), float32
        """
        if not self._in_use.acquire(blocking=False):
            yield from products_of(tiles, landmarks)
            return
        try:
            yield from self._remembered(tiles, landmarks)
        finally:
            self._in_use.release()

    def _remembered(
        self, tiles: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        if self._products is None:
            # Kept for the next block, too: touching new pages costs more than reading old ones.
            self._products = np.empty(self._shape, dtype=np.float32)
        known = self._landmarks is not None and np.array_equal(self._landmarks, landmarks)
        if not known:
            self._landmarks = None
        for tile, products in zip(tiles, self._products, strict=True):
            if not known:
                inner_products(landmarks, tile, products)
            yield products
        self._landmarks = landmarks
