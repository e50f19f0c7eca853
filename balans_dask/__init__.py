"""Batch correction for Cell Painting profiles: BALANS, distributed on Dask, stored in Zarr."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from balans_dask.errors import require_assertions

if TYPE_CHECKING:
    from balans_dask import pp
    from balans_dask.estimator import Balans, correct_batches
    from balans_dask.io.places import storage_options

__all__ = ["Balans", "__version__", "correct_batches", "pp", "storage_options"]

__version__ = "0.2.0"

_PLACES = {
    "Balans": "balans_dask.estimator",
    "correct_batches": "balans_dask.estimator",
    "storage_options": "balans_dask.io.places",
}


def __getattr__(name: str) -> Any:
    """Import the estimator when it is asked for; workers and commands start without it."""
    if name in __all__:
        require_assertions()
    if name == "pp":
        return import_module("balans_dask.pp")
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
