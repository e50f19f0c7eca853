"""Data four times as large as the memory of all workers: no spill, no pause, no restart."""

import logging
import os
import threading

import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

from balans_dask.errors import InsufficientMemoryError
from balans_dask.io.store import open_store
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.workers import QUIET_DASHBOARD
from balans_dask.workflows.correct import correct_store
from balans_dask.workflows.mixture import Mixture, write_mixture
from balans_dask.workflows.request import correction_request

LIMIT = 1_200_000_000
"""Of less, the plan of four times as much data does not fit: coverage and labels grow with rows."""
N_WORKERS = 2
N_FEATURES = 500
SPILL_AT, PAUSE_AT = 0.6, 0.8
PARAMETERS = Parameters(operator="smooth", max_rows=128, patience=1000, n_components=20)


class Watch:
    """Looks at the workers again and again: who they are, what they hold, what they wrote."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._done = threading.Event()
        self.workers: set[tuple[str, int]] = set()
        self.states: set[str] = set()
        self.peak_bytes = self.spilled_bytes = 0
        self._thread = threading.Thread(target=self._look_again_and_again)

    def __enter__(self) -> "Watch":
        self._pids = self._client.run(os.getpid)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        assert self._client.run(os.getpid) == self._pids, "a worker was restarted"

    def _look_again_and_again(self) -> None:
        while not self._done.wait(0.2):
            for address, worker in self._client.scheduler_info(n_workers=-1)["workers"].items():
                metrics = worker["metrics"]
                self.workers.add((address, self._pids[address]))
                self.states.add(worker["status"])
                self.peak_bytes = max(self.peak_bytes, metrics["memory"])
                self.spilled_bytes = max(self.spilled_bytes, metrics["spilled_bytes"]["disk"])


@pytest.mark.long
@pytest.mark.peak
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_two_workers_correct_what_is_four_times_their_memory(tmp_path):
    n_rows = 4 * N_WORKERS * LIMIT // (4 * N_FEATURES) + 1
    write_mixture(Mixture(n_rows=n_rows, n_features=N_FEATURES), str(tmp_path / "in.zarr"))
    with (
        LocalCluster(
            n_workers=N_WORKERS,
            threads_per_worker=1,
            memory_limit=LIMIT,
            dashboard_address=QUIET_DASHBOARD,
            silence_logs=logging.WARNING,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        engine = DaskEngine(client)
        run = correction_request(
            open_store(str(tmp_path / "in.zarr")), ["Metadata_batch"], PARAMETERS
        )
        plan = plan_run(run.inputs, run.parameters, engine.workers())
        assert n_rows * 4 * N_FEATURES >= 4 * N_WORKERS * LIMIT
        assert plan.worker_bytes <= SPILL_AT * LIMIT
        with Watch(client) as watch:
            correct_store(engine, run, plan, str(tmp_path / "out.zarr"))
        said = [line for lines in client.get_worker_logs().values() for _, line in lines]
    print(
        f"{n_rows * 4 * N_FEATURES / 1e9:.1f} GB on {N_WORKERS} workers of {LIMIT / 1e9:.1f} GB: "
        f"planned {plan.worker_bytes / 1e6:.0f} MB, peak {watch.peak_bytes / 1e6:.0f} MB a worker, "
        f"at most {watch.spilled_bytes} bytes spilled, states {sorted(watch.states)}, "
        f"{len(watch.workers)} processes from start to end"
    )
    assert len(watch.workers) == N_WORKERS
    assert watch.states == {"running"}
    assert watch.spilled_bytes == 0
    assert watch.peak_bytes <= min(plan.worker_bytes, PAUSE_AT * LIMIT)
    assert not [line for line in said if "memory" in line]
    written = zarr.open_array(tmp_path / "out.zarr/X", mode="r")
    assert np.isfinite(written[-1000:]).all()


def test_a_run_that_cannot_fit_is_refused_before_it_starts(processes, tmp_path):
    write_mixture(Mixture(n_rows=10_000, n_features=20), str(tmp_path / "in.zarr"))
    run = correction_request(open_store(str(tmp_path / "in.zarr")), ["Metadata_batch"], PARAMETERS)
    workers = DaskEngine(processes).workers(limit_bytes=5 * 10**8)
    with pytest.raises(InsufficientMemoryError, match=r"may use 477 MiB: raise --memory-limit"):
        plan_run(run.inputs, run.parameters, workers)
