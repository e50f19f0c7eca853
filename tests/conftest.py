"""Fixtures shared by all tests: real Dask, real stores on disk, generated and real profiles."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, settings

from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.engine import Engine
from balans_dask.passes.workers import QUIET_DASHBOARD, embedded_client
from tests.support import REPOSITORY
from tests.support.hostile import TALLY

settings.register_profile(
    "default",
    deadline=None,
    # Hypothesis draws the same examples for ever where CI is set.
    derandomize=False,
    max_examples=6,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz",
    settings.get_profile("default"),
    max_examples=250,
)
settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "family(name): kind of hostile input, for the tally")
    # Each idle worker looks at its stacks a hundred times a second, here and in child processes.
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
    dask.config.refresh()
    if config.option.hypothesis_seed is None:
        # Other examples in every run; those of a failure can be had again.
        config.option.hypothesis_seed = secrets.randbelow(2**32)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave real profiles to the long suite."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.long)


def pytest_report_header(config: pytest.Config) -> str:
    return drawn_by(config)


def drawn_by(config: pytest.Config) -> str:
    return f"examples drawn by --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to repeat a failure, and how many hostile inputs there were and how they ended."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(drawn_by(terminalreporter.config))
    if TALLY.n_inputs:
        terminalreporter.section("fuzz")
        for line in TALLY.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The embedded engine: two threads of this process."""
    with embedded_client(2) as client:
        yield DaskEngine(client)


@pytest.fixture(scope="session")
def processes() -> Iterator[Client]:
    """Two worker processes with a scheduler that listens on TCP."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit="2GB",
            dashboard_address=QUIET_DASHBOARD,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real profiles."""
    folder = Path(os.environ.get("BALANS_DATA", REPOSITORY / "../shared/data"))
    if not (folder / "bbbc021_well.parquet").is_file():
        pytest.skip("no real profiles: set BALANS_DATA to their folder")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20260121)
