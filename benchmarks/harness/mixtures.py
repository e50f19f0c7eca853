"""The generated screens on which speed and stopping are measured."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from balans_dask.io.paths import is_store
from balans_dask.workflows.mixture import Mixture, write_mixture

BATCH, TREATMENT = "Metadata_batch", "Metadata_treatment"
N_RARE = 10
TINY_ROWS = 1000
"""Little enough that a run is all start-up."""
SPREADS = {"separated": 1.0, "overlapping": 0.5}
"""Deviation of cluster means in units of the noise; clusters 1.0 and 0.5 noise distances apart."""


def mixture_store(folder: Path, mixture: Mixture) -> Path:
    """Write a mixture, unless the folder has it from an earlier call."""
    numbers = (mixture.n_rows, mixture.n_features, mixture.n_batches, mixture.n_rare)
    name = "x".join(map(str, numbers)) + f"_{mixture.cluster_spread}.zarr"
    if not is_store(str(folder / name)):
        with warnings.catch_warnings():
            # zarr announces its own future defaults.
            warnings.simplefilter("ignore", UserWarning)
            write_mixture(mixture, str(folder / name))
    return folder / name


@contextmanager
def working_folder(given: Path | None) -> Iterator[Path]:
    """Use a folder that stays, or one that does not."""
    if given is None:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    else:
        given.mkdir(parents=True, exist_ok=True)
        yield given
