"""What figures were measured on and with: they mean nothing without it."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from balans_dask.kernels._blas import blas_fingerprint

__all__ = ["machine_facts", "processor", "versions"]

LIBRARIES = ("balans-dask", "dask", "distributed", "numba", "numpy", "scipy", "zarr")


def processor() -> str:
    """Name the processor; `platform` knows it on some systems only."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_facts() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "cpus": os.cpu_count(),
        "processor": processor(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "blas": blas_fingerprint(),
    }


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Versions of libraries, and of Python; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
