"""Deliberate faults, each of which named tests must notice: for the tests and for ``make mutants``.

A fault is a file of ``tests/support/mutants``: a sentence that says what it breaks, the tests that
must notice, one a line, and a diff. ``python -m tests.support.mutant_runs [NAME ...]`` applies each
to a copy of the tree and runs its tests there.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support import REPOSITORY

MUTANTS = Path(__file__).parent / "mutants"
PASSED, FAILED = 0, 1


@dataclass(frozen=True)
class Mutant:
    """A patch with one fault: what it breaks, and the tests that must notice."""

    path: Path
    breaks: str
    tests: tuple[str, ...]


def mutants() -> list[Mutant]:
    return [read(path) for path in sorted(MUTANTS.glob("*.patch"))]


def read(path: Path) -> Mutant:
    header = path.read_text().partition("\ndiff --git ")[0].splitlines()
    named = tuple(line for line in header if line.startswith("tests/"))
    return Mutant(path, header[0], named)


def apply(mutant: Mutant, tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # The tree may lie inside another repository, whose paths the patch does not mean.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "apply", *options, str(mutant.path)]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)


def copy_of_the_tree(tree: Path) -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if (REPOSITORY / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, tree / name)


def outcome(tree: Path, *tests: str) -> int:
    """Exit code of pytest: only 1 says that a test ran and failed."""
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(tree.parent),
    }
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if run.returncode not in (PASSED, FAILED):
        print(run.stdout + run.stderr)
    return run.returncode


def verdict(mutant: Mutant, tree: Path) -> str:
    # Always at the same place: kernels that a fault does not touch are compiled once for all.
    shutil.rmtree(tree, ignore_errors=True)
    copy_of_the_tree(tree)
    refused = apply(mutant, tree)
    if refused.returncode:
        return f"NO LONGER APPLIES: {refused.stderr.strip().splitlines()[0]}"
    silent = [test for test in mutant.tests if outcome(tree, test) != FAILED]
    return f"SURVIVED {', '.join(silent)}" if silent or not mutant.tests else "killed"


def main() -> int:
    chosen = [found for found in mutants() if found.path.stem in sys.argv[1:] or not sys.argv[1:]]
    n_killed = 0
    with TemporaryDirectory(prefix="balans-mutants-") as scratch:
        tree = Path(scratch).resolve() / "tree"
        copy_of_the_tree(tree)
        named = [test for mutant in chosen for test in mutant.tests]
        if not named or outcome(tree, *named) != PASSED:
            print(f"not all of these pass without a fault: {', '.join(named) or 'none named'}")
            return 1
        for mutant in chosen:
            said = verdict(mutant, tree)
            n_killed += said == "killed"
            print(f"{mutant.path.stem}: {said}\n    {mutant.breaks}", flush=True)
    print(f"{n_killed} of {len(chosen)} killed")
    return int(n_killed < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
