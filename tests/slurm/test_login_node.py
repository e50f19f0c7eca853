"""Who has only deploy/README.md and a login gets from nothing to a corrected store."""

import os
import subprocess
import sysconfig

import numpy as np
import pandas as pd
import pytest

from tests.repository.test_docs import tokens
from tests.support import REPOSITORY
from tests.support.screens import gaussian_screen
from tests.support.stores import files_but_input

pytestmark = pytest.mark.slurm
NAMES = {"<this repository>": str(REPOSITORY), "ib0": "lo"}
"""What a reader puts in their place, too."""


def commands() -> str:
    """Every command of the page."""
    text = (REPOSITORY / "deploy/README.md").read_text()
    blocks = [token.content for token in tokens(text) if token.type == "fence"]
    assert len(blocks) == 8
    script = "\n".join(blocks)
    for name, ours in NAMES.items():
        assert name in script
        script = script.replace(name, ours)
    return script


def write_plates(folder):
    screen = gaussian_screen(30_000, n_features=10)
    folder.mkdir(parents=True)
    for name in np.unique(screen.batch):
        rows = screen.batch == name
        frame = pd.DataFrame(screen.profiles[rows], columns=[f"Cells_{i}" for i in range(10)])
        frame.insert(0, "Metadata_Plate", name)
        frame.to_parquet(folder / f"{name}.parquet")


@pytest.mark.timeout(900)
def test_every_command_of_the_page_runs_in_its_order(slurm, tmp_path):
    write_plates(tmp_path / "screen/plates")
    libraries = sysconfig.get_paths()["purelib"]
    environment = slurm.environment | {
        "HOME": str(tmp_path),
        # pip finds the libraries there, and installs the package itself alone.
        "PYTHONPATH": libraries,
        "PYTHONWARNINGS": "ignore",
        # The clone is of whoever owns this folder.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    environment.pop("DASK_CONFIG")
    ended = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", commands()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    folder = tmp_path / "screen"
    logs = [path.read_text() for path in folder.glob("*.log")]
    assert ended.returncode == 0, "\n".join([ended.stdout, ended.stderr, *logs])
    for name in ("corrected.zarr", "model.zarr", "corrected.html", "by-jobs.zarr", "by-tasks.zarr"):
        assert (folder / name).exists()
    corrected = files_but_input(folder / "corrected.zarr")
    assert files_but_input(folder / "by-jobs.zarr") == corrected
    assert files_but_input(folder / "by-tasks.zarr") == corrected
    assert os.path.exists(tmp_path / "balans/bin/balans")
