"""The memory plan: how large partitions are, what is kept, and how many bytes that takes.

Plain arithmetic; all sizes are in bytes. Nothing here changes a result.
"""

from dataclasses import dataclass, replace

from balans_dask.errors import InsufficientMemoryError, format_bytes
from balans_dask.passes.task_bytes import (
    BYTES_PER_ENTRY,
    COLLECTED_NODES,
    COVERAGE_ROW_BYTES,
    ENTRIES_PER_ROW,
    LABEL_ROW_BYTES,
    SAMPLING,
    RunShape,
    counts_bytes,
    driver_bytes,
    landmark_bytes,
    later_bytes,
    leaves_ahead,
    nearest_bytes,
    sums_bytes,
    task_bytes,
)
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS, Tiling, largest_power_of_two

__all__ = [
    "MemoryPlan",
    "plan_memory",
]

MIB = 2**20
PROCESS_BYTES = 420 * MIB
"""A Python process with this package, its libraries and its compiled kernels."""
PARTITION_COST_TILES = 2
"""Tiles that a thread works through while the scheduler and the driver see to a partition. In a
round (``benchmarks/speed/rounds.py``) five tasks of 0.85 ms make it 3, at 1.6 ms a tile; passes
that read and write take longer for a tile."""
LARGEST_PARTITION_TILES = 128
PARTITION_BYTES = 128 * MIB
"""Rows of features that a task holds at once, where a single tile is not larger already."""
REUSED_BYTES = 16 * MIB
"""The same of tasks that belong to no round: what a process has freed serves the next one, which
larger arrays do not, as they go back to the system and come as zeros."""


@dataclass(frozen=True)
class MemoryPlan:
    """The decisions for a run and the bytes they lead to.

    Attributes
    ----------
    tiling : Tiling
    workers : Workers
    keep_scores : bool
        Scores stay on the workers; otherwise every pass reads the rows again.
    keep_products : bool
        Products of kept scores with a block of landmarks stay from one pass to the next.
    piece_bytes : int
        Rows of A_S that may stay on all workers together.
    n_landmarks : int
        Landmarks that tables are planned for.
    tasks_per_round : int
    task_bytes : dict
        Largest working memory of a task, by pass.
    worker_bytes, driver_bytes : int
        Peak of one worker process and of the driver; an embedded worker counts with the driver.
    total_bytes : int
        Peak of all processes together.
    at_once : bool
        Rows take all steps of a frozen model in one pass.
    of_fit : MemoryPlan or None
        Of the fit, where that is of some rows alone; the peaks above are the larger ones.
    """

    tiling: Tiling
    workers: Workers
    keep_scores: bool
    keep_products: bool
    piece_bytes: int
    n_landmarks: int
    tasks_per_round: int
    task_bytes: dict[str, int]
    worker_bytes: int
    driver_bytes: int
    total_bytes: int
    at_once: bool = False
    of_fit: "MemoryPlan | None" = None

    def after(self, of_fit: "MemoryPlan") -> "MemoryPlan":
        """Return the plan of a run that fits some rows first."""
        tasks = self.task_bytes | {
            name: max(n_bytes, self.task_bytes.get(name, 0))
            for name, n_bytes in of_fit.task_bytes.items()
        }
        return replace(
            self,
            of_fit=of_fit,
            task_bytes=tasks,
            worker_bytes=max(self.worker_bytes, of_fit.worker_bytes),
            driver_bytes=max(self.driver_bytes, of_fit.driver_bytes),
            total_bytes=max(self.total_bytes, of_fit.total_bytes),
        )


def plan_memory(shape: RunShape, workers: Workers, most_landmarks: int | None = None) -> MemoryPlan:
    """Choose partitions and caches that fit the workers.

    Parameters
    ----------
    most_landmarks : int or None
        Plan for no more, where more would fit.

    Raises
    ------
    InsufficientMemoryError
        If the smallest partitions without any cache do not fit.
    """
    for n_landmarks in shape.may_plan_for:
        if most_landmarks is not None and n_landmarks > most_landmarks:
            continue
        shape = replace(shape, planned_landmarks=n_landmarks)
        tiles = _wanted_tiles(shape, workers)
        while tiles >= shape.shard_tiles:
            plan = _plan(shape, workers, Tiling(shape.n_rows, tiles))
            if plan is not None:
                return plan
            tiles //= 2
    smallest = Tiling(shape.n_rows, shape.shard_tiles)
    needed = _fixed_bytes(shape, workers, smallest, keep_scores=False)
    without = replace(shape, spheres=False)
    whitening = needed - _fixed_bytes(without, workers, smallest, keep_scores=False)
    remedy = ", leave out the sphering" if whitening > needed // 10 else ""
    n_threads = workers.threads_per_worker
    fewer = f", use fewer than its {n_threads} threads" if n_threads > 1 else ""
    raise InsufficientMemoryError(
        f"a worker needs {format_bytes(int(needed / workers.usable_share))} of memory for "
        f"{shape.n_landmarks} landmarks and may use {format_bytes(workers.limit_bytes)}: raise "
        f"--memory-limit{fewer}{remedy}, or set --max-rows"
    )


