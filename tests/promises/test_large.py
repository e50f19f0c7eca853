"""200,000 x 50 profiles in 5 batches by the installed command: same bytes, bounded memory."""

from pathlib import Path

import anndata
import pytest

from balans_dask.workflows.mixture import Mixture, write_mixture
from benchmarks.harness.measured_process import balans, planned_bytes
from tests.support.commands import run, streams
from tests.support.stores import files, files_but_input

KEY = ["--batch-key", "Metadata_batch", "--operator", "smooth"]


def peak_bytes(*arguments):
    """Peak memory of a command in its own process, with all the processes that it starts."""
    return balans(*arguments).peak_bytes


def plan_of(*options):
    """Memory that a run is planned to take, in all processes."""
    return planned_bytes(streams("check", *options, *KEY)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("large")
    write_mixture(Mixture(n_rows=200_000, n_features=50), str(place / "in.zarr"))
    return place


@pytest.fixture(scope="module")
def threads(folder) -> tuple[Path, int]:
    """The store made by threads, and the memory it took."""
    peak = peak_bytes("correct", folder / "in.zarr", folder / "threads.zarr", *KEY)
    return folder / "threads.zarr", peak


@pytest.mark.long
@pytest.mark.peak
def test_processes_make_the_same_bytes_within_the_plan(folder, threads):
    where = ["--cluster", "local", "--workers", 2]
    peak = peak_bytes("correct", folder / "in.zarr", folder / "local.zarr", *KEY, *where)
    assert files(folder / "local.zarr") == files(threads[0])
    assert peak <= plan_of(folder / "in.zarr", *where)


@pytest.mark.long
def test_a_rechunked_store_of_zarr_v2_makes_the_same_bytes(folder, threads):
    data = anndata.read_zarr(folder / "in.zarr")
    with anndata.settings.override(zarr_write_format=2):
        data.write_zarr(folder / "v2.zarr", chunks=(7_777, 13))
    run("correct", folder / "v2.zarr", folder / "rechunked.zarr", *KEY)
    assert files_but_input(folder / "rechunked.zarr") == files_but_input(threads[0])


@pytest.mark.long
@pytest.mark.peak
def test_memory_stays_within_the_plan(folder, threads):
    assert threads[1] <= plan_of(folder / "in.zarr")


@pytest.mark.long
@pytest.mark.peak
def test_a_lower_limit_is_kept_and_changes_no_byte(folder, threads):
    limit = ["--memory-limit", "900MB"]
    out = folder / "limited.zarr"
    peak = peak_bytes("correct", folder / "in.zarr", out, *KEY, *limit)
    assert files(out) == files(threads[0])
    assert peak <= min(900e6, plan_of(folder / "in.zarr", *limit))


SHAPES = {
    "wide": (Mixture(n_rows=100_000, n_features=500), None, ["--memory-limit", "1.4GB"]),
    "many landmarks": (
        Mixture(n_rows=50_000, n_features=500),
        None,
        ["--max-rows", 2_000, "--patience", 9_999],
    ),
    "one chunk": (Mixture(n_rows=200_000, n_features=100), (200_000, 100), []),
    "1,500 plates": (
        Mixture(n_rows=100_000, n_features=20, n_batches=1_500),
        None,
        ["--max-rows", 2_000, "--patience", 9_999],
    ),
}


@pytest.mark.long
@pytest.mark.peak
@pytest.mark.parametrize("shape", SHAPES)
def test_memory_stays_within_the_plan_for_stores_of_other_shapes(tmp_path, shape):
    mixture, chunks, options = SHAPES[shape]
    source = tmp_path / "in.zarr"
    write_mixture(mixture, str(source))
    if chunks is not None:
        data = anndata.read_zarr(source)
        source = tmp_path / "rechunked.zarr"
        with anndata.settings.override(zarr_write_format=3):
            data.write_zarr(source, chunks=chunks)
    peak = peak_bytes("correct", source, tmp_path / "out.zarr", *KEY, *options)
    assert peak <= plan_of(source, *options)
