"""Run experiments of a size, two at a time, then write the results page.

python -m benchmarks.experiments.run_all [--only NAME ...] [--size small] [--resume]
"""

import argparse
import importlib
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from benchmarks.experiments.results_page import CLOSED, PAGE, page
from benchmarks.experiments.results_page import NAMES as SHOWN
from benchmarks.harness.experiment import REPOSITORY, RESULTS, SIZES, Experiment

NAMES = tuple(name for name in SHOWN if name not in CLOSED)
CACHE = REPOSITORY / "build" / "jax"
PEERS = REPOSITORY / ".peers" / "bin" / "python"
"""What `make peers` makes."""
TIMED = {"scaling", "stopping_rules"}
"""They are about seconds, so nothing runs beside them."""
LONGEST_FIRST = (
    "dimension",
    "baselines",
    "severity",
    "coverage_validation",
    "scale_ablation",
    "sampler_blocks",
    "tiny_clusters",
    "noise_model",
)
"""All others, as they are begun: the short ones fill what the long ones leave."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Where experiments run beside each other: threads of two processes would wait for each other."""
PROCESSES = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn"))


def main(
    argv: Sequence[str] | None = None,
    run: Callable[[str, list[str]], None] | None = None,
    pool: Callable[..., Executor] = PROCESSES,
) -> None:
    """Run, say how long each took, and end with an error if any failed.

    Experiments share processes, as scib-metrics compiles in each of them.
    """
    given = _arguments(argv)
    options = ["--size", given.size, "--results", str(given.results)]
    options += ["--resume"] if given.resume else []
    failed: list[str] = []

    def ended(name: str, future: Future[float]) -> None:
        if (error := future.exception()) is not None:
            failed.append(name)
            traceback.print_exception(error)
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
        else:
            print(f"{name}: {future.result():.0f} s", file=sys.stderr)

    with pool(1, initializer=_prepare, initargs=(environment(),)) as alone:
        for name in (name for name in given.only if name in TIMED):
            ended(name, alone.submit(_timed, run or measure, name, options))
    variables = environment() | ONE_THREAD
    with pool(given.at_once, initializer=_prepare, initargs=(variables,)) as beside:
        others = [name for name in LONGEST_FIRST if name in given.only]
        futures = {
            beside.submit(_timed, run or measure_beside, name, options): name for name in others
        }
        for future in as_completed(futures):
            ended(futures[future], future)
    given.page.write_text(page(given.results))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def experiment(name: str) -> Experiment:
    """Import an experiment; none is imported before it is asked for."""
    found: Experiment = importlib.import_module(f"benchmarks.experiments.{name}").EXPERIMENT
    return found


def measure(name: str, arguments: list[str]) -> None:
    """Run an experiment in this process."""
    experiment(name).main(arguments)


def measure_beside(name: str, arguments: list[str]) -> None:
    """Run an experiment in this process by one thread, and start Dask once for all its fits."""
    workers = importlib.import_module("balans_dask.passes.workers")
    with workers.embedded_client(1) as client, client.as_current():
        measure(name, arguments)


def environment() -> dict[str, str]:
    """Say which other methods there are, and where compiled scores are kept."""
    found = {
        "JAX_COMPILATION_CACHE_DIR": str(CACHE),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    if PEERS.exists():
        found["BALANS_PEERS"] = str(PEERS)
    return found | {name: os.environ[name] for name in found if name in os.environ}


def _prepare(variables: dict[str, str]) -> None:
    os.environ.update(variables)
    warnings.simplefilter("ignore")


def _timed(run: Callable[[str, list[str]], None], name: str, arguments: list[str]) -> float:
    began = time.perf_counter()
    run(name, arguments)
    return time.perf_counter() - began


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--at-once", type=int, default=2, help="untimed experiments at a time")
    parser.add_argument("--resume", action="store_true", help="keep the runs that are there")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--page", type=Path, default=PAGE, help="results page")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
