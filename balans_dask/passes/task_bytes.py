"""Working memory of every task, from the sizes of a run: plain arithmetic, in bytes."""

from dataclasses import dataclass

from balans_dask.io.sources import RUN_BYTES, Chunks
from balans_dask.kernels.coverage import ELBOW_ROWS
from balans_dask.kernels.elbow import N_BINS
from balans_dask.tiling import TILE_ROWS, Tiling

__all__ = [
    "COLLECTED_NODES",
    "COLUMNS_AT_ONCE",
    "COVERAGE_ROW_BYTES",
    "ENTRIES_PER_ROW",
    "LABEL_ROW_BYTES",
    "PLANNED_LANDMARKS",
    "SAMPLING",
    "RunShape",
    "batch_columns_at_once",
    "counts_bytes",
    "driver_bytes",
    "landmark_bytes",
    "later_bytes",
    "leaves_ahead",
    "nearest_bytes",
    "sphere_bytes",
    "sums_bytes",
    "task_bytes",
]

COLUMNS_AT_ONCE = 1024
"""Columns that are summed in one pass: bounds the partial sums that wait for each other."""
PLANNED_LANDMARKS = (8192, 4096, 2048)
"""Landmarks that tables are planned for where ``max_rows`` does not say: the most that fit."""
FEWER_LANDMARKS = (1024, 512)
"""The same of ``align``, which stops at 99 % of the rows: most often one block of 256, or two."""
ENTRIES_PER_ROW = 128
"""Kept affinities a row for which rows of A_S stay on the workers."""
BATCH_SUM_BYTES = 64 * 2**20
"""One table of sums by batch: bounds those that wait for each other."""
BYTES_PER_ENTRY = 6
"""An entry of A_S: its affinity and its row within a tile."""
COVERAGE_ROW_BYTES = 8 + 1
"""A row's coverage, and whether it can be drawn."""
LABEL_ROW_BYTES = 4 + 1
"""A row's batch, and whether it is a reference row."""
BY_BATCH = ("align", "displace")
"""Operators that sum by batch."""
WHITENING_MATRICES = 6
"""Held by the driver at once while it finds what whitens the rows."""
OPEN_ROW_BYTES = 3
"""A row's marks while those that can be drawn and are uncovered are counted."""
SAMPLING = {
    "uncovered",
    "scales",
    "elbow",
    "elbow-sample",
    "rows",
    "cover",
    "report",
    "rows-again",
    "cover-again",
}
"""Passes of the sampler: before anything is summed over the landmarks."""
COLLECTED_NODES = 16
"""Nodes of a reduction that the driver combines itself."""


def leaves_ahead(arity: int, n_threads: int) -> int:
    """Leaves of a reduction that are submitted before the first of them are combined.

    Two nodes' worth at least, and three tasks a thread: it has something to do while sums wait for
    a thread, and the driver for the sums.
    """
    return arity + max(arity, 3 * n_threads)


