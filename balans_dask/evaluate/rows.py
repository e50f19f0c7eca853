"""Which rows are scored, what is known of them, and their embeddings before and after."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.scoring import RowLabels
from balans_dask.evaluate.stores import RAW, EvaluatedStore, RawScores, project
from balans_dask.io.matrices import checked_array
from balans_dask.io.store import ProfileStore
from balans_dask.kernels.projection import Projection
from balans_dask.labels import BatchLabels, batch_labels, labels_of_column, spelled
from balans_dask.model.anchors import named_rows
from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows.confounding import Factor

__all__ = [
    "LEAST_ROWS",
    "Embedding",
    "ScoredRows",
    "joint_batches",
    "labelled_rows",
    "read_embeddings",
    "read_raw",
    "rows_to_judge",
    "sampled_rows",
    "stratified_rows",
]

SLAB_ROWS = 4 * TILE_ROWS
"""Rows read at a time."""
LEAST_ROWS = 10
RETRIEVAL_ROWS = 3_000
"""copairs lists all pairs, and shuffles rankings of this length."""
NO_LABEL = "no label"


@dataclass(frozen=True)
class Embedding:
    """Scores of the chosen rows.

    Attributes
    ----------
    name : str
    scores : ndarray of shape (n_rows, n_components), float64
        Centred.
    before : ndarray of shape (n_rows, n_raw_components), float64, or None
        The same rows before the correction, if they are known.
    is_in_unit : bool
        Whether the scores are in the unit of those before, so that variances can be compared.
    """

    name: str
    scores: NDArray[np.float64]
    before: NDArray[np.float64] | None
    is_in_unit: bool = True


def read_embeddings(
    stores: Sequence[EvaluatedStore], rows: NDArray[np.int64], slab_rows: int = SLAB_ROWS
) -> list[Embedding]:
    """Read the scores of the chosen rows, raw ones first.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), int64
        In increasing order.
    slab_rows : int
        Rows read at a time, if one of them is chosen.

    Returns
    -------
    embeddings : list of Embedding
        Raw scores of every preprocessor that the corrections had, then every correction.
    """
    found: dict[Any, Embedding] = {}
    for one in stores:
        if one.before is not None and one.before.identity not in found:
            name = f"{RAW} of {one.name}" if found else RAW
            found[one.before.identity] = _raw(name, one.before, rows, slab_rows)
    corrected = []
    for one in stores:
        if one.corrected is None:
            continue
        scores = _corrected(one.corrected, one.projection, rows, slab_rows)
        before = None if one.before is None else found[one.before.identity].scores
        corrected.append(Embedding(one.name, scores, before, one.is_in_unit))
    return [*found.values(), *corrected]


def read_raw(raw: RawScores) -> NDArray[np.float64]:
    """Read the raw scores of all rows, some rows at a time."""
    matrix = checked_array(raw.matrix)
    slabs = [
        project(raw.projection, np.asarray(matrix[start : start + SLAB_ROWS]))
        for start in range(0, matrix.shape[0], SLAB_ROWS)
    ]
    return np.concatenate(slabs)


def _raw(name: str, raw: RawScores, rows: NDArray[np.int64], slab_rows: int) -> Embedding:
    scores = project(raw.projection, _read(raw.matrix, rows, slab_rows))
    return Embedding(name, scores, scores)


def _corrected(
    matrix: zarr.Array, projection: Projection, rows: NDArray[np.int64], slab_rows: int
) -> NDArray[np.float64]:
    values = _read(matrix, rows, slab_rows)
    if projection.weights is None:
        # A corrected embedding is in the unit of its input, and has its centre.
        return project(projection, values)
    return values.astype(np.float64)


def _read(matrix: zarr.Array, rows: NDArray[np.int64], slab_rows: int) -> NDArray[np.number]:
    source = checked_array(matrix)
    pieces = []
    for start in range(0, matrix.shape[0], slab_rows):
        stop = min(start + slab_rows, matrix.shape[0])
        first, last = np.searchsorted(rows, [start, stop])
        if last > first:
            pieces.append(np.asarray(source[start:stop])[rows[first:last] - start])
    return np.concatenate(pieces)


def stratified_rows(strata: NDArray[np.integer], max_rows: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose rows at random, of every stratum in proportion to its size.

    Parameters
    ----------
    strata : ndarray of shape (n_rows,), integer
        Strata whose numbers are close share what remains after rounding.
    max_rows : int
        All rows are taken if there are no more.

    Returns
    -------
    rows : ndarray of shape (min(n_rows, max_rows),), int64
        In increasing order. Every stratum has its share, rounded down or up.
    """
    n_rows = len(strata)
    if n_rows <= max_rows:
        return np.arange(n_rows)
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(n_rows)
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    # Systematic sampling: evenly spaced places after a random start.
    places = (np.arange(max_rows) + generator.random()) * (n_rows / max_rows)
    return np.sort(by_stratum[places.astype(np.int64)])


def labelled_rows(
    batch: NDArray[np.integer], label: NDArray[np.integer], max_rows: int, seed: int = 0
) -> NDArray[np.int64]:
    """Choose rows that have a label, by batch and label.

    Parameters
    ----------
    batch, label : ndarray of shape (n_rows,), integer
        A row without a label has -1.

    Returns
    -------
    rows : ndarray of int64
        In increasing order; none if no row has a label.
    """
    labelled = np.flatnonzero(label >= 0)
    if not len(labelled):
        return labelled
    strata = pd.MultiIndex.from_arrays([batch[labelled], label[labelled]])
    return labelled[stratified_rows(strata.factorize()[0], max_rows, seed)]


