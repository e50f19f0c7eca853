"""Embeddings with batches and labels: generated ones, and real profiles as components."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Texts
from benchmarks.harness.real_sets import SETS, RealSet

N_COMPONENTS = 50
REAL: dict[str, RealSet] = {"cpjump1": SETS[0], "bbbc021 wells": SETS[1], "bbbc021 cells": SETS[3]}
"""One set of each file: four plates, ten weeks, two plates."""


@dataclass(frozen=True)
class Embedded:
    """Rows in which distances are taken."""

    rows: Floats  # (n_rows, n_components), centred
    batch: Texts  # (n_rows,)
    label: Texts


def generated(mixture: Mixture) -> Embedded:
    """Make a mixture, which is an embedding as it is."""
    rows = np.concatenate([values for _, values in mixture.slabs(65_536)]).astype(np.float64)
    described = mixture.annotations()
    return Embedded(rows - rows.mean(axis=0), *_columns(described, *described.columns))


def real(which: RealSet, folder: Path) -> Embedded:
    """Read real profiles; features are standardised, then their first 50 components taken."""
    described = which.annotations(folder)
    table = pd.read_parquet(folder / f"{which.file}.parquet")
    rows = components(table.drop(columns=list(described)).to_numpy(float))
    return Embedded(rows, *_columns(described, which.batch, which.label))


def components(features: Floats) -> Floats:
    """Standardise features and take their first 50 components, or as many as there are."""
    values = StandardScaler().fit_transform(features)
    n_components = min(N_COMPONENTS, *values.shape)
    rows: Floats = PCA(n_components, svd_solver="full").fit_transform(values)
    return rows


def _columns(described: pd.DataFrame, *names: str) -> list[NDArray[Any]]:
    return [described[name].to_numpy(dtype=str) for name in names]
