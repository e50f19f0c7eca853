"""Jobs of batch systems as text: what is asked for, what the user's own settings say, refusals."""

import re
import subprocess
import sys
import time

import dask
import pytest

from balans_dask.cluster.job_script import make_log_folder
from balans_dask.cluster.job_watch import Alarm, jobs_in
from balans_dask.cluster.jobs import scheduler_options
from balans_dask.cluster.request import (
    JOB_SYSTEMS,
    ClusterRequest,
    lifetime_arguments,
    walltime_seconds,
)
from balans_dask.errors import InvalidInputError, RunError
from balans_dask.passes import dask_engine as waiting
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.engine import task
from tests.support.commands import streams

pytest.importorskip("dask_jobqueue")
RUN = ("correct", "in.zarr", "out.zarr", "--batch-key", "plate")
SIZE = ("--cores", 4, "--memory", "16GB")
HEADERS = {
    "slurm": [
        "#SBATCH --cpus-per-task=4", "#SBATCH --mem=15G", "#SBATCH -t 04:00:30",
        "#SBATCH -p long", "#SBATCH -A lab",
    ],
    "pbs": [
        "#PBS -l select=1:ncpus=4:mem=15GB", "#PBS -l walltime=04:00:30", "#PBS -q long",
        "#PBS -A lab",
    ],
    "lsf": ["#BSUB -n 4", "#BSUB -M 16000000", "#BSUB -W 04:01", "#BSUB -q long", '#BSUB -P "lab"'],
    "sge": ["#$ -l h_rt=04:00:30", "#$ -q long", "#$ -P lab", "#$ -S /bin/bash"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, which a script that is only printed leaves empty."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.iterdir())


def script(system, *options):
    out, err = streams(*RUN, "--cluster", system, "--dry-run", *options)
    assert not err
    return out.splitlines()


@pytest.fixture
def settings():
    """What a user's jobqueue.yaml would say of SLURM."""

    def say(**keys):
        given = {f"jobqueue.slurm.{key.replace('_', '-')}": value for key, value in keys.items()}
        return dask.config.set(given)

    return say


@pytest.mark.parametrize("system", JOB_SYSTEMS)
def test_a_job_asks_for_what_the_flags_say(system, folder):
    flags = ("--walltime", "04:00:30", "--queue", "long", "--account", "lab", "--workers", 8)
    lines = script(system, *SIZE, *flags, "--interface", "ib0")
    assert set(HEADERS[system]) <= set(lines)
    assert lines[0].startswith("#!")
    assert any(f"{folder}/balans-jobs/" in line for line in lines)
    assert {
        "export OMP_NUM_THREADS=1",
        "export MALLOC_TRIM_THRESHOLD_=67108864",
        "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False",
    } <= set(lines)
    worker = lines[-1]
    assert f"{sys.executable} -m distributed.cli.dask_worker tcp://SCHEDULER:PORT " in worker
    assert "--nthreads 4 --memory-limit 14.90GiB --nanny --death-timeout 60 " in worker
    assert '--local-directory "$TMPDIR"' in worker
    assert re.search(r"--lifetime 14[01]\d\ds --lifetime-stagger 240s ", worker)
    assert "--no-dashboard --dashboard-address 127.0.0.1:0 --interface ib0" in worker
    assert "--nworkers" not in worker


def test_the_users_own_settings_hold_where_no_flag_says_otherwise(settings):
    own = settings(
        cores=8, memory="40GB", processes=2, walltime="2-00:00:00", queue="short",
        interface="eth1", job_script_prologue=["module load python", "export OMP_NUM_THREADS=2"],
        worker_extra_args=["--lifetime", "1h", "--no-dashboard"], local_directory="/scratch",
        job_extra_directives=["--qos=low"],
    )  # fmt: skip
    with own:
        lines = script("slurm", "--queue", "long")
    assert {"#SBATCH -p long", "#SBATCH -t 2-00:00:00", "#SBATCH --qos=low"} <= set(lines)
    assert lines.index("export OMP_NUM_THREADS=1") < lines.index("module load python")
    assert lines.index("module load python") < lines.index("export OMP_NUM_THREADS=2")
    worker = lines[-1]
    assert "--nthreads 4 --memory-limit 18.63GiB --nworkers 2" in worker
    assert re.findall(r"--lifetime\S* \S+", worker) == ["--lifetime 1h"]
    assert "--local-directory /scratch" in worker
    assert "--dashboard-address 127.0.0.1:0" in worker
    assert not [line for line in lines if "TMPDIR" in line]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cores": "eight"}, "jobqueue.slurm.cores of jobqueue.yaml is 'eight': make it a whole"),
        ({"cores": 2, "memory": "lots"}, "jobqueue.slurm.memory lots is no size: write one like"),
        ({"cores": 2, "memory": "4GB", "worker_extra_args": "--nice"}, "'--nice': make it a list"),
    ],
)
def test_settings_that_mean_nothing_are_the_users_input(settings, keys, said):
    with settings(**keys):
        _, err = streams(*RUN, "--dry-run", "--cluster", "slurm", code=2)
    assert said in err
    assert err.count("\n") == 1


