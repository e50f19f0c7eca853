"""What a correction has changed, by a sample of rows that is read and scored in about a second."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.evaluate.rows import LEAST_ROWS, read_embeddings, rows_to_judge
from balans_dask.evaluate.stores import EvaluatedStore, corrected_scores, recorded_scores
from balans_dask.evaluate.verdict import Change, measured
from balans_dask.io.store import ProfileStore
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.labels import BatchLabels
from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows.confounding import Factor
from balans_dask.workflows.records import correction_record

__all__ = ["Ending", "ending"]

SCORED_ROWS = 3_000
READ_BYTES = 64 * 2**20
"""Of the input; what is read of the output is less."""
MOST_SLABS = 64
SEED = 0

Ending = tuple[Change, int]
"""What changed, and of how many rows."""


def ending(
    before: ProfileStore,
    after: ProfileStore,
    batch: BatchLabels,
    label: Factor | None,
    record: Mapping[str, Any] | None = None,
) -> Ending | None:
    """Score some rows before and after.

    Parameters
    ----------
    before : ProfileStore
        What was corrected.
    after : ProfileStore
        Of the correction.
    batch : BatchLabels
    label : Factor or None
        What should stay.
    record : mapping or None
        What the store says of its correction; ``None`` to read it.

    Returns
    -------
    ending : Ending or None
        ``None`` where there is nothing to compare: few rows, or one batch.
    """
    if record is None:
        record = correction_record(after) or {}
    raw = recorded_scores(before, record)
    slab_rows, near = _near(raw.matrix)
    rows, label = rows_to_judge(batch.codes, label, SCORED_ROWS, SEED, near)
    if len(rows) < LEAST_ROWS or len(np.unique(batch.codes[rows])) < 2:
        return None
    made = EvaluatedStore(after.path, after, corrected_scores(after, record), raw.projection, raw)
    with single_threaded_blas():
        was, found = read_embeddings([made], rows, slab_rows)
        names = None if label is None else label.of(rows).astype(str)
        is_in_unit = "sphering" not in record
        change = measured(was.scores, found.scores, batch.codes[rows], names, is_in_unit)
    return change, len(rows)


def _near(matrix: zarr.Array) -> tuple[int, NDArray[np.int64]]:
    """Choose slabs of rows, each in few chunks, that are soon read; all rows where they fit."""
    n_rows, n_columns = matrix.shape
    chunk_rows = matrix.chunks[0]
    slab_rows = min(chunk_rows, TILE_ROWS)
    n_slabs = -(-n_rows // slab_rows)
    slab_bytes = max(1, chunk_rows * n_columns * matrix.dtype.itemsize)
    n_read = min(n_slabs, MOST_SLABS, max(1, READ_BYTES // slab_bytes))
    # Evenly spaced after a random start: tables are most often in the order of their batches.
    first = np.random.default_rng(SEED).random()
    starts = ((np.arange(n_read) + first) * n_slabs / n_read).astype(np.int64) * slab_rows
    rows = (starts[:, None] + np.arange(slab_rows)).ravel()
    return slab_rows, rows[rows < n_rows]