def _wanted_tiles(shape: RunShape, workers: Workers) -> int:
    """Tiles of the partitions with which a round ends soonest, of those that memory allows."""
    n_tiles = Tiling(shape.n_rows, 1).n_tiles
    most = PARTITION_BYTES if shape.draws else REUSED_BYTES
    for_memory = max(1, most // (TILE_ROWS * shape.row_bytes))
    largest = largest_power_of_two(min(LARGEST_PARTITION_TILES, for_memory))
    sizes: list[int] = [2**q for q in range(largest.bit_length())]
    wanted = min(sizes, key=lambda tiles: _round_tiles(n_tiles, tiles, workers.n_threads))
    return max(wanted, shape.shard_tiles)


def _round_tiles(n_tiles: int, tiles: int, n_threads: int) -> int:
    """Length of a round, in tiles: of the thread that has most, and what is done for all."""
    n_whole, last = divmod(n_tiles, tiles)
    waves, beside = divmod(n_whole, n_threads)
    # The last partition is short, and is alone where the whole ones leave no thread idle.
    longest = waves * tiles + (tiles if beside else last)
    return longest + PARTITION_COST_TILES * (n_whole + (last > 0))


def _plan(shape: RunShape, workers: Workers, tiling: Tiling) -> MemoryPlan | None:
    """Return the plan for one partition size, or ``None`` if it does not fit."""
    usable = int(workers.usable_share * workers.limit_bytes)
    # Rows that take several steps in one task have no use for scores of the first.
    keep_scores = (
        shape.n_at_once == 1 and _fixed_bytes(shape, workers, tiling, keep_scores=True) <= usable
    )
    fixed = _fixed_bytes(shape, workers, tiling, keep_scores)
    if fixed > usable:
        return None
    products = _rows_a_worker(shape, workers, tiling) * shape.product_row_bytes
    keep_products = shape.draws and keep_scores and fixed + products <= usable
    if keep_products:
        fixed += products
    wanted = shape.n_rows * ENTRIES_PER_ROW * BYTES_PER_ENTRY
    piece_bytes = min(wanted, (usable - fixed) // 2 * workers.n_workers)
    driver = driver_bytes(shape, tiling)
    worker = fixed + -(-piece_bytes // workers.n_workers)
    embedded = workers.embedded
    picked = 0 if keep_scores else min(shape.block_rows, tiling.n_partitions)
    return MemoryPlan(
        tiling=tiling,
        workers=workers,
        keep_scores=keep_scores,
        keep_products=keep_products,
        piece_bytes=piece_bytes,
        n_landmarks=shape.n_landmarks,
        tasks_per_round=5 * tiling.n_partitions + picked,
        task_bytes=task_bytes(shape, tiling, keep_scores),
        worker_bytes=worker,
        driver_bytes=worker if embedded else driver + PROCESS_BYTES,
        total_bytes=worker if embedded else driver + PROCESS_BYTES + workers.n_workers * worker,
        at_once=shape.n_at_once > 1,
    )


def _fixed_bytes(shape: RunShape, workers: Workers, tiling: Tiling, keep_scores: bool) -> int:
    """Process, tasks of all threads, shared tables, coverage, and kept scores or labels."""
    tasks = task_bytes(shape, tiling, keep_scores)
    sampling = max(n_bytes for name, n_bytes in tasks.items() if name in SAMPLING)
    others = max(n_bytes for name, n_bytes in tasks.items() if name not in SAMPLING)
    rows = _rows_a_worker(shape, workers, tiling)
    first_leaves = _leaves_ahead(COLLECTED_NODES, workers, tiling)
    found = first_leaves * max(nearest_bytes(shape), counts_bytes(shape))
    coverage = rows * COVERAGE_ROW_BYTES
    # While a block is added, coverage is there before it and after it; nothing is summed yet.
    # Afterwards only a model asks for coverage.
    phases = (
        workers.threads_per_worker * sampling + found + 2 * coverage + shape.elbow_bytes,
        workers.threads_per_worker * others
        + sums_bytes(shape, tiling, _leaves_ahead(2, workers, tiling))
        + (coverage if shape.n_frozen else 0),
    )
    scores = rows * (shape.score_row_bytes if keep_scores else LABEL_ROW_BYTES)
    driver = driver_bytes(shape, tiling) if workers.embedded else 0
    landmarks = landmark_bytes(shape) + later_bytes(shape)
    return PROCESS_BYTES + max(phases) + landmarks + scores + driver


def _leaves_ahead(arity: int, workers: Workers, tiling: Tiling) -> int:
    """Leaves of a reduction that wait on one worker, beside those at which its threads work."""
    n_leaves = min(leaves_ahead(arity, workers.n_threads), tiling.n_partitions)
    return max(0, -(-n_leaves // workers.n_workers) - workers.threads_per_worker)


def _rows_a_worker(shape: RunShape, workers: Workers, tiling: Tiling) -> int:
    """Rows of the partitions that wait on one worker."""
    partitions = -(-tiling.n_partitions // workers.n_workers)
    padded = -(-shape.n_rows // TILE_ROWS) * TILE_ROWS
    return min(padded, partitions * tiling.rows_per_partition)
