"""The floors of the house: an import only goes down, and only some rooms know Dask or Zarr."""

import ast
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import balans_dask
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

PACKAGE = Path(balans_dask.__file__).parent
# From below; what stands on one floor does not import each other.
FLOORS = (
    {"errors", "labels", "parameters", "tiling"},
    {"kernels"},
    {"io"},
    {"passes"},
    {"cluster", "model"},
    {"workflows"},
    {"evaluate"},
    {"report"},
    {"estimator", "events", "plot", "pp", "progress", "sweep"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WORDS, FACES = FLOORS[0], FLOORS[-3]
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts != ("__init__.py",)
)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def rooms_of(path: Path) -> set[str]:
    parts = (name.split(".") for name in imports(path))
    return {names[1] for names in parts if names[0] == "balans_dask" and len(names) > 1}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_import_only_goes_down(path):
    here = FLOOR_OF[room(path)]
    # The words of every floor, and the public faces, know each other.
    near = next((names for names in (WORDS, FACES) if room(path) in names), {room(path)})
    above = {name for name in rooms_of(path) - near if FLOOR_OF[name] >= here}
    assert not above


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dask_begins_in_passes_and_zarr_stays_in_io(path):
    outside = {name.split(".")[0] for name in imports(path)}
    if FLOOR_OF[room(path)] < FLOOR_OF["io"]:
        assert not outside & {"dask", "distributed"}
    if room(path) in {"kernels", "passes"}:
        assert not outside & {"zarr", "anndata", "pandas"}


HEAVY = {"anndata", "dask.array", "h5py", "pandas", "sklearn", "zarr"}
OF_WORKERS = {"dask", "distributed", "numba", "numpy", "scipy"}
OF_MANY_ROWS = {"anndata", "dask", "distributed"}
OF_RUNS = {"h5py", "numba", "rich", "zarr"}
ASK = "from balans_dask.cli.app import run; run({}); import sys; print(*sys.modules)"

FIT = """
import sys
import numpy as np
from balans_dask import Balans
rows = np.random.default_rng(0).normal(size=(40, 3))
model = Balans(n_components=2).fit(rows, batch=np.arange(40) % 2)
model.transform(rows, batch=np.arange(40) % 2)
print(*sys.modules)
"""


def modules_of(code: str) -> set[str]:
    """Names of what a process has imported, which it prints."""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(shown.stdout.split())


@pytest.mark.parametrize(
    ("code", "loads", "unwanted"),
    [
        (
            ASK.format(["correct", "--help"]),
            "balans_dask.cli.correct",
            HEAVY | OF_WORKERS,
        ),
        (
            ASK.format(["correct", "IN", "OUT", "--batch-key", "b", "--n-passes", "many"]),
            "balans_dask.cli.correct",
            HEAVY | OF_WORKERS,
        ),
        ("import sys, balans_dask.passes.scores; print(*sys.modules)", "numba", HEAVY),
        (
            "import sys; from balans_dask import Balans; print(*sys.modules)",
            "sklearn.base",
            OF_MANY_ROWS | OF_RUNS,
        ),
        (FIT, "balans_dask.passes.inline", OF_MANY_ROWS),
    ],
    ids=["help", "refused", "worker", "import", "fit"],
)
def test_help_and_workers_start_without_what_only_runs_need(code, loads, unwanted):
    loaded = modules_of(code)
    assert loads in loaded
    assert not unwanted & loaded


def test_commands_correct_few_rows_without_anndata_and_dask(tmp_path):
    screen = gaussian_screen(40, n_features=4)
    source = write_anndata(
        tmp_path / "in.zarr", screen.profiles, plate=pd.Categorical(screen.batch), dose=0.5
    )
    out, model, again = (str(tmp_path / f"{name}.zarr") for name in ("out", "model", "again"))
    options = ["--batch-key", "plate", "--quiet"]
    for command in (
        ["correct", source, out, "--model", model, *options],
        ["transform", model, source, again, *options],
    ):
        assert not OF_MANY_ROWS & modules_of(ASK.format(command))
    assert Path(again, "zarr.json").exists()
