"""Run experiments of a size, each in a process of its own, then write the results page.

python benchmarks/experiments/run_all.py [--only NAME ...] [--size small] [--resume]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from places import RESULTS, SIZES
from results_page import PAGE, page

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
CACHE = REPOSITORY / "build" / "jax"
PEERS = REPOSITORY / ".peers" / "bin" / "python"
"""What `make peers` makes."""
NAMES = (
    "scaling",
    "coverage_validation",
    "scale_ablation",
    "tiny_clusters",
    "severity",
    "dimension",
    "pseudo_inverse",
    "stopping_rules",
    "noise_model",
    "sampler_blocks",
    "baselines",
)
"""In the order of the results page."""
TIMED = {"scaling", "stopping_rules"}
"""They are about seconds, so nothing runs beside them."""


def main(argv: Sequence[str] | None = None, run: Callable[..., int] = subprocess.call) -> None:
    """Run, say how long each took, and end with an error if any failed.

    Parameters
    ----------
    argv : sequence of str, optional
        Of the command line.
    run : callable
        Takes a command and ``env``, and returns its exit code.
    """
    given = _arguments(argv)
    codes: dict[str, int] = {}

    def one(name: str) -> None:
        began = time.perf_counter()
        command = [sys.executable, "-W", "ignore", str(HERE / f"{name}.py"), "--size", given.size]
        command += ["--results", str(given.results), *(["--resume"] if given.resume else [])]
        codes[name] = run(command, env=environment())
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)

    for name in (name for name in given.only if name in TIMED):
        one(name)
    with ThreadPoolExecutor(given.at_once) as pool:
        list(pool.map(one, [name for name in given.only if name not in TIMED]))
    failed = [name for name in given.only if codes[name] != 0]
    given.page.write_text(page(given.results, NAMES))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def environment() -> dict[str, str]:
    """Say where modules are, which other methods there are, and where compiled scores are kept."""
    found = dict(os.environ)
    places = [str(HERE.parent), found.get("PYTHONPATH", "")]
    found["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    found.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
    found.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if PEERS.exists():
        found.setdefault("BALANS_PEERS", str(PEERS))
    return found


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
