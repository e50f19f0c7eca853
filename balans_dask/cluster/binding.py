"""The one address that the scheduler of jobs listens at."""

import socket
from typing import Any

from distributed.utils import get_ip_interface

from balans_dask.cluster.jobqueue import setting
from balans_dask.cluster.request import ClusterRequest
from balans_dask.errors import InvalidInputError
from balans_dask.passes.engine import QUIET_DASHBOARD

__all__ = ["host_address", "interface_address", "scheduler_options"]


def scheduler_options(request: ClusterRequest) -> dict[str, Any]:
    """Return the options of a scheduler in this process: one address, ``host``, and no dashboard.

    Those of the user's jobqueue.yaml win.

    Parameters
    ----------
    request : ClusterRequest
        Of a batch system.

    Raises
    ------
    InvalidInputError
        If this host has no such interface, or no single address that others reach.
    """
    own: dict[str, Any] = dict(setting(request.kind, "scheduler-options") or {})
    quiet: dict[str, Any] = {
        "dashboard": "dashboard_address" in own,
        "dashboard_address": QUIET_DASHBOARD,
    }
    options = quiet | own
    if "host" in own:
        return options
    named = options.pop("interface", None)
    interface = named or request.interface or setting(request.kind, "interface")
    host = host_address() if interface is None else interface_address(interface)
    return options | {"host": host}


def interface_address(interface: str) -> str:
    """Return the address of a network interface of this host.

    Raises
    ------
    InvalidInputError
        If there is none of this name.
    """
    try:
        return str(get_ip_interface(interface))
    except ValueError as error:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise InvalidInputError(
            f"{socket.gethostname()} has no address on interface {interface}: choose of {names}"
        ) from error


def host_address() -> str:
    """Return the single address that the name of this host stands for.

    Raises
    ------
    InvalidInputError
        If there is none, more than one, or one that no other host reaches.
    """
    name = socket.gethostname()
    remedy = "name the network of the nodes with --interface, such as eth0 or ib0"
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidInputError(f"the name {name} of this host has no address: {remedy}") from error
    addresses = sorted({str(address[0]) for *_, address in found})
    if len(addresses) > 1:
        raise InvalidInputError(
            f"the name {name} of this host has {len(addresses)} addresses, "
            f"{', '.join(addresses)}: {remedy}"
        )
    if addresses[0].startswith("127."):
        raise InvalidInputError(
            f"the name {name} of this host stands for {addresses[0]}, which other hosts do not "
            f"reach: {remedy}"
        )
    return addresses[0]
