"""Reading and writing the store layout, beside a plain copy of the same bytes and bare zarr.

    python -m benchmarks.speed.zarr_io [--rows 1000000] [--columns 50]

One thread asks; what zarr does beside it is zarr's. Every write ends when its files are on disk.
Reads find their files in the page cache, as the second pass of a run does.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from balans_dask.io.atomic import sync_file
from balans_dask.io.layout import create_matrix, create_root, row_layout
from balans_dask.io.matrices import checked_array
from balans_dask.io.output import StoreSink
from balans_dask.io.sources import StoredRows
from balans_dask.tiling import TILE_ROWS, Tiling
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.mixtures import SPREADS, mixture_store, working_folder
from benchmarks.harness.pictures import panels
from benchmarks.harness.tables import lines

PARTITION_TILES = 16
COPY = "plain copy"


@dataclass(frozen=True)
class Matrix:
    """Rows, the same in memory and in a store."""

    values: NDArray[np.float32]
    store: Path

    @property
    def files(self) -> Path:
        """Folder of the stored array."""
        return self.store / "X"

    @property
    def layout(self) -> tuple[int, int]:
        """Rows of a chunk and of a shard."""
        return row_layout(len(self.values), self.values.itemsize * self.values.shape[1])

    def slices(self) -> list[slice]:
        """Rows of every partition."""
        parts = Tiling(len(self.values), PARTITION_TILES).partitions()
        return [slice(part.start, part.stop) for part in parts]


def read_package(matrix: Matrix) -> None:
    """Read as a task does."""
    source = StoredRows(checked_array(zarr.open_group(matrix.store, mode="r")["X"]))
    for rows in matrix.slices():
        source.rows(rows.start, rows.stop).read()


def read_zarr(matrix: Matrix) -> None:
    """Read the same slices by zarr alone."""
    array = zarr.open_group(matrix.store, mode="r")["X"]
    for rows in matrix.slices():
        array[rows]


def read_files(matrix: Matrix) -> None:
    """Read the same files."""
    for file in _files(matrix.files):
        file.read_bytes()


def write_package(matrix: Matrix, target: Path) -> None:
    """Write as the tasks of a run do."""
    values, store = matrix.values, target / "store"
    root = create_root(str(store))
    array = create_matrix(root, "X", values.shape, values.dtype, matrix.layout)
    units = target / "units"
    units.mkdir()
    sink = StoreSink(array, None, store, units, "benchmark")
    for rows in matrix.slices():
        n_rows = rows.stop - rows.start
        moved, covered = np.zeros(n_rows, dtype=np.float32), np.ones(n_rows, dtype=bool)
        sink.write(rows.start, values[rows], None, moved, covered)


def write_zarr(matrix: Matrix, target: Path) -> None:
    """Write the same array by zarr alone."""
    root = create_root(str(target / "store"))
    array = create_matrix(root, "X", matrix.values.shape, matrix.values.dtype, matrix.layout)
    _fill(array, matrix)
    _sync(target)


def write_no_codec(matrix: Matrix, target: Path) -> None:
    """Write as fast as zarr can."""
    shape = matrix.values.shape
    chunks = (min(shape[0], PARTITION_TILES * TILE_ROWS), shape[1])
    array = zarr.create_array(
        target / "array", shape=shape, chunks=chunks, dtype=np.float32, compressors=None
    )
    _fill(array, matrix)
    _sync(target)


def copy_files(matrix: Matrix, target: Path) -> None:
    """Copy the files of the array."""
    shutil.copytree(matrix.files, target / "copy")
    _sync(target)


READS: dict[str, Callable[[Matrix], None]] = {
    "package": read_package,
    "bare zarr": read_zarr,
    COPY: read_files,
}
WRITES: dict[str, Callable[[Matrix, Path], None]] = {
    "package": write_package,
    "bare zarr": write_zarr,
    "bare zarr, no codec": write_no_codec,
    COPY: copy_files,
}


def _fill(array: zarr.Array, matrix: Matrix) -> None:
    for rows in matrix.slices():
        array[rows] = matrix.values[rows]


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file()]


def _sync(folder: Path) -> None:
    for file in _files(folder):
        sync_file(file)


def timed(function: Callable[[], None]) -> dict[str, float]:
    """Measure once; what others have written is on disk before."""
    os.sync()
    start = time.perf_counter()
    function()
    return {"seconds": round(time.perf_counter() - start, 4)}


def _write(function: Callable[[Matrix, Path], None], matrix: Matrix, folder: Path) -> Any:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return timed(partial(function, matrix, Path(place)))


def table(findings: Findings, n_bytes: int) -> str:
    """Write both directions."""
    rows = []
    for way, ways in (("read", READS), ("write", WRITES)):
        beside = median(findings.values("seconds", way=way, method=COPY))
        for method in ways:
            seconds = findings.values("seconds", way=way, method=method)
            speeds = [n_bytes / 1e6 / each for each in seconds]
            ratio = f"{median(seconds) / beside:.2f}"
            rows.append([f"{way}, {method}", spread(seconds, 2), spread(speeds, 0), ratio])
    return lines(["what", "seconds", "MB/s", "time of plain copy"], rows)


def picture(findings: Findings, n_bytes: int) -> Figure:
    """Draw the speeds."""
    figure, axes = panels(2)
    both: list[tuple[str, list[str]]] = [("read", list(READS)), ("write", list(WRITES))]
    for axis, (way, ways) in zip(axes, both, strict=True):
        seconds = [median(findings.values("seconds", way=way, method=name)) for name in ways]
        axis.barh(ways, [n_bytes / 1e6 / each for each in seconds])
        axis.invert_yaxis()
        axis.set(title=way, xlabel="MB/s")
    return figure


def main(argv: list[str] | None = None) -> None:
    """Measure, write JSON, table and plot."""
    parser = benchmark_arguments(__doc__, repeats=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    given: argparse.Namespace = parser.parse_args(argv)
    findings = Findings("zarr_io", given, ["rows", "columns"])
    mixture = Mixture(given.rows, given.columns, cluster_spread=SPREADS["overlapping"])
    with working_folder(given.folder) as folder:
        store = mixture_store(folder, mixture)
        matrix = Matrix(zarr.open_group(store, mode="r")["X"][:], store)
        for repeat in range(given.repeats):
            for method, read in READS.items():
                case = {"way": "read", "method": method, "repeat": repeat}
                findings.measure(case, partial(timed, partial(read, matrix)))
            for method, write in WRITES.items():
                case = {"way": "write", "method": method, "repeat": repeat}
                findings.measure(case, partial(_write, write, matrix, folder))
    n_bytes = 4 * given.rows * given.columns
    title, about = described(__file__)
    about += f" Here {given.rows:,} x {given.columns}, {n_bytes / 1e6:,.0f} MB."
    tables, figure = [table(findings, n_bytes)], picture(findings, n_bytes)
    findings.publish(title, about, tables, figure)


if __name__ == "__main__":
    main()
