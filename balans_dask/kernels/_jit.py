"""The compiler's settings, in one place.

numba's own cache is safe only if certain things hold, which this folder's name and owner see to:
it is on a disk of this node; nobody else can put code there; it belongs to just these sources (a
kernel holds the code of those that it calls, and numba looks at its own file alone) and to these
versions; and no file survives a power cut half-written. Each kernel has a single signature, so two
processes that compile at once write the same.
"""

import os
import platform
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "OFF",
    "kernel",
    "kernel_folder",
    "part_of_kernels",
    "read_only",
]

OFF = "BALANS_NO_KERNEL_CACHE"
"""Set this variable to anything to compile in every process."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
SOURCES = Path(__file__).parent
Function = TypeVar("Function", bound=Callable[..., object])
Scalar = TypeVar("Scalar", bound=np.generic)


@cache
def kernel_folder() -> Path | None:
    """Return the folder, made if need be; ``None`` where there is no safe one."""
    if os.environ.get(OFF) or not (hasattr(os, "getuid") and BOOT.exists()):
        return None
    folder = Path(tempfile.gettempdir()) / f"balans-kernels-{os.getuid()}-{_fingerprint()}"
    try:
        folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    closed = not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return folder if own and closed and os.access(folder, os.W_OK) else None


def _fingerprint() -> str:
    digest = blake2b(digest_size=12)
    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
    for part in (BOOT.read_text(), *versions, str(SOURCES)):
        digest.update(f"{part}\n".encode())
    for source in sorted(SOURCES.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def kernel(function: Function) -> Function:
    """Compile a function for use inside Dask tasks.

    ``nogil``, because Dask owns the threads; never ``parallel``, because two tasks of one process
    would then fight over numba's thread pool (and abort it); no ``fastmath``, because sums have a
    fixed order here. Compiled code waits in ``kernel_folder`` for the next process of this node.
    """
    folder = kernel_folder()
    if folder is None:
        return part_of_kernels(function)
    # numba asks for the place while it decorates, and only a setting of the process can name it.
    config: Any = numba.config
    users, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return _compiled(function, cache=True)
    finally:
        config.CACHE_DIR = users


def part_of_kernels(function: Function) -> Function:
    """Compile a function that kernels call: their code holds it, so it is not kept by itself."""
    return _compiled(function, cache=False)


def _compiled(function: Function, cache: bool) -> Function:
    compiler = numba.njit(  # noqa: TID251
        nogil=True, parallel=False, cache=cache, fastmath=False, error_model="numpy"
    )
    return cast(Function, compiler(function))


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a read-only view.

    Arrays that arrive over the network are read-only and local ones are not; numba would compile
    every kernel once for each.
    """
    view = array.view()
    view.flags.writeable = False
    return view
