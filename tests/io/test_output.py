"""A store is complete or not there, and tasks write whole shards."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from balans_dask.errors import StoreExistsError
from balans_dask.io.layout import create_matrix, row_layout, write_annotations
from balans_dask.io.output import OutputStore, StoreSink, write_shards
from balans_dask.io.run_folder import RunFolder
from balans_dask.tiling import TILE_ROWS

ROWS = np.arange(40_000, dtype=np.float32).reshape(10_000, 4)


def write(path, overwrite=False, rows=ROWS):
    with OutputStore(str(path), overwrite) as output:
        array = create_matrix(output.root, "X", rows.shape, rows.dtype, (500, 1000))
        write_shards(array, 0, rows)
        frame = pd.DataFrame(index=[str(i) for i in range(len(rows))])
        write_annotations(output.root, {"obs": frame, "var": pd.DataFrame(index=list("abcd"))})


def test_the_store_appears_only_when_it_is_complete(tmp_path):
    with OutputStore(str(tmp_path / "o.zarr"), overwrite=False) as output:
        assert not (tmp_path / "o.zarr").exists()
        create_matrix(output.root, "X", (4, 4), np.dtype("f4"), (4, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["o.zarr"]


def test_an_exception_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), OutputStore(str(tmp_path / "o.zarr"), overwrite=False):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_an_exception_keeps_the_store_that_was_to_be_replaced(tmp_path):
    write(tmp_path / "o.zarr")
    with pytest.raises(RuntimeError), OutputStore(str(tmp_path / "o.zarr"), overwrite=True):
        raise RuntimeError
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "o.zarr/X", mode="r")[:], ROWS)


def test_remains_of_a_killed_run_are_cleared_and_anything_else_is_not(tmp_path):
    killed = RunFolder(str(tmp_path / "o.zarr"))
    with killed.held():
        zarr.create_group(killed.last.store).create_array("torn", shape=(3,), dtype="f4")
    write(tmp_path / "o.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["o.zarr"]
    (tmp_path / "p.zarr.partial").mkdir()
    (tmp_path / "p.zarr.partial" / "notes.txt").write_text("mine")
    with pytest.raises(StoreExistsError, match="is not ours"):
        write(tmp_path / "p.zarr")
    assert (tmp_path / "p.zarr.partial" / "notes.txt").read_text() == "mine"


def replaced_by_a_killed_run(tmp_path) -> tuple[RunFolder, Path]:
    """A store that a run of ours has moved out of its place, before it was killed."""
    write(tmp_path / "o.zarr")
    killed = RunFolder(str(tmp_path / "o.zarr"))
    with killed.held():
        killed.write_record({"identity": {}})
        killed.last.store.mkdir()
        (tmp_path / "o.zarr").rename(killed.path / "replaced")
    return killed, killed.path / "replaced"


def test_a_store_that_a_killed_run_has_replaced_is_not_in_the_way_of_the_next(tmp_path):
    killed, _ = replaced_by_a_killed_run(tmp_path)
    killed.last.store.rmdir()
    write(tmp_path / "o.zarr", overwrite=True, rows=ROWS + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["o.zarr"]


def test_of_two_stores_in_one_place_none_is_removed(tmp_path):
    _, replaced = replaced_by_a_killed_run(tmp_path)
    zarr.create_group(tmp_path / "o.zarr")
    with pytest.raises(StoreExistsError, match="has come since: move one of them"):
        write(tmp_path / "o.zarr", overwrite=True)
    assert (replaced / "X" / "zarr.json").exists()
    assert (tmp_path / "o.zarr").exists()


def test_zero_chunks_are_on_disk(tmp_path):
    write(tmp_path / "o.zarr", rows=np.zeros_like(ROWS))
    assert len(list((tmp_path / "o.zarr/X/c").iterdir())) == 10


@pytest.mark.parametrize(("start", "stop"), [(500, 1500), (0, 1500), (1, 1000)])
def test_rows_that_are_not_whole_shards_are_refused(tmp_path, start, stop):
    array = create_matrix(
        zarr.create_group(tmp_path / "g.zarr"), "X", ROWS.shape, ROWS.dtype, (500, 1000)
    )
    sink = StoreSink(array, None, tmp_path / "g.zarr", tmp_path / "units", "run")
    with pytest.raises(ValueError, match="not whole shards of 1000 rows"):
        sink.write(
            start,
            ROWS[start:stop],
            None,
            np.zeros(stop - start, np.float32),
            np.ones(stop - start, dtype=bool),
        )


@given(n_rows=st.integers(1, 10**7), row_bytes=st.integers(1, 200_000))
def test_shards_are_whole_chunks_and_powers_of_two_of_tiles(n_rows, row_bytes):
    chunk_rows, shard_rows = row_layout(n_rows, row_bytes)
    assert shard_rows % chunk_rows == 0
    assert shard_rows <= 16 * TILE_ROWS
    if n_rows > shard_rows:
        tiles = shard_rows // TILE_ROWS
        assert shard_rows % TILE_ROWS == 0
        assert tiles & (tiles - 1) == 0
        assert TILE_ROWS % chunk_rows == 0
    else:
        assert chunk_rows <= n_rows
        assert shard_rows < n_rows + chunk_rows
