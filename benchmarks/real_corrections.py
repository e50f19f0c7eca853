"""Corrected scores of one set by every method: ours through the command, harmonypy beside it."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
from numpy.typing import NDArray
from real_sets import RealSet

from balans_dask.cli import run

__all__ = ["balans_scores", "command", "harmony_scores"]

HARMONY = Path(__file__).parent / "peers" / "run_harmony.py"


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


def harmony_scores(
    python: str, work: Path, raw: NDArray[np.float64], batch: NDArray[np.str_], seed: int
) -> tuple[NDArray[np.float64], str]:
    """Correct the raw scores by harmonypy in another process; with its version."""
    given, out = work / "harmony_in.npz", work / "harmony_out.npz"
    np.savez(given, scores=raw, batch=batch)
    subprocess.run([python, str(HARMONY), str(given), str(out), "--seed", str(seed)], check=True)
    with np.load(out) as answer:
        return answer["scores"].astype(np.float64), str(answer["version"])


def command(*arguments: str) -> None:
    """Run `balans`, without its tables."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(list(arguments))
    if code != 0:
        sys.exit(f"failed with {code}: balans {' '.join(arguments)}")
