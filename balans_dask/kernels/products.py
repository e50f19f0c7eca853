"""The matrix products of a block of landmarks with the tiles of a partition, one after another."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.batch_tiles import BatchTiles
from balans_dask.kernels.kept_products import products_of
from balans_dask.kernels.landmarks import LandmarkBlock

__all__ = ["tile_products"]


def tile_products(
    tiles: BatchTiles, block: LandmarkBlock, only: int | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Inner products of the block with every tile, or with a single one.

    Yields
    ------
    tile : int
    products : ndarray of shape (block_rows, TILE_ROWS), float32
        Must not be changed; overwritten by the next one unless the tiles keep them.
    """
    if only is not None:
        one = tiles.scores[only : only + 1]
        yield only, next(products_of(one, block.scores))
    elif tiles.kept_products is None:
        yield from enumerate(products_of(tiles.scores, block.scores))
    else:
        yield from enumerate(tiles.kept_products.of(tiles.scores, block.scores))
