"""Do DMSO wells that were no anchors mix as well as those that were? BBBC021 by plate.

    python -m benchmarks.quality.held_out_controls --data FOLDER --markdown FILE

Purity of the anchors themselves is in-sample: each plate's displacement is estimated on them. Here
half of the DMSO wells of every plate are anchors, and the purity is that of the other half.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from balans_dask.evaluate.neighbours import batch_purity
from benchmarks.harness.arrays import Floats, Texts
from benchmarks.harness.real_sets import ANCHOR_METHODS, SETS, command
from benchmarks.harness.tables import lines

REAL = next(real for real in SETS if real.anchored)
SEEDS = (0, 1, 2)
ROLE = "Metadata_role"
METHOD = Path(__file__).parent / "methods" / "held_out_controls.md"


def roles(rows: pd.DataFrame, seed: int) -> Texts:
    """Anchor, held out or treated."""
    rng = np.random.default_rng(seed)
    controls = (rows["Metadata_pert_type"] == "negcon").to_numpy()
    place = pd.Series(rng.permutation(len(rows)))[controls]
    rank = place.groupby(rows[REAL.batch].to_numpy()[controls]).rank()
    found = np.full(len(rows), "treated", dtype="<U8")
    found[controls] = np.where(rank % 2 == 1, "anchor", "held out")
    return found


def purities(source: Path, work: Path, seed: int) -> dict[str, tuple[float, float]]:
    """Purity of anchors and of wells held out, by method."""
    rows = REAL.annotations(source.parent)
    role = roles(rows, seed)
    pd.read_parquet(source).reset_index(drop=True).assign(**{ROLE: role}).to_parquet(
        work / "in.parquet"
    )
    command("convert", str(work / "in.parquet"), str(work / "in.zarr"), "--overwrite")
    week = rows[REAL.across].to_numpy(dtype=str)
    found = {}
    for name, options in ANCHOR_METHODS.items():
        options = (*options, "--anchor", f"{ROLE} == 'anchor'", "--batch-key", REAL.batch)
        stores = (str(work / "in.zarr"), str(work / "out.zarr"))
        command("correct", *stores, "--overwrite", "--quiet", *options)
        scores = np.asarray(anndata.read_zarr(stores[1]).obsm["X_pca_balans"], dtype=np.float64)
        found[name] = _both(scores, week, role)
    shuffled = week.copy()
    for half in ("anchor", "held out"):
        shuffled[role == half] = np.random.default_rng(seed).permutation(week[role == half])
    found["chance"] = _both(scores, shuffled, role)
    return found


def _both(scores: Floats, week: Texts, role: Texts) -> tuple[float, float]:
    anchor, held = role == "anchor", role == "held out"
    return batch_purity(scores[anchor], week[anchor]), batch_purity(scores[held], week[held])


def main() -> None:
    """Measure, write Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as work:
        source = given.data / f"{REAL.file}.parquet"
        found = [purities(source, Path(work), seed) for seed in SEEDS]
    rows = []
    for name in found[0]:
        values = np.array([one[name] for one in found])
        cells = zip(values.mean(axis=0), values.std(axis=0), strict=True)
        rows.append([name, *(f"{mean:.3f} ({spread:.3f})" for mean, spread in cells)])
    table = lines(["method", "anchors", "held out"], rows)
    text = METHOD.read_text() + "\n" + table
    print(text)
    if given.markdown:
        given.markdown.write_text(text)


if __name__ == "__main__":
    main()
