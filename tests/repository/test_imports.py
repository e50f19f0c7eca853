"""What a process imports: no more than what it does asks for."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

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
        (FIT, "balans_dask.passes.threads", OF_MANY_ROWS),
    ],
    ids=["help", "refused", "worker", "import", "fit"],
)
def test_help_and_workers_start_without_what_only_runs_need(code, loads, unwanted):
    loaded = modules_of(code)
    assert loads in loaded
    assert not unwanted & loaded


def test_commands_correct_few_rows_without_anndata_dask_and_sklearn(tmp_path):
    screen = gaussian_screen(40, n_features=4)
    source = write_anndata(
        tmp_path / "in.zarr", screen.profiles, plate=pd.Categorical(screen.batch), dose=0.5
    )
    out, model, again = (str(tmp_path / f"{name}.zarr") for name in ("out", "model", "again"))
    options = ["--batch-key", "plate"]
    for command in (
        ["correct", source, out, "--model", model, *options],
        ["transform", model, source, again, *options],
        ["correct", source, out, "--overwrite", *options, "--quiet"],
    ):
        loaded = modules_of(ASK.format(command))
        assert not (OF_MANY_ROWS | {"scib_metrics", "sklearn"}) & loaded
        # What was corrected is scored, but not for nobody.
        assert ("balans_dask.evaluate.ending" in loaded) == (
            command[0] == "correct" and "--quiet" not in command
        )
    assert Path(again, "zarr.json").exists()
