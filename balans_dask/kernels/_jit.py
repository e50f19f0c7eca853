"""The compiler's settings, in one place."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["kernel", "read_only"]

Function = TypeVar("Function", bound=Callable[..., object])
Scalar = TypeVar("Scalar", bound=np.generic)


def kernel(function: Function) -> Function:
    """Compile a function for use inside Dask tasks.

    ``nogil``, because Dask owns the threads; never ``parallel``, because two tasks of one process
    would then fight over numba's thread pool (and abort it); no ``fastmath``, because sums have a
    fixed order here; no on-disk cache, because workers that share a home directory corrupt it.
    """
    return cast(
        Function,
        numba.njit(nogil=True, parallel=False, cache=False, fastmath=False, error_model="numpy")(  # noqa: TID251
            function
        ),
    )


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a read-only view.

    Arrays that arrive over the network are read-only and local ones are not; numba would compile
    every kernel once for each.
    """
    view = array.view()
    view.flags.writeable = False
    return view
