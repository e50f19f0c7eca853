"""Many settings of a correction, fitted once where they are alike, and scored."""

from balans_dask.sweep.grid import Grid
from balans_dask.sweep.result import SweepResult
from balans_dask.sweep.store import sweep_store

__all__ = ["Grid", "SweepResult", "sweep_store"]
