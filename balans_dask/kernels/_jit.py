"""The compiler's settings, in one place."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels._cache import kernel_folder

__all__ = ["kernel", "part_of_kernels", "read_only"]

Function = TypeVar("Function", bound=Callable[..., object])
Scalar = TypeVar("Scalar", bound=np.generic)


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
