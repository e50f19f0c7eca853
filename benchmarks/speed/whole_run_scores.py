"""What a corrected mixture is worth: scores of its common clusters, coverage of its rare ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.evaluate.rows import read_embeddings, stratified_rows
from balans_dask.evaluate.scib import batch_scores, biology_scores
from balans_dask.evaluate.scoring import totals
from balans_dask.evaluate.stores import open_stores
from balans_dask.io.store import open_store
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.mixtures import BATCH, TREATMENT

__all__ = ["rare_covered", "scores_of"]


def rare_covered(out: Path, mixture: Mixture) -> list[float]:
    """Share of covered rows of every rare cluster."""
    rows = open_store(str(out)).obs
    cluster = rows[TREATMENT].cat.codes.to_numpy()
    covered = rows["balans_covered"].to_numpy(dtype=bool)
    numbers = range(mixture.n_clusters, mixture.n_clusters + mixture.n_rare)
    return [round(float(covered[cluster == number].mean()), 3) for number in numbers]


def scores_of(store: Path, out: Path, mixture: Mixture, n_rows: int) -> dict[str, Any]:
    """Score a correction, and its input beside it.

    Parameters
    ----------
    store, out : Path
        Input, and output of the command or of the peer.
    mixture : Mixture
    n_rows : int
        Rows that are scored.

    Returns
    -------
    scores : dict
        ``corrected`` and ``raw``, each with ``batch``, ``biology`` and ``total``.
    """
    annotations = open_store(str(store)).obs
    chosen = _chosen(annotations, mixture, n_rows)
    raw, corrected = _embeddings(store, out, chosen)
    batch = annotations[BATCH].to_numpy(dtype=str)[chosen]
    label = annotations[TREATMENT].to_numpy(dtype=str)[chosen]
    found = {}
    for name, embedding in (("corrected", corrected), ("raw", raw)):
        scores = batch_scores(embedding, raw, batch, label) | biology_scores(embedding, label)
        found[name] = {key: round(value, 5) for key, value in vars(totals(scores)).items()}
    return found


def _chosen(annotations: Any, mixture: Mixture, n_rows: int) -> NDArray[np.int64]:
    """Rows of common clusters: a few rows of a rare one would be a label of their own."""
    cluster = annotations[TREATMENT].cat.codes.to_numpy().astype(np.int64)
    batch = annotations[BATCH].cat.codes.to_numpy()
    common = np.flatnonzero(cluster < mixture.n_clusters)
    strata = cluster[common] * mixture.n_batches + batch[common]
    return common[stratified_rows(strata, n_rows)]


def _embeddings(store: Path, out: Path, chosen: NDArray[np.int64]) -> Sequence[NDArray[np.float64]]:
    if isinstance(zarr.open(str(out), mode="r"), zarr.Group):
        opened = open_stores([str(store), str(out)], [BATCH])
        return [one.scores for one in read_embeddings(opened, chosen)]
    # The peer's scores have their own signs, which no distance knows.
    raw = read_embeddings(open_stores([str(store)], [BATCH]), chosen)[0].scores
    return [raw, zarr.open_array(str(out), mode="r")[:][chosen].astype(np.float64)]
