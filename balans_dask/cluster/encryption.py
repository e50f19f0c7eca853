"""TLS between the processes of a run, where Dask's own configuration has it."""

import dask
from distributed.security import Security

__all__ = ["encryption", "protocol"]


def encryption() -> Security | None:
    """Return the keys that Dask's configuration names, if it names any."""
    security = Security()
    named = security.get_tls_config_for_role("scheduler")
    if named.get("cert") or dask.config.get("distributed.comm.require-encryption"):
        return security
    return None


def protocol() -> str:
    """Return how processes of a run talk to each other."""
    return "tcp://" if encryption() is None else "tls://"
