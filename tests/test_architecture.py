"""The floors of the house: an import only goes down, and only some rooms know Dask or Zarr."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import balans_dask

PACKAGE = Path(balans_dask.__file__).parent
FLOORS = {
    0: ["disclosure", "errors", "intervals", "labels", "parameters", "query", "tiling"],
    1: ["batches", "kernels", "memory", "presets", "task_memory"],
    2: ["passes"],
    3: [
        "anchors",
        "query_rows",
        "batch_order",
        "inputs",
        "examine",
        "sampled",
        "sampling",
        "stopping",
        "bounds",
        "state",
        "fitting",
        "events",
        "stage",
        "prepared",
        "applying",
        "frozen",
        "transforming",
        "models",
        "lazy",
        "configuration",
        "provenance",
        "store_run",
        "pass_writer",
        "writing",
        "fit_writer",
        "transform_writer",
        "exporting",
        "preprocessing",
        "plates",
        "kept_features",
        "preprocess",
        "opened_run",
        "correct",
    ],
    4: [
        "array_checks",
        "arrays",
        "array_passes",
        "anndata_fit",
        "anndata_parts",
        "estimator",
        "estimator_arrays",
        "estimator_contract",
        "progress",
        "estimator_fit",
        "pp",
    ],
    5: [
        "cluster",
        "demo",
        "sweep",
        "mixture",
        "terminal",
        "performance",
        "plot",
        "signals",
        "cli",
        "cli_cluster",
        "cli_evaluate",
        "cli_completion",
        "cli_config",
        "cli_convert",
        "cli_demo",
        "cli_engine",
        "cli_exit",
        "cli_export",
        "cli_grid",
        "cli_inspect",
        "cli_into",
        "cli_options",
        "cli_preprocess",
        "cli_preset",
        "cli_report",
        "cli_run",
        "cli_storage",
        "cli_sweep",
        "__main__",
    ],
}
BESIDE = {"io": 1, "evaluate": 3, "report": 3}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names} | BESIDE
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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_import_only_goes_down(path):
    floor = FLOOR_OF[room(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "balans_dask" and len(parts) > 1 and parts[1] != room(path):
            assert FLOOR_OF[parts[1]] <= floor, f"{path.name} imports {name} from above"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dask_begins_on_floor_two_and_zarr_stays_in_io(path):
    outside = {name.split(".")[0] for name in imports(path)}
    if FLOOR_OF[room(path)] < 2:
        assert not outside & {"dask", "distributed"}
    if room(path) in {"kernels", "passes", "inputs", "examine", "sampling", "fitting"}:
        assert not outside & {"zarr", "anndata", "pandas"}


def test_nothing_below_imports_the_extras():
    for path in MODULES:
        above = {"evaluate", "report", "demo", "plot", "sweep", "cli_evaluate", "cli_report"}
        if room(path) not in above:
            assert not {
                name for name in imports(path) if name.split(".")[1:2] in (["evaluate"], ["report"])
            }


HEAVY = {"anndata", "dask.array", "h5py", "pandas", "sklearn", "zarr"}
OF_WORKERS = {"dask", "distributed", "numba", "numpy", "scipy"}
ASK = "from balans_dask.cli import run; run({}); import sys; print(*sys.modules)"


@pytest.mark.parametrize(
    ("code", "loads", "unwanted"),
    [
        (
            ASK.format(["correct", "--help"]),
            "balans_dask.cli_into",
            HEAVY | OF_WORKERS,
        ),
        (
            ASK.format(["correct", "IN", "OUT", "--batch-key", "b", "--n-passes", "many"]),
            "balans_dask.cli_into",
            HEAVY | OF_WORKERS,
        ),
        ("import sys, balans_dask.passes.scores; print(*sys.modules)", "numba", HEAVY),
    ],
    ids=["help", "refused", "worker"],
)
def test_help_and_workers_start_without_what_only_runs_need(code, loads, unwanted):
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.split())
    assert loads in loaded
    assert not unwanted & loaded
