"""Workers as jobs of SLURM: what becomes of a job costs time only."""

import time
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.slurm.slurm_runs import OPTIONS, stages
from tests.support.commands import Command, begun, listening

pytestmark = pytest.mark.slurm
WORKERS = "balans-worker"
"""What deploy/slurm/jobqueue.yaml calls the jobs."""
OWN_ARGUMENTS = "DASK_JOBQUEUE__SLURM__WORKER_EXTRA_ARGS"
"""What jobqueue.yaml says of worker-extra-args, as Dask reads it from the environment."""
JOBS = [
    "--cluster", "slurm", "--workers", 2, "--cores", 1, "--memory", "1GB", "--interface", "lo",
    "--walltime", "00:10:00",
]  # fmt: skip


@pytest.fixture
def target(tmp_path, monkeypatch):
    """An output in a working directory of its own, where the jobs log."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out.zarr"


@pytest.fixture
def start(slurm, screen, target):
    """Start a correction on two jobs."""
    commands = []

    def start(*options):
        command = Command("correct", screen / "in.zarr", target, *OPTIONS, *JOBS, *options)
        commands.append(command)
        return command

    yield start
    for command in commands:
        if command.process.poll() is None:
            command.kill_all()


@contextmanager
def held(*processes: psutil.Process):
    """Nothing that these would do happens meanwhile; the scheduler is in the driver."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def wait_for_stage(command, target, stage):
    assert command.wait_for(lambda: stage in stages(target), timeout=90)


def two_run(slurm, besides=()):
    return lambda: len(set(slurm.jobs(WORKERS)) - set(besides)) == 2


def assert_done(slurm, command, target, same):
    code, _, err = command.finish()
    assert code == 0, err
    slurm.wait_for(lambda: not slurm.jobs(WORKERS), 30)
    same(target)


def test_jobs_that_no_node_can_run_are_given_up_where_one_does_not_wait_for_ever(
    slurm, start, target
):
    command = start("--cores", 64, "--worker-timeout", 5)
    code, _, err = command.finish()
    assert code == 1
    assert "no worker came in 5 s of waiting for 2 jobs of slurm: 0 running (squeue says " in err
    assert not slurm.run("squeue", "-h", "-n", WORKERS, "-t", "PENDING,RUNNING", "-o", "%i")
    assert not target.exists()


def test_scheduler_and_workers_listen_on_the_interface_alone(slurm, start, target):
    command = start()
    assert command.wait_for(begun(target))
    of_jobs = listening(slurm.processes(SLURM_JOB_NAME=WORKERS))
    of_driver = listening([command.process])
    assert of_jobs
    assert of_driver
    assert {address for _, address, _ in of_jobs | of_driver} == {"127.0.0.1"}


def test_a_job_cancelled_in_each_stage_is_replaced(slurm, start, target, same):
    command = start()
    cancelled = []
    for stage in ("preparing scores", "sampling rows", "summing rows", "writing"):
        wait_for_stage(command, target, stage)
        with held(command.process):
            job = slurm.jobs(WORKERS)[0]
            slurm.run("scancel", "--signal=KILL", "--full", job)
            slurm.wait_for(lambda job=job: job not in slurm.jobs(WORKERS))
            cancelled.append(job)
        if stage == "sampling rows":
            # So that there are two again in the stages to come.
            assert command.wait_for(two_run(slurm, cancelled))
    assert_done(slurm, command, target, same)
    assert len(set(cancelled)) == 4


def test_a_node_that_dies_with_its_job_costs_time_only(slurm, start, target, same):
    command = start()
    assert command.wait_for(begun(target))
    node = slurm.about(slurm.jobs(WORKERS)[0])["BatchHost"]
    slurm.kill_node(node)
    try:
        assert_done(slurm, command, target, same)
    finally:
        slurm.start_node(node)


def test_workers_at_the_end_of_their_lifetime_leave_before_the_walltime(
    slurm, start, target, same, monkeypatch
):
    monkeypatch.setenv(OWN_ARGUMENTS, "['--lifetime', '18s', '--lifetime-stagger', '2s']")
    command = start("--walltime", "00:01:00")
    assert command.wait_for(begun(target))
    first = set(slurm.jobs(WORKERS))
    # Their lifetime passes, so that they leave as soon as the driver goes on.
    with held(command.process):
        time.sleep(20)
    assert command.wait_for(lambda: first - set(slurm.jobs(WORKERS)))
    # The run cannot end before another comes.
    with held(*slurm.processes(SLURM_JOB_NAME=WORKERS)):
        assert command.wait_for(lambda: set(slurm.jobs(WORKERS)) - first)
    assert_done(slurm, command, target, same)
    assert "TIMEOUT" not in {slurm.about(job)["JobState"] for job in first}


def test_a_walltime_that_hits_costs_time_only(slurm, start, target, same, monkeypatch):
    monkeypatch.setenv(OWN_ARGUMENTS, "['--lifetime', '1h']")
    command = start("--walltime", "00:01:00")
    assert command.wait_for(begun(target))
    jobs = slurm.jobs(WORKERS)
    with held(command.process):
        ended = [slurm.finished(job)["JobState"] for job in jobs]
    assert ended == ["TIMEOUT", "TIMEOUT"]
    assert_done(slurm, command, target, same)
