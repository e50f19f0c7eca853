"""Measured runs in a JSON file, which a later call may continue, beside a table and a plot."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from matplotlib.figure import Figure

from balans_dask.kernels._blas import blas_fingerprint
from benchmarks.harness.pictures import save

LIBRARIES = ("balans-dask", "dask", "distributed", "numba", "numpy", "scipy", "zarr")
REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "benchmarks" / "speed" / "results"


def processor() -> str:
    """Name the processor; `platform` knows it on some systems only."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_facts() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "cpus": os.cpu_count(),
        "processor": processor(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "blas": blas_fingerprint(),
    }


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Versions of libraries, and of Python; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Name the commit that is measured, and say whether the package has been changed since."""
    git = ["git", "-C", str(REPOSITORY)]
    found = subprocess.run(
        [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True
    )
    if found.returncode:
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "balans_dask"]).returncode
    return found.stdout.strip() + (" with changes" if changed else "")


def made_by(record: Mapping[str, Any]) -> str:
    """Say by what the figures of a record were made, and when."""
    used = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"{record['processor']}. {used}. {record.get('date')}, commit {record.get('commit')}."


def as_text(record: Mapping[str, Any]) -> str:
    """Write a record as JSON, one line a run."""
    facts = json.dumps({name: value for name, value in record.items() if name != "runs"}, indent=1)
    runs = ",\n  ".join(json.dumps(run, separators=(",", ":")) for run in record["runs"])
    return f'{facts[:-2]},\n "runs": [\n  {runs}\n ]\n}}\n'


class Findings:
    """All runs of one benchmark.

    ``name`` is that of the files, ``given`` has the arguments of ``benchmark_arguments``. ``fixed``
    names arguments that are the same for all runs of a file, and are recorded: ``--resume`` goes on
    with a file of the same ones, machine and versions; where one that had come to its end is of
    others, all is measured anew. ``others`` are versions of programs outside this Python.
    """

    def __init__(
        self,
        name: str,
        given: argparse.Namespace,
        fixed: Sequence[str],
        others: Mapping[str, str] | None = None,
    ) -> None:
        given.results.mkdir(parents=True, exist_ok=True)
        self._stem = given.results / name
        facts = {
            "machine": machine_facts(),
            "versions": versions() | dict(others or {}),
            "options": {option: getattr(given, option) for option in fixed},
        }
        # As a file gives them back: it knows no tuples.
        facts = json.loads(json.dumps(facts))
        self.record: dict[str, Any] = facts | {"runs": []}
        path = self._stem.with_suffix(".json")
        if given.resume and path.exists():
            self._go_on(path, json.loads(path.read_text()))
        self._since = time.perf_counter()

    def _go_on(self, path: Path, earlier: dict[str, Any]) -> None:
        """Take over a file of the same circumstances, and refuse to lose one that broke off."""
        if all(earlier[key] == value for key, value in self.record.items() if key != "runs"):
            self.record = earlier
            return
        other = f"{path} is of another machine, other versions or other options"
        if "title" not in earlier:
            sys.exit(f"{other}, and broke off: leave out --resume")
        print(f"{other}: measured anew", file=sys.stderr)

    def measure(self, case: Mapping[str, Any], function: Callable[[], Mapping[str, Any]]) -> None:
        """Run a function and keep the figures that it returns, unless the case is there already.

        The record has the day of the last run and the seconds of all, what prepares one included:
        those of a resumed file go on.

        The case is what tells this run from all others, its repeat included.
        """
        if self.of(**case):
            self._since = time.perf_counter()
            return
        run = {**case, **function()}
        self.record["runs"].append(run)
        # A file without one has not come to its end.
        self.record.pop("title", None)
        now = time.perf_counter()
        seconds = self.record.get("seconds", 0.0) + now - self._since
        self.record |= {"seconds": round(seconds, 3), "date": str(date.today()), "commit": commit()}
        self._since = now
        self._save()
        print(run, file=sys.stderr)

    def of(self, **case: Any) -> list[dict[str, Any]]:
        """Return the runs that have these values, in the order in which they were measured."""
        return [run for run in self.record["runs"] if case.items() <= run.items()]

    def each(self, key: str, **case: Any) -> list[Any]:
        """List what these runs have there, each once, in order."""
        return list(dict.fromkeys(run[key] for run in self.of(**case)))

    def values(self, figure: str, **case: Any) -> list[float]:
        """One figure of the runs that have these values."""
        return [run[figure] for run in self.of(**case)]

    def publish(self, title: str, about: str, tables: Iterable[str], figure: Figure) -> None:
        """Write the tables and the plot, and print the tables."""
        self.record["title"] = title
        self.record.setdefault("date", str(date.today()))
        machine, used = self.record["machine"], self.record["versions"]
        listed = ", ".join(f"{name} {version}" for name, version in used.items())
        memory = machine["memory_bytes"] / 2**30
        where = f"Machine: {machine['cpus']} x {machine['processor']}, {memory:.0f} GiB. {listed}."
        if "commit" in self.record:
            where += f" Commit {self.record['commit']}, {self.record['date']}."
        if blas := machine.get("blas"):
            where += f" BLAS: {', '.join(dict.fromkeys(blas))}."
        parts = [f"# {title}", about, where]
        text = "\n".join([*(f"{part}\n" for part in parts if part), *tables])
        self._stem.with_suffix(".md").write_text(text)
        save(figure, self._stem.with_suffix(".png"))
        self._save()
        print(text)

    def _save(self) -> None:
        path = self._stem.with_suffix(".json")
        beside = path.with_name(f"{path.name}.partial")
        beside.write_text(as_text(self.record))
        # A run that is killed here leaves the file of the case before.
        beside.replace(path)


def benchmark_arguments(document: str, repeats: int) -> argparse.ArgumentParser:
    """Begin a parser with what every benchmark takes, described by a document's first line."""
    parser = argparse.ArgumentParser(description=document.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, help="runs of every case, in turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the three files")
    parser.add_argument("--folder", type=Path, help="keep generated stores here, and reuse them")
    parser.add_argument("--resume", action="store_true", help="keep the runs of the JSON file")
    return parser


def described(script: str) -> tuple[str, str]:
    """Title and method of a benchmark, from the Markdown in the folder beside it."""
    path = Path(script)
    title, _, about = (path.parent / "methods" / f"{path.stem}.md").read_text().partition("\n\n")
    return title.removeprefix("# "), about.rstrip()


def median(values: Sequence[float]) -> float:
    """Middle value; NaN of none."""
    return statistics.median(values) if values else float("nan")


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, and range of several values."""
    if not values:
        return "-"
    middle = f"{median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
