"""The matrix products of a block of landmarks with the tiles of a partition, one after another."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.distances import inner_products
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.tiling import TILE_ROWS

__all__ = ["tile_products"]


def tile_products(
    tiles: BatchTiles, block: LandmarkBlock, only: int | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Inner products of the block with every tile, or with a single one.

    Yields
    ------
    tile : int
    products : ndarray of shape (block_rows, TILE_ROWS), float32
        Overwritten by the next one.
    """
    products = np.empty((block.block_rows, TILE_ROWS), dtype=np.float32)
    for tile in range(tiles.n_tiles) if only is None else (only,):
        inner_products(block.scores, tiles.scores[tile], products)
        yield tile, products
