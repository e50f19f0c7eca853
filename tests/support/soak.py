"""Kill a run at random moments, again and again; every finished store must have the same bytes.

    python -m tests.support.soak [--workers 30] [--drivers 8] [--clusters 2] [--minutes 18]

Workers and drivers are killed in runs on local processes, whole clusters (scheduler and workers
alike) in runs that connect to them. Prints what was killed and what was compared.
"""

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from balans_dask.workflows.mixture import Mixture, write_mixture
from tests.support.commands import Command, dask_cluster, run
from tests.support.stores import files

OPTIONS = [
    "--batch-key", "Metadata_batch", "--n-components", 0, "--block-rows", 8, "--patience", 10_000,
    "--max-rows", 800, "--checkpoint-seconds", 1, "--operator", "smooth", "--quiet",
]  # fmt: skip
KILLS_A_STORE = 6
"""Then a run is left alone until its store can be compared."""


class Soak:
    """One folder, one input, one undisturbed output, and a count of what was survived."""

    def __init__(self, folder: Path, seed: int, n_rows: int) -> None:
        self.random = random.Random(seed)
        self.source, self.target = folder / "in.zarr", folder / "out.zarr"
        self.counts: Counter[str] = Counter()
        write_mixture(Mixture(n_rows=n_rows, n_features=16, n_clusters=40), str(self.source))
        undisturbed = folder / "undisturbed.zarr"
        run("correct", self.source, undisturbed, *OPTIONS)
        self.expected = files(undisturbed)

    def start(self, *where: object) -> Command:
        """Begin a run, or continue the one that was killed."""
        return Command("correct", self.source, self.target, *OPTIONS, *where, "--resume")

    def compare(self) -> None:
        """The finished store against the undisturbed one; then it makes way for the next."""
        assert files(self.target) == self.expected, "the store differs"
        assert not self.target.with_name("out.zarr.partial").exists()
        self.counts["stores compared"] += 1
        shutil.rmtree(self.target)

    def kill_workers_and_drivers(self, n_workers: int, n_drivers: int, end: float) -> None:
        """Both in random order on local processes; the last kill of a store while it is written."""
        victims = ["workers killed"] * n_workers + ["drivers killed"] * n_drivers
        self.random.shuffle(victims)
        command, spared = self._start_locally(), len(victims)
        while victims and time.monotonic() < end:
            n_kills = spared - len(victims)
            phase = "writing" if n_kills == KILLS_A_STORE - 1 else None
            over = n_kills >= KILLS_A_STORE or not self._wait(command, phase)
            if over:
                self._finish(command)
                self.compare()
                command, spared = self._start_locally(), len(victims)
                continue
            workers = command.workers()
            if victims[-1] == "workers killed" and (not workers or self._phase() == "starting"):
                continue
            victim = victims.pop()
            self.counts[f"kills while {self._phase()}"] += 1
            self.counts[victim] += 1
            if victim == "drivers killed":
                command.kill_driver()
                command = self._start_locally()
            else:
                self.random.choice(workers).kill()
        self._finish(command)
        self.compare()

    def _start_locally(self) -> Command:
        """On one, two or three processes: a resumed run need not have as many."""
        return self.start("--cluster", "local", "--workers", self.random.randint(1, 3))

    def _wait(self, command: Command, phase: str | None) -> bool:
        """Wait for a phase, or for a random time; False if the run ended before."""
        moment = time.monotonic() + self.random.uniform(0.3, 3.0)
        while command.process.poll() is None:
            if self._phase() == phase if phase else time.monotonic() > moment:
                return True
            time.sleep(0.005)
        return False

    def _phase(self) -> str:
        partial = self.target.with_name("out.zarr.partial")
        if (partial / "units").exists():
            return "writing"
        return "sampling" if (partial / "checkpoint.npz").exists() else "starting"

    def kill_clusters(self, n_clusters: int) -> None:
        """Scheduler and workers at once; the driver gives up and another continues."""
        for _ in range(n_clusters):
            with dask_cluster() as (address, processes):
                command = self.start("--cluster", address, "--workers", 2)
                time.sleep(self.random.uniform(6.0, 9.0))
                assert command.process.poll() is None, command.finish()[2]
                for process in processes:
                    process.kill()
                code, _, err = command.finish()
                assert code == 1, err
                assert err.count("\n") <= 3, err
                assert "Traceback" not in err, err
            self.counts["clusters killed"] += 1
        with dask_cluster() as (address, _):
            self._finish(self.start("--cluster", address, "--workers", 2))
        self.compare()

    def _finish(self, command: Command) -> None:
        code, _, err = command.finish(timeout=600)
        assert code == 0, err


def soak(
    folder: Path,
    n_workers: int,
    n_drivers: int,
    n_clusters: int,
    seconds: float,
    seed: int,
    n_rows: int = 60_000,
) -> Counter[str]:
    """Survive all of it, and count."""
    end = time.monotonic() + seconds
    test = Soak(folder, seed, n_rows)
    if n_clusters:
        test.kill_clusters(n_clusters)
    test.kill_workers_and_drivers(n_workers, n_drivers, end)
    return test.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=30)
    parser.add_argument("--drivers", type=int, default=8)
    parser.add_argument("--clusters", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=18)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = soak(
            Path(folder),
            given.workers,
            given.drivers,
            given.clusters,
            60 * given.minutes,
            given.seed,
        )
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    print(f"seconds: {time.monotonic() - begin:.0f}")
    survived = [counts[f"{name} killed"] for name in ("workers", "drivers", "clusters")]
    assert survived == [given.workers, given.drivers, given.clusters], "time ran out"
    print("every store has the bytes of an undisturbed run")


if __name__ == "__main__":
    main()
