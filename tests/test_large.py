"""200,000 x 50 profiles in 5 batches by the installed command: same bytes, bounded memory."""

import re
import subprocess
import sys
import time
from pathlib import Path

import anndata
import psutil
import pytest
from commands import run, streams
from stores import files, files_but_input

from balans_dask.mixture import Mixture, write_mixture

UNITS = {"MiB": 2**20, "GiB": 2**30}
KEY = ["--batch-key", "Metadata_batch"]


def peak_bytes(*arguments):
    """Peak memory of a command in its own process, with all the processes that it starts."""
    argv = [sys.executable, "-m", "balans_dask", *map(str, arguments)]
    process = psutil.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident_bytes(process))
        time.sleep(0.05)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return peak


def resident_bytes(process):
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total


def planned_bytes(*options):
    out, _ = streams("check", *options, *KEY)
    number, unit = re.search(r"all processes.*at most ([\d.]+) (MiB|GiB)", out).groups()
    return float(number) * UNITS[unit]


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


def test_processes_make_the_same_bytes_within_the_plan(folder, threads):
    where = ["--cluster", "local", "--workers", 2]
    peak = peak_bytes("correct", folder / "in.zarr", folder / "local.zarr", *KEY, *where)
    assert files(folder / "local.zarr") == files(threads[0])
    assert peak <= planned_bytes(folder / "in.zarr", *where)


def test_a_rechunked_store_of_zarr_v2_makes_the_same_bytes(folder, threads):
    data = anndata.read_zarr(folder / "in.zarr")
    with anndata.settings.override(zarr_write_format=2):
        data.write_zarr(folder / "v2.zarr", chunks=(7_777, 13))
    run("correct", folder / "v2.zarr", folder / "rechunked.zarr", *KEY)
    assert files_but_input(folder / "rechunked.zarr") == files_but_input(threads[0])


def test_memory_stays_within_the_plan(folder, threads):
    assert threads[1] <= planned_bytes(folder / "in.zarr")


@pytest.mark.long
def test_a_lower_limit_is_kept_and_changes_no_byte(folder, threads):
    limit = ["--memory-limit", "900MB"]
    out = folder / "limited.zarr"
    peak = peak_bytes("correct", folder / "in.zarr", out, *KEY, *limit)
    assert files(out) == files(threads[0])
    assert peak <= min(900e6, planned_bytes(folder / "in.zarr", *limit))


SHAPES = {
    "wide": (Mixture(n_rows=100_000, n_features=500), None, ["--memory-limit", "1.4GB"]),
    "one chunk": (Mixture(n_rows=200_000, n_features=100), (200_000, 100), []),
    "1,500 plates": (
        Mixture(n_rows=100_000, n_features=20, n_batches=1_500),
        None,
        ["--max-rows", 2_000, "--patience", 9_999],
    ),
}


@pytest.mark.long
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
    assert peak <= planned_bytes(source, *options)
