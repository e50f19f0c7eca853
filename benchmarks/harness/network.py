"""Hosts on one machine: Linux network namespaces, joined by a switch, with cables that can be cut.

Needs root, and `ip` and `tc` (iproute2). The switch is a namespace too, so that nothing of it is
seen in the machine's own network, and no address can be one that is taken.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Host", "can_make_hosts", "hosts"]

PREFIX = "balans"
SWITCH = "switch"
CABLE = "eth0"
BURST = ["burst", "128kb", "latency", "50ms"]
"""Of a limited cable: larger than what the kernel hands over at once."""


class Host:
    """A host with an address of its own, on the file system of all.

    Attributes
    ----------
    address : str
    """

    def __init__(self, network: str, number: int) -> None:
        self.address = f"10.77.0.{number}"
        self._space = f"{network}-h{number}"
        self._switch = f"{network}-{SWITCH}"
        self._port = f"port{number}"
        _ip("netns", "add", self._space)
        _ip("-n", self._switch, "link", "add", self._port, "type", "veth",
            "peer", "name", CABLE, "netns", self._space)  # fmt: skip
        _ip("-n", self._switch, "link", "set", self._port, "master", SWITCH, "up")
        _ip("-n", self._space, "address", "add", f"{self.address}/24", "dev", CABLE)
        for link in ("lo", CABLE):
            _ip("-n", self._space, "link", "set", link, "up")

    def start(self, argv: Sequence[str], **options: Any) -> psutil.Popen:
        """Start a program here; options are those of ``subprocess.Popen``."""
        return psutil.Popen(["ip", "netns", "exec", self._space, *argv], **options)

    def cut(self) -> None:
        """Cut the cable: packets vanish, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def mend(self) -> None:
        """Plug the cable in again."""
        _ip("-n", self._switch, "link", "set", self._port, "up")

    def limit(self, rate: str | None) -> None:
        """Limit the cable in both directions, as in ``1gbit``; ``None`` takes the limit away."""
        for space, link in ((self._space, CABLE), (self._switch, self._port)):
            shaped = ["tc", "-n", space, "qdisc", "replace", "dev", link, "root"]
            _run([*shaped, *(["tbf", "rate", rate, *BURST] if rate else ["pfifo"])])

    def bytes(self) -> tuple[int, int]:
        """Bytes that it has sent and received so far, with all headers."""
        (found,) = json.loads(_ip("-n", self._space, "-s", "-j", "link", "show", CABLE))
        return found["stats64"]["tx"]["bytes"], found["stats64"]["rx"]["bytes"]


@contextmanager
def hosts(n_hosts: int) -> Iterator[list[Host]]:
    """Make hosts, and end them with everything that runs on them."""
    for pid in _networks():
        if not psutil.pid_exists(pid):
            _remove(pid)
    network = f"{PREFIX}{os.getpid()}"
    try:
        _ip("netns", "add", f"{network}-{SWITCH}")
        _ip("-n", f"{network}-{SWITCH}", "link", "add", SWITCH, "type", "bridge")
        _ip("-n", f"{network}-{SWITCH}", "link", "set", SWITCH, "up")
        yield [Host(network, number) for number in range(1, n_hosts + 1)]
    finally:
        _remove(os.getpid())


def can_make_hosts() -> str:
    """Say why hosts cannot be made here; nothing if they can."""
    try:
        with hosts(1) as [host]:
            host.limit("1gbit")
    except (OSError, RuntimeError) as error:
        return f"no hosts can be made on this machine: {error}"
    return ""


def _networks() -> set[int]:
    """Find processes that have made hosts; one that was killed has left them behind."""
    names = " ".join(path.name for path in Path("/run/netns").glob(f"{PREFIX}*"))
    return {int(pid) for pid in re.findall(rf"\b{PREFIX}(\d+)-", names)}


def _remove(pid: int) -> None:
    for path in Path("/run/netns").glob(f"{PREFIX}{pid}-*"):
        for process in _ip("netns", "pids", path.name).split():
            _run(["kill", "-9", process], tolerant=True)
        _ip("netns", "delete", path.name)


def _ip(*arguments: str) -> str:
    return _run(["ip", *arguments])


def _run(command: Sequence[str], tolerant: bool = False) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and not tolerant:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