def test_a_worker_listens_at_the_address_that_reaches_the_scheduler_without_an_interface():
    lines = script("slurm", *SIZE)
    [found] = [line for line in lines if line.startswith("export BALANS_HOST=")]
    loopback = found.replace("SCHEDULER", "127.0.0.1") + '; echo "$BALANS_HOST"'
    assert subprocess.check_output(["bash", "-c", loopback], text=True) == "127.0.0.1\n"
    assert '--host "$BALANS_HOST"' in lines[-1]


def test_a_job_needs_a_thread_for_each_of_its_processes(settings):
    with settings(processes=4):
        _, err = streams(*RUN, "--dry-run", "--cluster", "slurm", *SIZE, "--cores", 2, code=2)
    assert "a job of 2 cores has no thread for each of its 4 processes: give --cores 4" in err


def test_jobs_log_where_one_can_write_and_a_script_is_printed_anywhere(monkeypatch, settings):
    monkeypatch.chdir("/proc")
    assert any("/proc/balans-jobs/" in line for line in script("slurm", *SIZE))
    refused = r"^jobs cannot log in /proc/balans-jobs \(.+\): start in a folder that all nodes see"
    with pytest.raises(InvalidInputError, match=refused):
        make_log_folder("slurm")
    with settings(log_directory="/proc/self"), pytest.raises(InvalidInputError, match="read-only"):
        make_log_folder("slurm")


def test_a_flag_for_scratch_is_read_by_the_shell_of_the_node():
    lines = script("slurm", *SIZE, "--local-directory", "$SCRATCH/my run")
    assert '--local-directory "$SCRATCH/my run"' in lines[-1]
    assert not [line for line in lines if "TMPDIR" in line]


def test_the_scheduler_listens_at_one_address_without_a_page_unless_the_user_wants_one(settings):
    asked = ClusterRequest("slurm", interface="lo")
    quiet = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    assert scheduler_options(asked) == quiet
    with settings(scheduler_options={"dashboard_address": "127.0.0.1:8787", "host": "10.0.0.1"}):
        found = scheduler_options(asked)
    assert found == {"dashboard": True, "dashboard_address": "127.0.0.1:8787", "host": "10.0.0.1"}
    with pytest.raises(InvalidInputError, match=r"has no address on interface ib7: choose of lo"):
        scheduler_options(ClusterRequest("slurm", interface="ib7"))


REFUSED = [
    (["slurm"], "does not know the cores of a job: give --cores, or set jobqueue.slurm.cores in"),
    (["sge", "--cores", 2], "does not know the memory of a job: give --memory, or set"),
    (["pbs", "--memory-limit", "2GB"], "does not read --memory-limit: give --memory, which a job"),
    (["local", "--cores", 2], "--cluster local does not read --cores: leave it out"),
    (["tcp://h:1", "--queue", "q"], "--cluster tcp://h:1 does not read --queue: leave it out"),
    (["slurm-runner", "--workers", 3], "does not read --workers: srun --ntasks says how many"),
    (["slurm-runner", "--memory", "2GB"], "does not read --memory: leave it out"),
    (["slurm", "--walltime", "90"], "--walltime 90 is no time: write HH:MM:SS, such as 04:00:00"),
    (["slurm", "--memory", "much"], "--memory much is no size: write one like 2GB"),
    (["slurm", "--cores", 2, "--memory", 16], "--memory 16 is 16 B, and a job needs 420 MiB"),
    (["sge", "--cores", 2, "--memory", 8000], "before any work: write one like 2GB"),
    (["threads"], "has no job to print: --dry-run is for slurm, pbs, lsf, sge"),
]


