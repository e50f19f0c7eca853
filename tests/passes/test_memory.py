"""The plan: plain arithmetic that chooses partitions and caches, and refuses what cannot fit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balans_dask.errors import InsufficientMemoryError, format_bytes
from balans_dask.io.sources import Chunks, StoredRows
from balans_dask.labels import BatchLabels
from balans_dask.model.inputs import Inputs
from balans_dask.model.plan import plan_run
from balans_dask.parameters import OPERATORS, Parameters
from balans_dask.passes import memory
from balans_dask.passes.memory import PARTITION_BYTES, PARTITION_COST_TILES, plan_memory
from balans_dask.passes.task_bytes import RunShape, leaves_ahead
from balans_dask.passes.workers import Workers
from balans_dask.tiling import TILE_ROWS

MIB, GIB = 2**20, 2**30
SHAPE = RunShape(
    n_rows=1_000_000,
    n_features=50,
    n_components=50,
    n_embedding=50,
    n_batches=5,
    block_rows=64,
    n_neighbors=5,
    max_rows=None,
    row_bytes=200,
    pca=True,
    shard_tiles=8,
    operator="smooth",
)


def plan(limit_bytes, n_workers=2, threads=1, embedded=False, **changes):
    shape = dataclasses.replace(SHAPE, **changes)
    return plan_memory(shape, Workers(n_workers, threads, limit_bytes, embedded))


def test_with_room_scores_are_kept():
    assert plan(8 * GIB).keep_scores


@pytest.mark.parametrize(
    ("n_rows", "threads", "n_partitions"),
    [(1_000_000, 1, 2), (1_000_000, 2, 4), (1_000_000, 8, 16), (5_000_000, 1, 10)],
)
def test_partitions_are_as_large_as_keeps_every_thread_busy(n_rows, threads, n_partitions):
    found = plan(64 * GIB, n_workers=2, threads=threads, n_rows=n_rows, shard_tiles=1)
    assert found.tiling.n_partitions == n_partitions


@given(st.integers(1, 10**8), st.integers(1, 64))
def test_no_other_partitions_end_a_round_sooner(n_rows, n_threads):
    def ends(tiles):
        free = [0] * n_threads
        sizes = [min(tiles, n_tiles - first) for first in range(0, n_tiles, tiles)]
        for size in sizes:
            free[free.index(min(free))] += size
        return max(free) + PARTITION_COST_TILES * len(sizes)

    n_tiles = -(-n_rows // TILE_ROWS)
    found = plan(1024 * GIB, 1, n_threads, n_rows=n_rows, shard_tiles=1)
    sizes = [2**q for q in range(8) if n_tiles <= 2_000 * 2**q]
    assert ends(found.tiling.tiles_per_partition) == min(map(ends, sizes))


def test_products_of_a_round_are_kept_after_the_scores_and_only_where_rounds_are_drawn():
    assert plan(8 * GIB).keep_products
    tight = plan(int(2.2 * GIB), n_rows=3_000_000)
    assert tight.keep_scores
    assert not tight.keep_products
    assert not plan(8 * GIB, draws=False).keep_products


def test_the_plan_counts_kept_products():
    kept, given = plan(8 * GIB), plan(8 * GIB, draws=False)
    rows = SHAPE.n_rows // 2
    assert kept.worker_bytes - given.worker_bytes >= 4 * SHAPE.block_rows * rows


@pytest.mark.parametrize("embedded", [False, True])
def test_what_a_plan_keeps_of_the_rows_of_a_s_it_counts(embedded):
    n_workers = 1 if embedded else 2
    small, large = (plan(n * GIB, n_workers, embedded=embedded, n_rows=4_000_000) for n in (8, 9))
    assert small.tiling == large.tiling
    assert (small.keep_scores, small.keep_products) == (large.keep_scores, large.keep_products)
    more = large.piece_bytes - small.piece_bytes
    assert more > 100 * MIB
    assert n_workers * (large.worker_bytes - small.worker_bytes) == pytest.approx(more, abs=2)
    assert large.total_bytes - small.total_bytes == pytest.approx(more, abs=2)


@pytest.mark.parametrize("operator", ["displace", "align"])
@pytest.mark.parametrize("n_frozen", [0, 1])
def test_every_batch_has_displacements_in_the_plan(n_frozen, operator):
    """Four bytes for each landmark and column, also in a model."""
    one = {"n_features": 500, "operator": operator, "max_rows": 2000, "n_frozen": n_frozen}
    few, many = (plan(64 * GIB, n_batches=n, **one) for n in (50, 60))
    moves = 10 * 2000 * (500 + 50 + 1) * 4
    assert many.worker_bytes - few.worker_bytes >= moves
    assert many.driver_bytes - few.driver_bytes >= n_frozen * moves


def test_the_plan_counts_sums_that_wait_until_they_are_asked_for(monkeypatch):
    sizes = {"n_rows": 50_000_000, "n_features": 1023, "row_bytes": 4092, "max_rows": 8192}
    found = plan(256 * GIB, n_workers=1, threads=8, **sizes)
    # Those at which threads work are counted with the tasks.
    monkeypatch.setattr(memory, "leaves_ahead", lambda arity, n_threads: n_threads + 1)
    single = plan(256 * GIB, n_workers=1, threads=8, **sizes)
    assert found.tiling == single.tiling
    n_more = leaves_ahead(2, 8) - 8 - 1
    assert n_more >= 16
    assert found.worker_bytes - single.worker_bytes == n_more * 8 * 8192 * 1024


WIDE = {"n_rows": 500_000, "n_features": 5000, "row_bytes": 20_000, "shard_tiles": 1}


@pytest.mark.parametrize("embedded", [False, True])
def test_a_sphering_of_5000_features_is_planned_or_refused(embedded):
    n_workers = 1 if embedded else 2
    plain, found = (
        plan(32 * GIB, n_workers, embedded=embedded, spheres=spheres, **WIDE)
        for spheres in (False, True)
    )
    square = 8 * (5000**2 + 50**2)
    # While one partial sum waits for every level of the tree, or the driver inverts their total.
    assert found.task_bytes["control-sums"] > 3 * square
    assert found.driver_bytes - plain.driver_bytes >= 3 * square
    # Few landmarks, so that little else is held.
    few, limit = WIDE | {"max_rows": 64}, int(4.2 * GIB)
    assert plan(limit, n_workers, embedded=embedded, **few).worker_bytes < limit
    with pytest.raises(InsufficientMemoryError, match=r"needs .* leave out the sphering, or set"):
        plan(limit, n_workers, embedded=embedded, spheres=True, **few)


def test_a_frozen_sphering_is_planned():
    plain, found = (
        plan(32 * GIB, spheres=spheres, n_frozen=1, draws=False, **WIDE)
        for spheres in (False, True)
    )
    assert found.driver_bytes - plain.driver_bytes >= 8 * 5000**2


def test_every_pass_of_a_round_is_planned_so_that_an_error_can_name_its_partition():
    passes = ("uncovered", "scales", "elbow", "rows", "cover", "report")
    assert all(plan(8 * GIB).task_bytes[name] > 0 for name in passes)


def test_without_room_for_the_scores_they_are_read_again():
    many = plan(2 * GIB, n_rows=50_000_000)
    assert not many.keep_scores
    assert many.worker_bytes <= 0.6 * 2 * GIB


def test_wide_rows_make_small_partitions():
    wide = plan(8 * GIB, n_features=5_000, row_bytes=20_000, shard_tiles=1)
    assert wide.tiling.tiles_per_partition == 1


def test_what_cannot_fit_is_refused_with_both_sizes_and_a_remedy():
    with pytest.raises(InsufficientMemoryError, match=r"needs \d+ MiB .*may use 512 MiB: raise"):
        plan(GIB // 2)


@given(
    n_rows=st.integers(2, 10**8),
    n_features=st.integers(1, 5000),
    n_batches=st.integers(1, 3000),
    limit_gib=st.integers(1, 256),
    n_workers=st.integers(1, 64),
    threads=st.integers(1, 16),
    embedded=st.booleans(),
    operator=st.sampled_from(OPERATORS),
)
def test_a_plan_never_exceeds_its_limit(
    n_rows, n_features, n_batches, limit_gib, n_workers, threads, embedded, operator
):
    n_workers = 1 if embedded else n_workers
    try:
        found = plan(
            limit_gib * GIB,
            n_workers,
            threads,
            embedded,
            n_rows=n_rows,
            n_features=n_features,
            n_components=min(50, n_features),
            n_batches=n_batches,
            operator=operator,
            row_bytes=4 * n_features,
        )
    except InsufficientMemoryError:
        return
    assert found.worker_bytes <= limit_gib * GIB
    assert found.tiling.tiles_per_partition >= SHAPE.shard_tiles
    assert found.piece_bytes >= 0
    assert found.total_bytes >= found.worker_bytes


def test_more_of_anything_never_needs_less():
    # So many threads that partitions are small: wide rows would make larger ones smaller.
    small = plan(64 * GIB, threads=8)
    for operator in ("nystrom", "displace", "align"):
        found = plan(64 * GIB, threads=8, operator=operator)
        assert found.total_bytes > small.total_bytes, operator
    for name in ("n_rows", "n_features", "n_components", "n_batches", "block_rows", "row_bytes"):
        large = plan(64 * GIB, threads=8, **{name: 4 * getattr(SHAPE, name)})
        assert large.total_bytes >= small.total_bytes, name


@pytest.mark.parametrize(
    ("embedding", "tiles"), [(None, 8), ("f4", 4), ("f8", 2)], ids=["alone", "float32", "float64"]
)
def test_a_task_reads_at_most_128_mib_of_features_and_embedding_together(embedding, tiles):
    n_rows, width = 1_000_000, 1000
    features, second = (
        None if kind is None else StoredRows(np.broadcast_to(np.zeros((), kind), (n_rows, width)))
        for kind in ("f4", embedding)
    )
    labels = BatchLabels(np.zeros(n_rows, np.uint8), ("a",), np.array([n_rows]))
    inputs = Inputs(features, labels, [], second)
    parameters = Parameters(max_rows=100, fit_rows="all")
    found = plan_run(inputs, parameters, Workers(2, 1, 16 * GIB, embedded=False))
    assert found.tiling.tiles_per_partition == tiles
    row_bytes = 4 * width + (0 if second is None else second.dtype.itemsize * width)
    assert tiles * TILE_ROWS * row_bytes <= PARTITION_BYTES == 128 * 2**20


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (700 * 2**20, "700 MiB"), (2**40, "1 TiB")],
)
def test_sizes_are_readable(n_bytes, text):
    assert format_bytes(n_bytes) == text


def test_memory_is_planned_for_fewer_landmarks_where_many_do_not_fit():
    wide = {"n_features": 500, "row_bytes": 2_000, "shard_tiles": 1}
    assert plan(8 * GIB, **wide).n_landmarks == 8192
    assert plan(3 * GIB // 2, **wide).n_landmarks < 8192
    assert plan(8 * GIB, max_rows=10_000, **wide).n_landmarks == 10_000


def test_chunks_that_must_be_decoded_whole_are_counted():
    whole = Chunks(n_rows=1_000_000, n_across=1, n_bytes=GIB)
    assert plan(16 * GIB, chunks=(whole,)).total_bytes - plan(16 * GIB).total_bytes >= 2 * GIB
    small = Chunks(n_rows=4096, n_across=2, n_bytes=MIB)
    assert small.read_bytes(4096) == 2 * 4 * MIB
    assert small.read_bytes(10**6) == 2 * 10 * MIB


@pytest.mark.parametrize("n_rows", [40_000, 65_536, 200_000])
def test_small_inputs_use_every_thread(n_rows):
    assert plan(8 * GIB, n_rows=n_rows, shard_tiles=4).tiling.n_partitions >= 2
