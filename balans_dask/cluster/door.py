"""Whether a scheduler lets this process in, asked before Dask's client is.

A client that never gets in leaves threads and a traceback behind, and says little of certificates.
"""

import socket
import ssl
import time
from pathlib import Path

from distributed import Security
from distributed.comm import get_address_host_port

from balans_dask.errors import InvalidInputError

__all__ = ["knock"]

AGAIN_SECONDS = 0.5
CONFIGURATION = "distributed.comm.tls in Dask's configuration (an example is deploy/tls/tls.yaml)"


def knock(address: str, seconds: float) -> None:
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
