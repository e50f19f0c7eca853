"""Hosts of a network that exists for a test; without them, a loud skip."""

import pytest

from benchmarks.harness.network import can_make_hosts


@pytest.fixture(scope="session", autouse=True)
def _namespaces() -> None:
    """Skip all where hosts cannot be made."""
    reason = can_make_hosts()
    if reason:
        pytest.skip(reason)
