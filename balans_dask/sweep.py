"""Many settings of a correction, fitted once where they are alike, and scored."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from balans_dask.evaluate.sweep import Grid
    from balans_dask.evaluate.sweep.result import SweepResult
    from balans_dask.evaluate.sweep.store import sweep_store

__all__ = ["Grid", "SweepResult", "sweep_store"]

_PLACES = {
    "Grid": "balans_dask.evaluate.sweep",
    "SweepResult": "balans_dask.evaluate.sweep.result",
    "sweep_store": "balans_dask.evaluate.sweep.store",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for; the command line reads its options without the scores."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