@pytest.mark.parametrize(("options", "expected"), REFUSED, ids=lambda value: str(value)[:20])
def test_what_no_job_can_be_made_of_is_refused_in_one_line(options, expected):
    out, err = streams(*RUN, "--dry-run", "--cluster", *options, code=2)
    assert not out
    assert err.startswith("balans: error: ")
    assert expected in err
    assert err.count("\n") == 1


def test_a_machine_without_the_batch_system_or_dask_jobqueue_is_told_so(monkeypatch):
    _, err = streams(*RUN, "--dry-run", "--cluster", "slurm", *SIZE[:2], code=2)
    assert "--memory" in err
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dask_jobqueue", None)
        _, err = streams(*RUN, "--dry-run", "--cluster", "slurm", *SIZE, code=2)
    assert 'needs dask-jobqueue: pip install "balans-dask[jobqueue]"' in err


def test_tasks_of_an_srun_are_needed_and_enough_of_them(monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    _, err = streams(*RUN, "--cluster", "slurm-runner", code=2)
    assert "runs as the tasks of one srun: start it as srun --ntasks 4 balans ..." in err
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    _, err = streams(*RUN, "--cluster", "slurm-runner", code=2)
    assert "needs 3 tasks and has 2" in err
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert streams(*RUN, "--cluster", "slurm-runner") == ("", "")


WALLTIMES = [
    ("slurm", "30", 1800), ("slurm", "30:10", 1810), ("slurm", "01:00:00", 3600),
    ("slurm", "1-0", 86400), ("slurm", "1-02:30", 95400), ("slurm", "2-00:00:01", 172801),
    ("slurm", "UNLIMITED", None), ("pbs", "01:00:00", 3600), ("pbs", "3600", 3600),
    ("sge", "0:30:0", 1800), ("sge", "90", 90), ("lsf", "00:30", 1800), ("lsf", "90", 5400),
    ("lsf", "1:00/host", 3600), ("pbs", "None", None),
]  # fmt: skip


@pytest.mark.parametrize(("system", "text", "seconds"), WALLTIMES)
def test_a_walltime_means_what_its_batch_system_takes_it_for(system, text, seconds):
    assert walltime_seconds(system, text) == seconds


@pytest.mark.parametrize("walltime", [60, 600, 3600, 86400, 7 * 86400])
def test_the_last_worker_ends_before_its_job_is_killed(walltime):
    _, lifetime, _, stagger = lifetime_arguments(walltime)
    latest = int(lifetime.rstrip("s")) + int(stagger.rstrip("s"))
    assert walltime * 0.9 - 120 <= latest < walltime


LISTED = {
    "slurm": "12 R None\n13 PD ReqNodeNotAvail, May be reserved\n14 CG None\n",
    "pbs": """Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
12.server         dask-worker      me                00:00:01 R workq
13.server         dask-worker      me                       0 Q workq
14.server         dask-worker      me                00:00:01 E workq
""",
    "lsf": "12 RUN\n13 PEND\n14 EXIT\n",
    "sge": """job-ID  prior   name       user         state submit/start at     queue
-------------------------------------------------------------------------------
     12 0.55500 dask-worke me           r     11/21/2026 10:00:00 all.q@n1
     13 0.00000 dask-worke me           qw    11/21/2026 10:00:00
     14 0.00000 dask-worke me           Eqw   11/21/2026 10:00:00
""",
}


@pytest.mark.parametrize("system", JOB_SYSTEMS)
def test_a_listing_tells_jobs_that_run_from_those_that_wait_and_why(system):
    reason = "ReqNodeNotAvail, May be reserved" if system == "slurm" else ""
    assert jobs_in(system, LISTED[system]) == {"12": None, "13": reason}


@task
def slow(seconds):
    time.sleep(seconds)


def test_a_run_that_waits_for_results_hears_that_its_workers_were_given_up(engine, monkeypatch):
    monkeypatch.setattr(waiting, "WATCH_SECONDS", 0.2)
    alarm = Alarm()
    run = DaskEngine(engine.client, check=alarm.check)
    futures = run.map("slow", slow, [1])
    alarm.ring(RunError("5 jobs ended"))
    alarm.ring(RunError("the scheduler is closed"))
    with pytest.raises(RunError, match=r"^5 jobs ended$"):
        run.gather(futures)