def rows_to_judge(
    batch: NDArray[np.integer],
    label: Factor | None,
    max_rows: int,
    seed: int,
    among: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], Factor | None]:
    """Choose rows by batch and label; by batch alone, and without it, where labels are few.

    Parameters
    ----------
    batch : ndarray of shape (n_all_rows,), integer
    among : ndarray of int64, or None
        Rows to choose from, in increasing order; ``None`` for all.
    """
    among = np.arange(len(batch)) if among is None else among
    if label is not None:
        rows = among[labelled_rows(batch[among], label.codes[among], max_rows, seed)]
        if len(rows) >= LEAST_ROWS:
            return rows, label
    return among[stratified_rows(batch[among], max_rows, seed)], None


@dataclass(frozen=True)
class ScoredRows:
    """The rows that are scored.

    Attributes
    ----------
    numbers : ndarray of shape (n_sampled,), int64
        In the stores, in increasing order.
    labels : RowLabels
    n_unlabelled : int
        Rows of the stores that have no label and are left out.
    """

    numbers: NDArray[np.int64]
    labels: RowLabels
    n_unlabelled: int


def sampled_rows(
    store: ProfileStore,
    batch_keys: Sequence[str],
    label_key: str,
    control: str | None = None,
    compound_key: str | None = None,
    max_rows: int = 20_000,
    seed: int = 0,
) -> ScoredRows:
    """Choose the rows to score, by batch and label.

    Parameters
    ----------
    store : ProfileStore
        Whose ``obs`` describes the rows.
    control : str or None
        Query for the negative controls, which need no label.

    Raises
    ------
    InvalidInputError
        If a column is missing, the query cannot be used or names no row, there are too few rows, or
        there are no two batches and labels to tell apart.
    """
    if label_key in batch_keys:
        raise InvalidInputError(
            f"{label_key} is the batch and the label: choose a label that other batches hold too"
        )
    batch = joint_batches(store, batch_keys)
    label = store.column(label_key)
    is_control = np.zeros(store.n_rows, dtype=bool)
    if control is not None:
        is_control = named_rows(store.obs, control)
    usable = np.flatnonzero(label.notna().to_numpy() | is_control)
    names = _label_names(label, label_key)
    strata = _strata(names, batch)
    chosen = usable[stratified_rows(strata[usable], max_rows, seed)]
    compound = None if compound_key is None else _compounds(store.column(compound_key))
    labels = RowLabels(
        batch=np.array(batch.names)[batch.codes[chosen]],
        label=names[chosen],
        compound=None if compound is None else compound[chosen],
        is_control=is_control[chosen],
        ranked=stratified_rows(strata[chosen], RETRIEVAL_ROWS, seed),
    )
    _require_contrast(labels, "+".join(batch_keys), label_key)
    return ScoredRows(chosen, labels, store.n_rows - len(usable))


def _compounds(column: pd.Series) -> NDArray[np.str_]:
    """Name compounds; a row without one is of a compound of its own."""
    own = np.char.add("row ", np.arange(len(column)).astype(str))
    codes, values = labels_of_column(column)
    compounds = np.array([*(f"compound {spelled(value)}" for value in values), ""])
    names: NDArray[np.str_] = np.where(codes < 0, own, compounds[codes])
    return names


def joint_batches(store: ProfileStore, keys: Sequence[str]) -> BatchLabels:
    """Find the batch of every row; several columns make joint batches."""
    columns = [store.column(key) for key in keys]
    return batch_labels(columns, [f"obs column {key!r}" for key in keys], store.n_rows)


def _label_names(label: pd.Series, key: str) -> NDArray[np.str_]:
    known = label.notna().to_numpy()
    if not known.any():
        raise InvalidInputError(
            f"obs column {key!r} is missing in all {len(label)} rows: choose a column with labels"
        )
    found = batch_labels([label[known]], [f"obs column {key!r}"], int(known.sum()))
    names = np.array([*found.names, NO_LABEL])
    codes = np.full(len(label), len(found.names))
    codes[known] = found.codes
    texts: NDArray[np.str_] = names[codes]
    return texts


def _strata(names: NDArray[np.str_], batch: BatchLabels) -> NDArray[np.integer]:
    codes = np.unique(names, return_inverse=True)[1]
    strata: NDArray[np.integer] = codes * batch.n_batches + batch.codes.astype(np.int64)
    return strata


def _require_contrast(labels: RowLabels, batch_key: str, label_key: str) -> None:
    kept = ~labels.is_control
    if kept.sum() < LEAST_ROWS:
        raise InvalidInputError(
            f"{kept.sum()} rows are there to score, and scores of fewer than {LEAST_ROWS} say "
            "nothing: give more, or fewer controls"
        )
    for key, values in ((batch_key, labels.batch[kept]), (label_key, labels.label[kept])):
        n_values = len(np.unique(values))
        if n_values < 2:
            raise InvalidInputError(
                f"{key} has {n_values} values in {len(values)} rows to score: choose a column "
                "that tells rows apart"
            )
    if len(np.unique(labels.label[kept])) == kept.sum():
        raise InvalidInputError(
            f"{label_key} differs in all {kept.sum()} rows to score: choose a label that rows share"
        )
