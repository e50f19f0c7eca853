"""deploy/slurm/one-allocation.sbatch: scheduler, run and workers as tasks of one srun."""

import sys

import pytest

from tests.slurm.slurm_runs import OPTIONS, n_attempts
from tests.support import REPOSITORY
from tests.support.commands import begun, listening

pytestmark = pytest.mark.slurm
SCRIPT = REPOSITORY / "deploy/slurm/one-allocation.sbatch"


def test_it_saves_its_state_at_a_signal_starts_again_and_ends_with_the_same_bytes(
    slurm, screen, tmp_path, monkeypatch, same
):
    monkeypatch.chdir(tmp_path)
    target, log = tmp_path / "out.zarr", tmp_path / "job.log"
    sizes = ["--ntasks=4", "--nodes=2", "--mem-per-cpu=1G", "--time=10", f"--output={log}"]
    arguments = [screen / "in.zarr", target, *OPTIONS, "--interface", "lo"]
    job = slurm.submit(*sizes, SCRIPT, *arguments)
    slurm.wait_for(begun(target))
    found = listening(slurm.processes(SLURM_JOB_ID=job, SLURM_STEP_ID="0"))
    assert found
    assert {address for _, address, _ in found} == {"127.0.0.1"}
    # What SLURM sends before the walltime.
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    ended = slurm.finished(job)
    said = log.read_text()
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), said
    assert "stopped by SIGTERM; continue with: balans correct" in said
    assert n_attempts(target) == 2
    same(target)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_all_tasks_end_with_one_line_where_there_can_be_no_scheduler(
    slurm, screen, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    said = slurm.run(
        "srun", "--ntasks=4", "--mem-per-cpu=1G", "--quiet", sys.executable, "-m", "balans_dask",
        "correct", screen / "in.zarr", "out.zarr", *OPTIONS, "--cluster", "slurm-runner",
        "--interface", "ib7",
    )  # fmt: skip
    assert said.count("balans: error: ") == 1
    assert "has no address on interface ib7: choose of lo" in said
    assert "task 0 did not write" not in said
    assert not list(tmp_path.iterdir())
