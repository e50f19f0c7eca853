"""Profiles laid out for the kernels: zero-padded tiles whose rows are ordered by batch."""

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.distances import KeptProducts, squared_norms
from balans_dask.tiling import TILE_ROWS, tile_slices

__all__ = ["BatchTiles", "tile_by_batch"]


@dataclass(frozen=True)
class BatchTiles:
    """The scores of one partition.

    Within a tile, rows are ordered by batch, so that a kernel sees runs of equal batch and reads
    one scale a run instead of one a profile.

    Attributes
    ----------
    start, n_rows : int
        The rows of the data set that this partition holds: ``start`` to ``start + n_rows``.
    scores : ndarray of shape (n_tiles, TILE_ROWS, n_components), float32
        Centred coordinates in which distances are taken; zero where a tile is short.
    norms : ndarray of shape (n_tiles, TILE_ROWS), float64
        Squared Euclidean norms of ``scores``.
    order : ndarray of shape (n_tiles, TILE_ROWS), uint16
        ``order[t, position]`` is the row within tile t, in input order, that stands at a position.
    batches : ndarray of shape (n_local,), int32
        Codes of the batches that occur here, increasing. Kernels number batches by their place in
        this array, so that a table of thousands of plates costs only what is present.
    runs : ndarray of shape (n_runs, 4), int32
        First position, position after the last, local batch, and number of reference rows of every
        run.
    reference : ndarray of shape (n_tiles, TILE_ROWS), bool
        Whether a reference row stands at a position: scales and displacements are estimated from
        these alone, mostly all rows. Where a row stands does not depend on it, as a matrix product
        may round a row in another place differently.
    first_run : ndarray of shape (n_tiles + 1,), int32
        The runs of tile t are ``first_run[t]`` to ``first_run[t + 1]``.
    kept_products : KeptProducts or None
        Products with the last block of landmarks, where memory allows to keep them.
    """

    start: int
    n_rows: int
    scores: NDArray[np.float32]
    norms: NDArray[np.float64]
    order: NDArray[np.uint16]
    batches: NDArray[np.int32]
    runs: NDArray[np.int32]
    reference: NDArray[np.bool_]
    first_run: NDArray[np.int32]
    kept_products: KeptProducts | None = None
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        values = (getattr(self, f.name) for f in fields(self) if f.init)
        nbytes = sum(v.nbytes for v in values if isinstance(v, np.ndarray | KeptProducts))
        object.__setattr__(self, "nbytes", nbytes)

    def __sizeof__(self) -> int:
        return self.nbytes

    def keeping_products(self, block_rows: int) -> "BatchTiles":
        """Return the same tiles, which keep their products with the last block of landmarks."""
        return replace(self, kept_products=KeptProducts(self.n_tiles, block_rows))

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return len(self.scores)

    @property
    def n_components(self) -> int:
        """Length of a row."""
        return int(self.scores.shape[2])

    def runs_of(self, tile: int) -> NDArray[np.int32]:
        """Return the runs of equal batch in one tile."""
        return self.runs[self.first_run[tile] : self.first_run[tile + 1]]

    @property
    def reference_batches(self) -> NDArray[np.intp]:
        """Local batches with a reference row here, increasing."""
        _, _, local, n_reference = self.runs.T
        return np.unique(local[n_reference > 0]).astype(np.intp)

    def positions(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find rows of the data set here.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Global row numbers.

        Returns
        -------
        tile, position : ndarray of shape (n,), int64
            Where each row stands; -1 for rows of other partitions.
        """
        local = rows - self.start
        here = (local >= 0) & (local < self.n_rows)
        tile = np.where(here, local // TILE_ROWS, -1)
        position = np.full(len(rows), -1, dtype=np.int64)
        tiles, which = np.unique(tile[here], return_inverse=True)
        positions = np.empty((len(tiles), TILE_ROWS), dtype=np.int64)
        order = self.order[tiles].astype(np.intp)
        np.put_along_axis(positions, order, np.arange(TILE_ROWS)[None], axis=1)
        position[here] = positions[which, local[here] % TILE_ROWS]
        return tile, position

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of rows that are all here, in the order asked for."""
        tile, position = self.positions(rows)
        found: NDArray[np.float32] = self.scores[tile, position]
        return found

    def rows_in_input_order(self) -> NDArray[np.float32]:
        """Scores of all rows as they stand in the input, without padding."""
        restored = np.empty((self.n_rows, self.n_components), dtype=np.float32)
        for tile, rows in enumerate(tile_slices(self.n_rows)):
            n_rows = rows.stop - rows.start
            restored[rows][self.order[tile, :n_rows]] = self.scores[tile, :n_rows]
        return restored


def tile_by_batch(
    start: int,
    scores: NDArray[np.float32],
    codes: NDArray[np.integer],
    reference: NDArray[np.bool_] | None = None,
) -> BatchTiles:
    """Cut the rows of a partition into tiles and order each by batch.

    Parameters
    ----------
    start : int
        Global number of the first row, a multiple of ``TILE_ROWS``.
    scores : ndarray of shape (n_rows, n_components), float32
    codes : ndarray of shape (n_rows,), integer
        Batch of every row, numbered over the whole data set.
    reference : ndarray of shape (n_rows,), bool, or None
        Rows from which scales and displacements are estimated; ``None`` for all.
    """
    n_rows, n_components = scores.shape
    n_tiles = -(-n_rows // TILE_ROWS)
    batches, local = np.unique(codes, return_inverse=True)
    counts = np.ones(n_rows, dtype=bool) if reference is None else reference
    tiles = np.zeros((n_tiles, TILE_ROWS, n_components), dtype=np.float32)
    order = np.empty((n_tiles, TILE_ROWS), dtype=np.uint16)
    ordered_reference = np.zeros((n_tiles, TILE_ROWS), dtype=bool)
    runs: list[NDArray[np.int32]] = []
    first_run = np.zeros(n_tiles + 1, dtype=np.int32)
    for t in range(n_tiles):
        rows = slice(t * TILE_ROWS, min((t + 1) * TILE_ROWS, n_rows))
        by_batch = np.argsort(local[rows], kind="stable")
        tiles[t, : len(by_batch)] = scores[rows][by_batch]
        order[t, : len(by_batch)] = by_batch
        order[t, len(by_batch) :] = np.arange(len(by_batch), TILE_ROWS)
        ordered_reference[t, : len(by_batch)] = counts[rows][by_batch]
        runs.append(_runs(local[rows][by_batch], counts[rows][by_batch]))
        first_run[t + 1] = first_run[t] + len(runs[-1])
    norms = squared_norms(tiles.reshape(-1, n_components)).reshape(n_tiles, TILE_ROWS)
    return BatchTiles(
        start=start,
        n_rows=n_rows,
        scores=tiles,
        norms=norms,
        order=order,
        batches=batches.astype(np.int32),
        runs=np.concatenate(runs),
        reference=ordered_reference,
        first_run=first_run,
    )


def _runs(ordered: NDArray[np.intp], reference: NDArray[np.bool_]) -> NDArray[np.int32]:
    """First, one-past-last, value and number of references of every run of equal values."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    stops = np.append(starts[1:], len(ordered))
    n_reference = np.add.reduceat(reference, starts, dtype=np.int64)
    return np.column_stack([starts, stops, ordered[starts], n_reference]).astype(np.int32)
