"""The floors of the house: an import only goes down, and only some rooms know Dask or Zarr."""

import ast
from pathlib import Path

import pytest

import balans_dask

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
