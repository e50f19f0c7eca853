"""Batch correction for Cell Painting profiles: BALANS, distributed on Dask, stored in Zarr."""

from balans_dask.estimator import Balans, correct_batches

__all__ = ["Balans", "__version__", "correct_batches"]
__version__ = "0.1.0"
