"""Moving a store by a frozen model, beside a bare Zarr copy of what is written.

    python -m benchmarks.speed.moving [--rows 1000000] [--columns 50]

`balans transform` is a process of its own, in which all rows take all steps at once. The copy reads
and writes the same arrays, with the same chunks, shards and codec, by as many threads, and ends
when its files are on disk. The parts of the work are measured apart, in one thread. All take turns.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import zarr
from matplotlib.figure import Figure

from balans_dask.events import read_events
from balans_dask.io.atomic import sync_files
from balans_dask.io.layout import create_matrix, create_root
from balans_dask.io.model_store import is_model
from balans_dask.io.sources import StoredRows
from balans_dask.io.store import open_store
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.kernels.projection import checksum_of_tile
from balans_dask.model.frozen import Model
from balans_dask.model.inputs import Inputs, check_values
from balans_dask.model.plan import plan_run
from balans_dask.model.saved import load_model
from balans_dask.model.transform import number_batches
from balans_dask.parameters import LOCAL
from balans_dask.passes.threads import ThreadsEngine
from balans_dask.tiling import tile_slices
from balans_dask.workflows.array_output import gathered_rows
from balans_dask.workflows.arrays import transform_arrays
from balans_dask.workflows.mixture import Mixture
from balans_dask.workflows.request import correction_request
from benchmarks.harness.findings import Findings, benchmark_arguments, described, median, spread
from benchmarks.harness.measured_process import balans
from benchmarks.harness.mixtures import BATCH, SPREADS, mixture_store, working_folder
from benchmarks.harness.pictures import panels
from benchmarks.harness.tables import lines
from benchmarks.speed.phases import PHASES, medians, phases_of

TRANSFORM, COPY = "balans transform", "bare Zarr copy"
MOVED, EXAMINED = "moving, in memory", "examining, in memory"
PARTS = {
    MOVED: "four steps of all rows",
    EXAMINED: "moments, digests, and whether all is finite",
    "checksums": "of what is read again",
    "hashes": "of the files that are written",
}
Measured = dict[str, Any]


@dataclass(frozen=True)
class Stores:
    """What is moved, by what, and what comes out.

    Attributes
    ----------
    store, model, moved : Path
        ``moved`` is an output of the transform that stays.
    n_workers : int
    """

    store: Path
    model: Path
    moved: Path
    n_workers: int

    def transformed(self, out: Path) -> Measured:
        """Move the store by the installed command."""
        where = ("--cluster", "threads", "--workers", self.n_workers)
        done = balans("transform", self.model, self.store, out, "--batch-key", BATCH, *where)
        return done.figures | {"phases": phases_of(read_events(str(out)), done.seconds)}

    def arrays(self) -> dict[str, zarr.Array]:
        """Return the matrices that the transform has written, by their places."""
        root = zarr.open_group(self.moved, mode="r")
        scores = {f"obsm/{name}": array for name, array in root["obsm"].arrays()}
        return {"X": root["X"]} | scores

    def files(self) -> list[Path]:
        """List the files of these matrices."""
        folders = [self.moved / name for name in self.arrays()]
        return [file for folder in folders for file in folder.rglob("*") if file.is_file()]


def prepared(folder: Path, store: Path, n_workers: int) -> Stores:
    """Fit a model, unless the folder has it, and move the store once: kernels are compiled."""
    model = folder / f"model_of_{store.name}"
    stores = Stores(store, model, folder / f"moved_{store.name}", n_workers)
    if not is_model(str(model)):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            out = Path(place) / "out.zarr"
            balans("correct", store, out, "--batch-key", BATCH, "--model", model, "--overwrite")
    if not stores.moved.exists():
        stores.transformed(stores.moved)
    return stores


def in_memory(stores: Stores) -> tuple[Model, Inputs]:
    """Read the model, and the rows whole."""
    model = load_model(str(stores.model))
    opened = open_store(str(stores.store))
    inputs = correction_request(opened, [BATCH], model.parameters, model=model).inputs
    values = zarr.open_group(stores.store, mode="r")["X"][:]
    inputs = replace(inputs, features=StoredRows(values), in_memory=True)
    return model, number_batches(model, inputs)


def n_pairs(model: Model, n_rows: int) -> int:
    """Count the pairs of a row and a landmark that the local steps look at; others need none."""
    steps = zip(model.parameters.alignment, model.passes, strict=True)
    return n_rows * sum(each.n_landmarks for step, each in steps if step == LOCAL)


def copied(stores: Stores, target: Path) -> Measured:
    """Copy the matrices, some whole shards at a time."""
    root = create_root(str(target))
    pieces: list[tuple[zarr.Array, zarr.Array, slice]] = []
    for name, array in stores.arrays().items():
        shard_rows = (array.shards or array.chunks)[0]
        layout = (array.chunks[0], shard_rows)
        new = create_matrix(root, name, array.shape, array.dtype, layout)
        firsts = range(0, array.shape[0], shard_rows)
        pieces += [(array, new, slice(first, first + shard_rows)) for first in firsts]

    def copy(piece: tuple[zarr.Array, zarr.Array, slice]) -> None:
        old, new, rows = piece
        new[rows] = old[rows]

    with ThreadPoolExecutor(stores.n_workers) as threads:
        list(threads.map(copy, pieces))
    start = time.perf_counter()
    sync_files(target)
    return {"sync_seconds": round(time.perf_counter() - start, 4)}


def parts_of(stores: Stores) -> dict[str, Callable[[], Measured]]:
    """Return the parts of the work, each by itself: one thread, and all that is read in memory."""
    model, inputs = in_memory(stores)
    engine, files = ThreadsEngine(1), stores.files()
    plan = plan_run(inputs, model.parameters, engine.workers(), model.sizes)
    values = inputs.features.rows(0, inputs.n_rows).read()

    def move() -> Measured:
        transform_arrays(engine, inputs, model, plan, gathered_rows)
        return {"n_pairs": n_pairs(model, inputs.n_rows)}

    def examine() -> Measured:
        check_values(engine, inputs, plan.tiling)
        return {}

    def checksums() -> Measured:
        for tile in tile_slices(len(values)):
            checksum_of_tile(values[tile])
        return {}

    def hashes() -> Measured:
        for file in files:
            blake2b(file.read_bytes(), digest_size=16).hexdigest()
        return {}

    return dict(zip(PARTS, (move, examine, checksums, hashes), strict=True))


def timed(function: Callable[[], Measured]) -> Measured:
    """Measure once; what others have written is on disk before."""
    os.sync()
    start, used = time.perf_counter(), time.process_time()
    with single_threaded_blas():
        found = function()
    seconds, taken = time.perf_counter() - start, time.process_time() - used
    return {"seconds": round(seconds, 4), "processor_seconds": round(taken, 4)} | found


def measure(findings: Findings, stores: Stores, folder: Path, repeats: int) -> None:
    """Let all take turns."""
    parts = parts_of(stores)

    def whole(run: Callable[[Path], Measured]) -> Measured:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return run(Path(place) / "out.zarr")

    for repeat in range(repeats):
        findings.measure({"what": TRANSFORM, "repeat": repeat}, partial(whole, stores.transformed))
        copy = partial(whole, lambda out: timed(partial(copied, stores, out)))
        findings.measure({"what": COPY, "repeat": repeat}, copy)
        for name, part in parts.items():
            findings.measure({"what": name, "repeat": repeat}, partial(timed, part))


def table(findings: Findings) -> str:
    """Write all, beside the copy."""
    beside = median(findings.values("seconds", what=COPY))

    def row(name: str, seconds: list[float], taken: list[float]) -> list[str]:
        return [name, spread(seconds, 2), spread(taken, 2), f"{median(seconds) / beside:.2f}"]

    def measured_row(what: str, name: str) -> list[str]:
        figures = (findings.values(key, what=what) for key in ("seconds", "processor_seconds"))
        return row(name, *figures)

    runs = findings.of(what=TRANSFORM)
    rows = [measured_row(TRANSFORM, f"{TRANSFORM}, the whole process")]
    for phase in PHASES:
        seconds = [run["phases"][phase] for run in runs]
        if any(seconds):
            rows.append(row(f"of it: {phase}", seconds, []))
    rows.append(measured_row(COPY, COPY))
    rows.append(row("of it: files to disk", findings.values("sync_seconds", what=COPY), []))
    rows += [measured_row(name, f"{name}: {meaning}") for name, meaning in PARTS.items()]
    return lines(["what", "seconds", "processor seconds", "of the copy"], rows)


def picture(findings: Findings) -> Figure:
    """Draw the phases of the transform beside the copy and the parts."""
    figure, (whole, parts) = panels(2)
    begin = 0.0
    for phase, seconds in medians(findings.of(what=TRANSFORM)).items():
        if seconds:
            whole.barh(TRANSFORM, seconds, left=begin, label=phase)
            begin += seconds
    copy, sync = (median(findings.values(key, what=COPY)) for key in ("seconds", "sync_seconds"))
    whole.barh(COPY, copy - sync, color="0.6", label="copy")
    whole.barh(COPY, sync, left=copy - sync, color="0.3", label="files to disk")
    whole.invert_yaxis()
    whole.set(xlabel="seconds")
    whole.legend(frameon=False, fontsize=6)
    parts.barh(list(PARTS), [median(findings.values("seconds", what=name)) for name in PARTS])
    parts.invert_yaxis()
    parts.set(xlabel="seconds", title="one thread")
    return figure


def main(argv: list[str] | None = None) -> None:
    """Measure, write JSON, table and plot."""
    parser = benchmark_arguments(__doc__, repeats=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2, help="threads of transform and copy")
    given: argparse.Namespace = parser.parse_args(argv)
    findings = Findings("moving", given, ["rows", "columns", "workers"])
    mixture = Mixture(given.rows, given.columns, cluster_spread=SPREADS["overlapping"])
    with working_folder(given.folder) as folder:
        stores = prepared(folder, mixture_store(folder, mixture), given.workers)
        measure(findings, stores, folder, given.repeats)
    title, about = described(__file__)
    about += f" Here {given.rows:,} x {given.columns}, {given.workers} threads."
    findings.publish(title, about, [table(findings)], picture(findings))


if __name__ == "__main__":
    main()
