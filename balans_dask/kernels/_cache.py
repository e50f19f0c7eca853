"""Where compiled kernels wait for the next process: a folder of this node, user, boot and code.

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
from functools import cache
from hashlib import blake2b
from pathlib import Path

import llvmlite
import numba
import numpy as np

__all__ = ["OFF", "kernel_folder"]

OFF = "BALANS_NO_KERNEL_CACHE"
"""Set this variable to anything to compile in every process."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
SOURCES = Path(__file__).parent


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
