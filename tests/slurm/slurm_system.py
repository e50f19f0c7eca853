"""A real SLURM of several nodes on this machine, from the packages of the distribution.

Controller and nodes are processes of the test, on free ports and in a folder of their own, so that
several can run at once; munged alone is shared, and left running.
"""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
N_NODES = 3
NODE_CPUS = 4
"""More than there are: what is tested is the order of events, not their speed."""
REQUEUE_SECONDS = 6
"""How long a requeued job waits: the life of a credential, which SLURM sets to two minutes."""
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire={requeue_seconds}
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MailProg=/bin/true
SlurmdParameters=config_overrides
SlurmctldPort={port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
KillWait=10
SlurmdTimeout=5
InactiveLimit=0
MinJobAge=300
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 DefMemPerCPU=500
PartitionName=urgent Nodes=ALL PriorityTier=2 DefMemPerCPU=500
"""


class Slurm:
    """Controller, nodes, and what a user asks of them."""

    def __init__(self, root: Path) -> None:
        self.configuration = root / "slurm.conf"
        self._root = root
        self._daemons: dict[str, psutil.Popen] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What a shell of a user has, jobs inherit."""
        return os.environ | {"SLURM_CONF": str(self.configuration)}

    def start(self) -> None:
        ports = free_ports(N_NODES + 1)
        host = socket.gethostname().split(".")[0]
        nodes = [
            f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[i]} "
            f"CPUs={NODE_CPUS} RealMemory=16000 State=UNKNOWN"
            for i in range(1, N_NODES + 1)
        ]
        text = CONFIGURATION.format(
            host=host,
            port=ports[0],
            root=self._root,
            nodes="\n".join(nodes),
            requeue_seconds=REQUEUE_SECONDS,
        )
        self.configuration.write_text(text)
        (self._root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self._root / "state").mkdir()
        self._daemon("slurmctld", "slurmctld", "-D", "-c")
        for i in range(1, N_NODES + 1):
            self.start_node(f"n{i}")

    def start_node(self, name: str) -> None:
        """Start a node, or start it again, and wait until jobs may go there."""
        (self._root / name).mkdir(exist_ok=True)
        self._daemon(name, "slurmd", "-D", "-N", name)
        self.wait_for(lambda: self.run("sinfo", "-h", "-n", name, "-o", "%t") in {"idle", "mix"})

    def _daemon(self, name: str, *command: str) -> None:
        with (self._root / f"{name}.out").open("ab") as out:
            self._daemons[name] = psutil.Popen(
                # Ends with the test, even if that is killed.
                ["setpriv", "--pdeathsig", "KILL", *command, "-f", str(self.configuration)],
                stdout=out,
                stderr=out,
                env=self.environment,
                start_new_session=True,
            )

    def run(self, *command: object) -> str:
        """Output of a command of SLURM, such as sbatch."""
        given = [str(word) for word in command]
        ended = subprocess.run(given, env=self.environment, capture_output=True, text=True)
        return ended.stdout.strip() if ended.returncode == 0 else f"failed: {ended.stderr.strip()}"

    def submit(self, *arguments: object) -> str:
        """Number of a new job."""
        said = self.run("sbatch", "--parsable", *arguments)
        assert said.isdigit(), said
        return said

    def jobs(self, name: str) -> list[str]:
        """Numbers of jobs of a name that run."""
        return self.run("squeue", "-h", "-n", name, "-t", "RUNNING", "-o", "%i").split()

    def about(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job: JobState, Restarts, ExitCode and more."""
        return dict(re.findall(r"(\w+)=(\S+)", self.run("scontrol", "show", "job", job)))

    def finished(self, job: str, timeout: float = 180) -> dict[str, str]:
        """What SLURM says of a job when it is over for good."""
        unfinished = {"PENDING", "RUNNING", "COMPLETING", "REQUEUED"}
        self.wait_for(lambda: self.about(job).get("JobState") not in unfinished, timeout)
        return self.about(job)

    def wait_for(self, condition: Callable[[], object], timeout: float = 120) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"it never came so far:\n{self.run('squeue')}"
            time.sleep(0.1)

    def processes(self, **environment: str) -> list[psutil.Process]:
        """Processes of jobs of this SLURM, such as those with SLURMD_NODENAME=n1."""
        wanted = {"SLURM_CONF": str(self.configuration), **environment}.items()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                own = process.environ()
                if "SLURM_JOB_ID" in own and wanted <= own.items():
                    found.append(process)
        return found

    def kill_node(self, name: str) -> None:
        """SIGKILL at once to all that runs on a node, as when its power fails."""
        kill({self._daemons.pop(name), *with_steps(self.processes(SLURMD_NODENAME=name))})

    def stop(self) -> None:
        kill({*self._daemons.values(), *with_steps(self.processes())})

    def logs(self) -> str:
        """The end of what the daemons said, for a test that fails."""
        return "\n".join(
            f"{path.name}: {line}"
            for path in sorted(self._root.glob("*.log"))
            for line in path.read_text(errors="replace").splitlines()[-12:]
        )


def with_steps(processes: list[psutil.Process]) -> set[psutil.Process]:
    """Processes of jobs, and those by which SLURM holds them."""
    found = set(processes)
    for process in processes:
        with suppress(psutil.Error):
            found |= {step for step in process.parents() if step.name() == "slurmstepd"}
    return found


def kill(processes: set[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def free_ports(n_ports: int) -> list[int]:
    """Ports that nobody listens on, as far as can be told."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n_ports)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def missing() -> str | None:
    """Why there can be no SLURM here."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurmctld slurmd slurm-client munge"
    if os.getuid() != 0:
        return "slurmd needs root"
    return None


def start_munge() -> None:
    """Start the daemon that signs messages, unless it runs: one process of tests at a time."""
    folder = Path("/run/munge")
    folder.mkdir(exist_ok=True)
    with (folder / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run("munge -n | unmunge", shell=True, capture_output=True).returncode == 0:
            return
        shutil.chown(folder, "munge", "munge")
        for stale in folder.glob("munge.socket.2*"):
            stale.unlink()
        as_munge = ["setpriv", "--reuid=munge", "--regid=munge", "--init-groups"]
        subprocess.run([*as_munge, "munged"], check=True)


@contextmanager
def slurm_system(root: Path) -> Iterator[Slurm]:
    """Start SLURM in a folder, and end all of it."""
    start_munge()
    slurm = Slurm(root)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
