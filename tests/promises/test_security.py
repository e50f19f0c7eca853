"""What listens where, and who is let in: a scheduler runs whatever it is sent."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import dask
import psutil
import pytest

from balans_dask.cluster import scheduler as connecting
from balans_dask.cluster.open import open_client
from balans_dask.cluster.request import ClusterRequest
from tests.support import REPOSITORY
from tests.support.commands import dask_cluster, listening
from tests.support.commands import run as balans
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

SCRIPT = REPOSITORY / "deploy" / "tls" / "make-certificates.sh"
EXAMPLE = REPOSITORY / "deploy" / "tls" / "tls.yaml"
SCREEN = gaussian_screen(600, n_features=6)
OPTIONS = ["--batch-key", "p", "--operator", "smooth", "--patience", 10]


def family() -> list[psutil.Process]:
    """This process and its children."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


@pytest.mark.parametrize("where", ["threads", "local"])
def test_a_cluster_of_our_own_listens_on_loopback_alone(where):
    before = listening(family())
    with open_client(ClusterRequest(where, 1)) as client:
        assert client.submit(abs, -1).result() == 1
        opened = listening(family()) - before
    assert opened
    assert {address for _, address, _ in opened} == {"127.0.0.1"}


def make_certificates(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([SCRIPT, folder], capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store corrected by threads, certificates, and those of somebody else."""
    place = tmp_path_factory.mktemp("tls")
    for name in ("tls", "others"):
        assert make_certificates(place / name).returncode == 0
        example = EXAMPLE.read_text().replace("/home/USER/dask-tls", str(place / name))
        (place / f"{name}.yaml").write_text(example)
    # Knows the authority, as everybody may, and has a certificate of another one.
    stranger = example.replace(f"{place}/others/ca.pem", f"{place}/tls/ca.pem")
    (place / "stranger.yaml").write_text(stranger)
    write_anndata(place / "in.zarr", SCREEN.profiles, chunks=(90, 6), p=SCREEN.batch)
    balans("correct", place / "in.zarr", place / "threads.zarr", *OPTIONS)
    return place


@pytest.fixture(scope="module")
def scheduler(folder):
    """Address of a scheduler with two workers that talk TLS."""
    with dask_cluster("tls", DASK_CONFIG=str(folder / "tls.yaml")) as (address, _):
        assert address.startswith("tls://")
        yield address


def configured(folder: Path, whose: str | None):
    """Dask's configuration as on a host on which somebody has put the example."""
    if whose is None:
        return dask.config.set({})
    written = dask.config.collect([str(folder / f"{whose}.yaml")], env={})
    return dask.config.set(dask.config.merge(dask.config.config, written))


def test_certificates_are_private_and_never_replaced(folder):
    made = sorted((folder / "tls").iterdir())
    roles = ["ca", "client", "scheduler", "worker"]
    names = sorted(f"{role}{end}" for role in roles for end in (".pem", "-key.pem"))
    assert [path.name for path in made] == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    before = files(folder / "tls")
    again = make_certificates(folder / "tls")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "is there already" in again.stderr
    assert files(folder / "tls") == before


def test_a_store_corrected_by_tls_has_the_bytes_of_threads(folder, scheduler):
    target = folder / "tls.zarr"
    with configured(folder, "tls"):
        where = ["--cluster", scheduler, "--workers", 2]
        balans("correct", folder / "in.zarr", target, *OPTIONS, *where)
    assert files(target) == files(folder / "threads.zarr")


def test_a_run_on_a_scheduler_of_others_listens_nowhere(folder, scheduler):
    # The cluster's processes are children of this test, and still begin to listen.
    before = listening([psutil.Process()])
    with configured(folder, "tls"), open_client(ClusterRequest(scheduler, 2)) as client:
        assert client.submit(abs, -1).result() == 1
        assert listening([psutil.Process()]) <= before


@pytest.mark.parametrize("where", ["threads", "local"])
def test_clusters_of_our_own_start_where_encryption_is_required(folder, where):
    with configured(folder, "tls"), open_client(ClusterRequest(where, 1)) as client:
        assert client.submit(abs, -1).result() == 1
        scheme = client.scheduler.address.split(":")[0]
    assert scheme == {"threads": "inproc", "local": "tls"}[where]


@pytest.mark.parametrize(
    ("whose", "protocol", "said"),
    [
        (None, "tls", "asks for certificates, and there are none: set ca-file, client.cert"),
        (None, "tcp", "greets no client within 1 s: give tls:// if it wants encryption"),
        ("others", "tls", "is not of the authority in ca-file"),
        ("stranger", "tls", "turns this client's certificate away"),
        ("tls", "tcp", "requires encryption, and tcp://"),
    ],
)
def test_a_client_that_does_not_belong_is_turned_away_in_one_line(
    folder, scheduler, monkeypatch, whose, protocol, said
):
    monkeypatch.setattr(connecting, "SCHEDULER_SECONDS", 1)
    address = scheduler.replace("tls://", f"{protocol}://")
    target = folder / "none.zarr"
    with configured(folder, whose):
        error = balans(
            "correct", folder / "in.zarr", target, *OPTIONS, "--cluster", address, code=2
        )
    assert error.count("\n") == 1
    assert said in error
    assert not target.exists()


@pytest.mark.long
@pytest.mark.parametrize("whose", [None, "stranger"])
def test_a_worker_that_does_not_belong_never_joins(folder, scheduler, tmp_path, whose):
    argv = [sys.executable, "-m", "dask", "worker", scheduler, "--no-nanny", "--death-timeout", "3"]
    there = os.environ | ({"DASK_CONFIG": str(folder / f"{whose}.yaml")} if whose else {})
    ended = subprocess.run(argv, env=there, cwd=tmp_path, capture_output=True, timeout=60)
    assert ended.returncode != 0
    with configured(folder, "tls"), open_client(ClusterRequest(scheduler, 2)) as client:
        assert len(client.nthreads()) == 2
