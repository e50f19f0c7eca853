"""Corrected scores of one set by every setting of the command."""

import contextlib
import io
import sys
from pathlib import Path

import anndata
import numpy as np
from numpy.typing import NDArray

from balans_dask.cli.app import run
from benchmarks.harness.real_sets import RealSet

__all__ = ["balans_scores", "command"]


def balans_scores(folder: Path, work: Path, real: RealSet) -> dict[str, NDArray[np.float64]]:
    """Correct a set by every method of the table; scores as `obsm/X_pca_balans` holds them."""
    given = work / f"{real.file}.zarr"
    if not given.exists():
        command("convert", str(folder / f"{real.file}.parquet"), str(given))
    found = {}
    for name, options in real.methods().items():
        out = work / "out.zarr"
        arguments = ("--batch-key", real.batch, "--overwrite", "--quiet", *options)
        command("correct", str(given), str(out), *arguments)
        scores = anndata.read_zarr(out).obsm["X_pca_balans"]
        found[name] = np.asarray(scores, dtype=np.float64)
    return found


def command(*arguments: str) -> None:
    """Run `balans`, without its tables."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(list(arguments))
    if code != 0:
        sys.exit(f"failed with {code}: balans {' '.join(arguments)}")