def batch_columns_at_once(n_landmarks: int, n_batches: int) -> int:
    """Columns that are summed by batch in one pass."""
    return max(1, min(COLUMNS_AT_ONCE, BATCH_SUM_BYTES // (8 * n_landmarks * n_batches)))


@dataclass(frozen=True)
class RunShape:
    """Sizes that decide the memory of a run.

    Attributes
    ----------
    n_rows, n_features : int
    n_components : int
        Columns of the scores.
    n_embedding : int
        Columns that are corrected beside the features.
    n_batches, block_rows, n_neighbors : int
    max_rows : int or None
    row_bytes : int
        One row of features and embedding as stored.
    pca : bool
        The scores are fitted by PCA.
    chunks : tuple of Chunks
        Of the matrices that are read.
    shard_tiles : int
        Tiles of one write unit of the output; a partition writes whole ones.
    in_memory : bool
        Input and output are arrays on the driver.
    n_passes : int
        From the second on, a pass reads what the one before has put out.
    anchors : bool
        Rows of A_S are not cut at an elbow.
    draws : bool
        Landmarks are drawn in rounds of passes, not given.
    n_frozen : int
        Passes of a frozen model that the driver holds.
    table_bytes : int
        Row annotations that the driver holds.
    held_bytes : int
        What the driver holds of other rows meanwhile.
    operator : str
        Decides what is summed for the landmarks.
    planned_landmarks : int
        Landmarks that tables are planned for where ``max_rows`` does not say.
    spheres : bool
        All rows are whitened by the controls at the end.
    n_at_once : int
        Steps of a frozen model that rows take in one task.
    """

    n_rows: int
    n_features: int
    n_components: int
    n_embedding: int
    n_batches: int
    block_rows: int
    n_neighbors: int
    max_rows: int | None
    row_bytes: int
    pca: bool
    chunks: tuple[Chunks, ...] = ()
    shard_tiles: int = 1
    in_memory: bool = False
    n_passes: int = 1
    anchors: bool = False
    draws: bool = True
    n_frozen: int = 0
    table_bytes: int = 0
    held_bytes: int = 0
    operator: str = "align"
    planned_landmarks: int = PLANNED_LANDMARKS[0]
    spheres: bool = False
    n_at_once: int = 1

    @property
    def n_columns(self) -> int:
        """Columns of A_S [X, E, 1]."""
        return self.n_features + self.n_embedding + 1

    @property
    def n_landmarks(self) -> int:
        """Landmarks that tables are planned for."""
        return self.max_rows or min(self.n_rows, self.planned_landmarks)

    @property
    def score_row_bytes(self) -> int:
        """One row of ``BatchTiles``."""
        return 4 * self.n_components + 8 + 2 + 1

    @property
    def may_plan_for(self) -> tuple[int, ...]:
        """Landmarks that tables can be planned for, the most first."""
        return PLANNED_LANDMARKS + (FEWER_LANDMARKS if self.operator == "align" else ())

    @property
    def elbow_bytes(self) -> int:
        """Scores of the rows on which elbows are found."""
        sampled = self.operator == "align" and self.draws and not self.anchors
        return min(self.n_rows, ELBOW_ROWS) * self.score_row_bytes if sampled else 0

    @property
    def product_row_bytes(self) -> int:
        """One row of ``KeptProducts``."""
        return 4 * self.block_rows


def task_bytes(shape: RunShape, tiling: Tiling, keep_scores: bool) -> dict[str, int]:
    """Working memory of the largest task of every pass."""
    rows = min(tiling.rows_per_partition, -(-shape.n_rows // TILE_ROWS) * TILE_ROWS)
    levels = tiling.tiles_per_partition.bit_length() + 1
    read = rows * shape.row_bytes
    decoded = max((chunks.read_bytes(rows) for chunks in shape.chunks), default=0)
    read += decoded
    tile = 8 * TILE_ROWS
    scores = rows * shape.score_row_bytes
    load = read + tile * (2 * shape.n_features + shape.n_components) + 3 * scores
    own = 0 if keep_scores else load
    products = shape.block_rows * TILE_ROWS * (4 + BYTES_PER_ENTRY)
    entries = 2 * shape.block_rows * rows * BYTES_PER_ENTRY
    scatter = 8 * (shape.n_features**2 if shape.pca else shape.n_features)
    sums = _node_bytes(shape) * (levels + 1)
    filled = 1 if shape.anchors else 8
    tile_entries = shape.n_landmarks * TILE_ROWS * BYTES_PER_ENTRY // filled
    corrected = rows * shape.row_bytes + 3 * shape.shard_tiles * TILE_ROWS * shape.row_bytes
    origin = read if shape.n_passes > 1 else 0
    tasks = {
        "moments": read + 3 * tile * shape.n_features,
        "scatter": read + 3 * tile * shape.n_features + levels * scatter,
        "scores": load,
        "uncovered": rows * COVERAGE_ROW_BYTES,
        "scales": own + products + 4 * nearest_bytes(shape),
        "elbow": own + products + 8 * counts_bytes(shape),
        "elbow-sample": 3 * shape.elbow_bytes,
        "rows": own + products + entries,
        "cover": 2 * rows * COVERAGE_ROW_BYTES,
        "report": rows * OPEN_ROW_BYTES + tile,
        "cover-again": own + products + entries + 2 * rows * COVERAGE_ROW_BYTES,
        "copy": decoded
        + max(RUN_BYTES, TILE_ROWS * shape.row_bytes)
        + rows * shape.row_bytes
        + corrected,
        "rows-again": own + products + entries + rows * ENTRIES_PER_ROW * BYTES_PER_ENTRY,
        "correct": own
        + read
        + origin
        + corrected
        + 3 * scores
        + 5 * tile * shape.n_columns
        + tile_entries,
    }
    summing = own + read + scores + 3 * tile * shape.n_columns + sums + tile_entries
    tasks["batch-sums" if shape.operator in BY_BATCH else "sums"] = summing
    if shape.operator == "align":
        # Entries of A E have their values beside those of A.
        weighed = 5 * tile_entries // 3
        pairs = (levels + 1) * _pair_bytes(shape)
        # A sum by row takes columns and values of a block as eight bytes each.
        widened = shape.block_rows * TILE_ROWS * 2 * 8 // filled
        tasks |= {
            "matches": own + products + 4 * rows * 8,
            "batch-sums": summing - tile_entries + weighed,
            "pairs": own + weighed + tile + pairs,
            "met": own + weighed + widened + 4 * tile,
            "fields": 3 * _node_bytes(shape),
        }
    if shape.spheres:
        chosen = 4 * tile * shape.n_columns
        tasks["control-sums"] = own + read + scores + chosen + (levels + 1) * sphere_bytes(shape)
    return tasks


def sums_bytes(shape: RunShape, tiling: Tiling, n_ahead: int) -> int:
    """Size of what the operator learns of the landmarks, and of sums that wait for others.

    Parameters
    ----------
    n_ahead : int
        Leaves that wait for sums to be asked for, those at which threads work left out.
    """
    table = 8 * shape.n_landmarks * shape.n_columns
    learned = {
        "smooth": table,
        "nystrom": 2 * table + 4 * 8 * shape.n_landmarks**2,
        "displace": table // 2 * shape.n_batches + 4 * _node_bytes(shape),
        "align": table // 2 * shape.n_batches
        + 3 * table
        + _affine_bytes(shape)
        + 3 * _pair_bytes(shape)
        + 4 * _node_bytes(shape)
        + 8 * shape.n_rows,
    }[shape.operator]
    n_waiting = max(1, n_ahead) + tiling.n_partitions.bit_length()
    # Nothing of the landmarks is left where the sums of controls are.
    whitening = n_waiting * sphere_bytes(shape) if shape.spheres else 0
    return max(learned + n_waiting * _node_bytes(shape), whitening)


def sphere_bytes(shape: RunShape) -> int:
    """Matrices that whiten features and embedding, or one partial sum for them."""
    return 8 * (shape.n_features**2 + shape.n_embedding**2)


def _frozen_bytes(shape: RunShape) -> int:
    """Size of what the operator of one frozen pass knows of its landmarks."""
    table = 8 * shape.n_landmarks * shape.n_columns
    tables = {
        "smooth": table,
        "nystrom": 2 * table,
        "displace": table + table // 2 * shape.n_batches,
        "align": 3 * table + table // 2 * shape.n_batches + _affine_bytes(shape),
    }
    return tables[shape.operator]


def _affine_bytes(shape: RunShape) -> int:
    """Offsets and scales of every batch, and what they are made from."""
    return 5 * 8 * shape.n_batches * shape.n_columns


def _pair_bytes(shape: RunShape) -> int:
    """Three sums of every landmark and batch."""
    return 3 * 8 * shape.n_landmarks * shape.n_batches


def _node_bytes(shape: RunShape) -> int:
    """One partial sum over rows."""
    columns = 8 * shape.n_landmarks * min(COLUMNS_AT_ONCE, shape.n_columns)
    if shape.operator not in BY_BATCH:
        return columns
    at_once = batch_columns_at_once(shape.n_landmarks, shape.n_batches)
    n_sums = min(at_once, shape.n_columns) + 1
    if shape.operator == "align":
        # The step scale sums squares beside the columns.
        at_once = batch_columns_at_once(shape.n_landmarks, 2 * shape.n_batches)
        n_sums = max(n_sums, 2 * min(at_once, shape.n_columns) + 1)
    return 8 * shape.n_landmarks * shape.n_batches * n_sums


def landmark_bytes(shape: RunShape) -> int:
    """Coordinates, scales and thresholds of all landmarks."""
    return shape.n_landmarks * (4 * shape.n_components + 8 * shape.n_batches + 24)


def later_bytes(shape: RunShape) -> int:
    """Landmarks, and moves, of the steps that wait on workers beside that of one pass."""
    moves = 4 * shape.n_landmarks * shape.n_columns * shape.n_batches
    # Of align, the first two steps move and scale batches as a whole.
    n_moving = shape.n_at_once - (2 if shape.operator == "align" else 0)
    return (shape.n_at_once - 1) * landmark_bytes(shape) + max(0, n_moving - 1) * moves


def counts_bytes(shape: RunShape) -> int:
    """Size of the counts that one task of the second pass returns."""
    return 4 * shape.block_rows * N_BINS


def nearest_bytes(shape: RunShape) -> int:
    """Nearest rows that one task of the first pass returns, where all batches are present."""
    return 8 * shape.block_rows * shape.n_batches * shape.n_neighbors


def driver_bytes(shape: RunShape, tiling: Tiling) -> int:
    """Labels, displacements, annotations, landmarks; the last nodes of every reduction."""
    per_row = 4 + 2 * 4 + 4
    # The driver of an estimator, whose model it holds, brings coverage together at the end.
    per_row += 2 * 8 if shape.n_frozen else 0
    reduced = 3 * 8 * (shape.n_features**2 if shape.pca else shape.n_features)
    collected = min(COLLECTED_NODES, tiling.n_partitions)
    nodes = 2 * (collected + 1) * counts_bytes(shape) + (collected + 4) * nearest_bytes(shape)
    held = 2 if shape.n_passes == 1 else 3
    arrays = held * shape.n_rows * shape.row_bytes if shape.in_memory else 0
    # A checkpoint joins them, and Dask holds what is sent to workers until it has arrived.
    landmarks = 5 * landmark_bytes(shape)
    # One pass is joined, sent or saved at a time, in two copies beside itself.
    frozen = (shape.n_frozen + 2) * _frozen_bytes(shape) if shape.n_frozen else 0
    if shape.spheres:
        # The sums, the covariance, its vectors, their multiples and the matrix, which is sent.
        reduced = max(reduced, WHITENING_MATRICES * sphere_bytes(shape))
        frozen += sphere_bytes(shape) if shape.n_frozen else 0
    # The Laplacian, its factor, and tables of landmarks and batches.
    aligned = 4 * 8 * shape.n_batches**2 + _affine_bytes(shape) + 6 * _pair_bytes(shape)
    return (
        shape.n_rows * per_row
        + reduced
        + nodes
        + arrays
        + 3 * shape.table_bytes
        + shape.held_bytes
        + landmarks
        + 3 * shape.elbow_bytes
        + frozen
        + (aligned if shape.operator == "align" else 0)
    )
