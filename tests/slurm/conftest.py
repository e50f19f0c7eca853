"""A SLURM, its user's environment, and a screen that was corrected without it."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balans_dask.workflows.mixture import Mixture, write_mixture
from tests.slurm.slurm_runs import OPTIONS
from tests.slurm.slurm_system import Slurm, missing, slurm_system
from tests.support import REPOSITORY
from tests.support.commands import run
from tests.support.stores import files_but_input


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    """Three nodes, and the user's environment: commands on the PATH, jobqueue.yaml of deploy/."""
    reason = missing()
    if reason:
        pytest.skip(f"no SLURM: {reason}")
    place = tmp_path_factory.mktemp("s")
    (place / "dask").mkdir()
    shutil.copy(REPOSITORY / "deploy/slurm/jobqueue.yaml", place / "dask")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("DASK_CONFIG", str(place / "dask"))
        with slurm_system(place) as system:
            patch.setenv("SLURM_CONF", str(system.configuration))
            yield system


@pytest.fixture(scope="session")
def screen(tmp_path_factory) -> Path:
    """A folder with a screen, in.zarr, and the same corrected on threads, undisturbed.zarr."""
    place = tmp_path_factory.mktemp("screen")
    mixture = Mixture(n_rows=70_000, n_features=10, n_clusters=30)
    write_mixture(mixture, str(place / "in.zarr"))
    run("correct", place / "in.zarr", place / "undisturbed.zarr", *OPTIONS)
    return place


@pytest.fixture
def same(screen) -> Callable[[Path], None]:
    """What every test ends with: the output has the bytes of the undisturbed one."""

    def assert_same(target: Path) -> None:
        assert files_but_input(target) == files_but_input(screen / "undisturbed.zarr")
        assert not target.with_name(f"{target.name}.partial").exists()

    return assert_same
