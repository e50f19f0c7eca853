"""A scheduler that is there, reached by its address or by its file, and how workers are waited for.

A client that never gets in leaves threads and a traceback behind, and says little of certificates.
"""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, Security
from distributed.comm import get_address_host_port

from balans_dask.cluster.request import ClusterRequest
from balans_dask.errors import InvalidInputError, RunError

__all__ = [
    "await_arrivals",
    "check_reachable",
    "scheduler_client",
]

AGAIN_SECONDS = 0.5
CONFIGURATION = "distributed.comm.tls in Dask's configuration (an example is deploy/tls/tls.yaml)"
SCHEDULER_SECONDS = 15
"""How long to look for a scheduler."""
CONNECT_SECONDS = 60
"""How long to wait for its workers."""
LATECOMER_SECONDS = 60
"""How long after the first worker a run begins without the others, which join it when they come."""
LOOK_SECONDS = 0.5
SAY_SECONDS = 60


def check_reachable(address: str, seconds: float) -> None:
    """Wait until a scheduler greets this process, as it greets every client that it lets in.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT``, or ``tls://HOST:PORT`` with certificates in Dask's configuration.
    seconds : float
        How long to wait for a scheduler that does not answer.

    Raises
    ------
    InvalidInputError
        If there is none, or it speaks otherwise, or certificates do not fit.
    """
    nobody = f"no scheduler answers at {address}: start one, or check the address"
    try:
        place = get_address_host_port(address)
    except (ValueError, NotImplementedError) as error:
        raise InvalidInputError(nobody) from error
    context = _context(address)
    end = time.monotonic() + seconds
    while not _greets(address, place, context, seconds):
        if time.monotonic() > end:
            raise InvalidInputError(nobody)
        time.sleep(AGAIN_SECONDS)


def _context(address: str) -> ssl.SSLContext | None:
    """Return what the configuration has for a protocol; ``None`` to talk in clear."""
    security = Security()
    if not address.startswith("tls://"):
        if security.require_encryption:
            raise InvalidInputError(
                f"Dask's configuration requires encryption, and {address} has none: give tls://, "
                "or set distributed.comm.require-encryption to false"
            )
        return None
    files = security.get_tls_config_for_role("client")
    for name in ("ca_file", "cert", "key"):
        # A certificate may hold its key, and any of them may be text, not a path.
        if files[name] and "\n" not in files[name] and not Path(files[name]).is_file():
            raise InvalidInputError(f"{files[name]} is not there: see {CONFIGURATION}")
    try:
        context: ssl.SSLContext | None = security.get_connection_args("client")["ssl_context"]
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"certificate {files['cert']} cannot be used ({error}): see {CONFIGURATION}"
        ) from error
    if context is None:
        raise InvalidInputError(
            f"{address} asks for certificates, and there are none: set ca-file, client.cert and "
            f"client.key of {CONFIGURATION}"
        )
    return context


def _greets(
    address: str, place: tuple[str, int], context: ssl.SSLContext | None, seconds: float
) -> bool:
    """Read the first byte: by then both sides have looked at the other's certificate."""
    try:
        with socket.create_connection(place, seconds) as plain:
            connection = plain if context is None else context.wrap_socket(plain)
            with connection:
                return _first_byte(address, connection, seconds)
    except ssl.SSLError as error:
        raise InvalidInputError(_refusal(address, error)) from error
    except OSError:
        return False


def _first_byte(address: str, connection: socket.socket, seconds: float) -> bool:
    try:
        return bool(connection.recv(1))
    except TimeoutError as error:
        raise InvalidInputError(
            f"what listens at {address} greets no client within {seconds:g} s: give tls:// if it "
            "wants encryption, or look at its log"
        ) from error


def _refusal(address: str, error: ssl.SSLError) -> str:
    """Say whose certificate does not fit."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the scheduler at {address} is not of the authority in ca-file "
            f"({error.verify_message}): see {CONFIGURATION}"
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return f"what listens at {address} does not speak TLS: give tcp://, or start it with tls"
    return (
        f"the scheduler at {address} turns this client's certificate away ({error.reason}): take "
        f"one that its authority has signed, see {CONFIGURATION}"
    )


@contextmanager
def scheduler_client(request: ClusterRequest) -> Iterator[Client]:
    """Connect to a scheduler, and leave it as it is when the run is over.

    Raises
    ------
    InvalidInputError
        If none answers, the file is none of a scheduler, or its workers do not come.
    """
    address = request.where if "://" in request.where else address_in(request.where)
    with connected(address) as client:
        _await_workers(client, address, request.workers or 1)
        yield client


def address_in(path: str) -> str:
    """Return the address in a scheduler file.

    Raises
    ------
    InvalidInputError
        If the file has none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return str(json.load(file)["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"--cluster {path} is no scheduler file: give the one of dask scheduler "
            "--scheduler-file, or an address"
        ) from error


def connected(address: str) -> Client:
    """Connect to a scheduler, looking first whether it lets this process in.

    Raises
    ------
    InvalidInputError
        If none answers, or certificates do not fit.
    """
    check_reachable(address, SCHEDULER_SECONDS)
    return Client(address, set_as_default=False, timeout=SCHEDULER_SECONDS)


def _await_workers(client: Client, address: str, n_workers: int) -> None:
    try:
        client.wait_for_workers(n_workers, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        found = len(client.scheduler_info(n_workers=-1)["workers"])
        raise InvalidInputError(
            f"the scheduler at {address} has {found} of {n_workers} workers after "
            f"{CONNECT_SECONDS} s: start workers"
        ) from error


def await_arrivals(
    client: Client,
    n_workers: int,
    timeout_seconds: float,
    look: Callable[[], None],
    line: Callable[[], str],
    say: Callable[[str], None],
) -> None:
    """Wait until all workers are there, or some time after the first one came.

    Parameters
    ----------
    timeout_seconds : float
        Give up when none has come in so long.
    look : callable
        Called all the time; may raise.
    line : callable
        Returns what is waited for, in a line.
    say : callable
        Told that line now and then while none is there.

    Raises
    ------
    RunError
        If none comes.
    """
    began = said = time.monotonic()
    first: float | None = None
    while (found := len(client.nthreads())) < n_workers:
        now = time.monotonic()
        look()
        first = None if not found else first or now
        if first is not None and now - first > LATECOMER_SECONDS:
            return
        if first is None and now - began > timeout_seconds:
            raise RunError(
                f"no worker came in {timeout_seconds:g} s of {line()}: look why, or wait longer by "
                "--worker-timeout"
            )
        if now - said > SAY_SECONDS:
            say(line())
            said = now
        time.sleep(LOOK_SECONDS)
