"""deploy/slurm/correct.sbatch outlives what SLURM does to jobs."""

import pytest

from tests.slurm.slurm_runs import OPTIONS, n_attempts
from tests.support import REPOSITORY
from tests.support.commands import begun

pytestmark = pytest.mark.slurm
SCRIPT = REPOSITORY / "deploy/slurm/correct.sbatch"
SMALL = ["--cpus-per-task=2", "--mem=3G", "--time=10"]


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.zarr"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "job.log"


@pytest.fixture
def submit(slurm, screen, target, log):
    def submit(*options):
        """Number of a new job, which has begun to correct."""
        given = [*SMALL, f"--output={log}", *options, SCRIPT, screen / "in.zarr", target]
        job = slurm.submit(*given, *OPTIONS)
        slurm.wait_for(begun(target))
        return job

    yield submit
    slurm.run("scancel", "--full", "--signal=KILL", *slurm.jobs("balans"))


def reach_the_walltime(slurm, job):
    """Hold its workers, so that it gets there without use of the processor."""
    for process in slurm.processes(SLURM_JOB_ID=job):
        if "spawn_main" in " ".join(process.cmdline()):
            process.suspend()
    hours, minutes, seconds = map(int, slurm.about(job)["RunTime"].split(":"))
    soon = ((hours * 60 + minutes) * 60 + seconds + 20) // 60 + 1
    slurm.run("scontrol", "update", f"JobId={job}", f"TimeLimit={soon}")
    slurm.wait_for(lambda: slurm.about(job)["JobState"] == "PENDING")
    # A busy machine is given time for the second attempt.
    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")


def preempt(slurm, job):
    all_nodes = ["--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null"]
    slurm.submit(*all_nodes, "--wrap=true")


def kill_its_node(slurm, job):
    node = slurm.about(job)["BatchHost"]
    slurm.kill_node(node)
    slurm.wait_for(lambda: slurm.about(job)["JobState"] == "PENDING")
    slurm.start_node(node)


@pytest.mark.parametrize(
    ("disturb", "options"),
    [
        (reach_the_walltime, ["--signal=B:TERM@5"]),
        (preempt, []),
        (kill_its_node, []),
    ],
)
def test_a_disturbed_job_starts_again_and_ends_with_the_same_bytes(
    slurm, submit, target, log, same, disturb, options
):
    job = submit(*options)
    disturb(slurm, job)
    ended = slurm.finished(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), log.read_text()
    assert ended["Restarts"] == "1"
    assert n_attempts(target) == 2
    said = log.read_text()
    assert "restarted 0 times" in said
    assert "restarted 1 times" in said
    if disturb is not kill_its_node:
        assert "stopped by SIGTERM; continue with: balans correct" in said
    same(target)


def test_a_cancelled_job_saves_its_state_and_does_not_start_again(slurm, submit, target, log):
    job = submit()
    slurm.run("scancel", job)
    ended = slurm.finished(job)
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
    assert "stopped by SIGTERM; continue with: balans correct" in log.read_text()
    assert begun(target)()


def test_a_job_that_was_restarted_too_often_ends_resumable(slurm, submit, target, log, monkeypatch):
    monkeypatch.setenv("BALANS_MAX_RESTARTS", "0")
    job = submit()
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    ended = slurm.finished(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "75:0")
    assert "restarted 0 times: submit it again to go on" in log.read_text()
    assert begun(target)()
