"""What a resumed run finds, and what it makes of it: the bytes of a run that nothing disturbed.

A pass has a state (no row sampled, some, all; all, and of ``align`` nothing learned yet), rows that
its store lacks (all, some, none), and the run saves a model or not.
"""

import shutil
import warnings
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from balans_dask.errors import InputWarning
from balans_dask.io import layout
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.io.store import open_store
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows import resume
from balans_dask.workflows.correct import WriteOptions, correct_store
from balans_dask.workflows.request import correction_request
from tests.support.screens import gaussian_screen
from tests.support.stores import files, files_but_input, write_anndata

FEW = {"n_components": None, "block_rows": 16, "patience": 8, "max_rows": 32}
PARAMETERS = {
    "displace": Parameters(n_passes=2, operator="displace", **FEW),
    "align": Parameters(n_passes=1, **FEW),
}
SCREEN = gaussian_screen(4 * TILE_ROWS, n_features=3)
STATES, MISSING = ("none", "begun", "done"), ("all", "some", "none")
ALIGN_SOON = [
    (0, "begun", "all", False),
    (1, "drawn", "some", False),
    (2, "drawn", "none", False),
    (2, "done", "none", True),
]
CASES = [
    pytest.param(
        "displace",
        *case,
        marks=pytest.mark.long if (i + i // 2) % 2 or case[0] == 0 else [],
        id="-".join(map(str, ("displace", *case))),
    )
    for i, case in enumerate(product((0, 1), STATES, MISSING, (False, True)))
] + [
    pytest.param(
        "align",
        *case,
        marks=[] if case in ALIGN_SOON else pytest.mark.long,
        id="-".join(map(str, ("align", *case))),
    )
    for case in product((0, 1, 2), (*STATES, "drawn"), MISSING, (False, True))
]


class Runs:
    """An input, its undisturbed output and model, and what a run left just before its end."""

    def __init__(self, folder: Path, engine: Engine, parameters: Parameters) -> None:
        self.folder, self._engine, self.parameters = folder, engine, parameters
        self._store = write_anndata(folder / "in.zarr", SCREEN.profiles, plate=SCREEN.batch)
        self.correct(folder / "out.zarr", folder / "model.zarr")
        self.expected = files_but_input(folder / "out.zarr")
        self.model = files(folder / "model.zarr")
        self.begun: dict[str, Path] = {}
        with pytest.MonkeyPatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(resume, "write_state", self._keeping(resume.write_state))
            patched.setattr(RunFolder, "publish", _killed)
            self.correct(folder / "killed.zarr", None)
        self.left = folder / "killed.zarr.partial"

    def correct(self, target: Path, model: Path | None, **how: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            run = correction_request(open_store(self._store), ("plate",), self.parameters)
            workers = self._engine.workers()
            plan = plan_run(run.inputs, self.parameters, workers, freezes=model is not None)
            saved = None if model is None else str(model)
            options = WriteOptions(checkpoint_seconds=0, model=saved, **how)
            correct_store(self._engine, run, plan, str(target), options)

    def _keeping(self, write):
        def kept(path: Path, state: dict[str, np.ndarray]) -> None:
            write(path, state)
            pass_name = str(path.relative_to(self.folder / "killed.zarr.partial"))
            if pass_name not in self.begun:
                self.begun[pass_name] = self.folder / pass_name.replace("/", "-")
                shutil.copy(path, self.begun[pass_name])

        return kept


def _killed(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory, engine):
    with pytest.MonkeyPatch.context() as patched:
        # So that a part of the rows can be missing.
        patched.setattr(layout, "SHARD_TILES", 1)

        @cache
        def runs_of(operator: str) -> Runs:
            return Runs(tmp_path_factory.mktemp(operator), engine, PARAMETERS[operator])

        yield runs_of


def left_by(runs: Runs, path: Path, number: int, state: str, missing: str) -> None:
    """Lay out an unfinished run whose passes before are complete, and those after not begun."""
    shutil.copytree(runs.left, path)
    n_passes = len(runs.parameters.steps)
    passes: list[PassFolder] = RunFolder(str(path).removesuffix(".partial")).passes(n_passes)
    assert [len(list(each.units.glob("*.json"))) for each in passes] == [2] * n_passes
    for later in passes[number + 1 :]:
        for of_pass in (later.checkpoint, later.units, later.store):
            shutil.rmtree(of_pass) if of_pass.is_dir() else of_pass.unlink()
    here = passes[number]
    if state == "none":
        here.checkpoint.unlink()
    if state == "begun":
        shutil.copy(runs.begun[str(here.checkpoint.relative_to(path))], here.checkpoint)
        with np.load(here.checkpoint) as found, np.load(runs.left / here.checkpoint.name) as whole:
            assert str(found["stop_reason"]) == "" != str(whole["stop_reason"])
    if state == "drawn":
        with np.load(here.checkpoint) as whole:
            assert len(whole["facts"]) > 0
            resume.write_state(here.checkpoint, dict(whole) | {"facts": np.empty(0)})
    units = sorted(here.units.glob("*.json"))
    for unit in {"all": units, "some": units[:1], "none": []}[missing]:
        unit.unlink()


@pytest.mark.parametrize(("operator", "number", "state", "missing", "model"), CASES)
def test_whatever_is_left_the_result_is_the_same(
    runs_of, tmp_path, operator, number, state, missing, model
):
    runs = runs_of(operator)
    target, saved = tmp_path / "out.zarr", tmp_path / "model.zarr"
    left_by(runs, tmp_path / "out.zarr.partial", number, state, missing)
    runs.correct(target, saved if model else None, resume=True)
    assert files_but_input(target) == runs.expected
    if model:
        assert files(saved) == runs.model
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.zarr"] * model + ["out.zarr"]
