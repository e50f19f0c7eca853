"""A correction of an AnnData object: checked, then fitted; the object itself stays as it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy.sparse import issparse

from balans_dask.errors import InvalidInputError, did_you_mean, first_names
from balans_dask.io.matrices import H5Matrix
from balans_dask.io.sources import RowSource, StoredRows
from balans_dask.io.tables.columns import METADATA_PREFIX
from balans_dask.labels import BatchLabels, batch_labels
from balans_dask.model.anchors import GIVEN_ROWS, given_mask, named_rows
from balans_dask.model.inputs import Inputs
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.workflows.array_inputs import is_lazy, matrix_of, source_of
from balans_dask.workflows.array_output import Collect, gathered_rows, lazy_rows
from balans_dask.workflows.arrays import Asked, FittedArrays, fit_inputs, sphered
from balans_dask.workflows.records import record_of

__all__ = [
    "Integrated",
    "Integration",
    "basis_of",
    "features_of",
    "integrate",
    "integration",
    "labels_of",
    "require_room",
    "row_source",
    "rows_of",
]


def require_room(adata: AnnData, basis: str | None, adjusted_basis: str) -> None:
    """Refuse an object to which results cannot be added.

    Raises
    ------
    InvalidInputError
        If the basis would be lost, or the object is a view of a backed one.
    """
    if adjusted_basis == basis:
        raise InvalidInputError(
            f"adjusted_basis is the basis {basis!r} itself, which stays as it is: give another name"
        )
    if adata.isbacked and adata.is_view:
        raise InvalidInputError(
            f"adata is a view of {adata.n_obs} rows of a backed object, to which nothing can be "
            "added: take adata.to_memory(), or adata.copy(filename)"
        )


def labels_of(adata: AnnData, keys: Sequence[str]) -> BatchLabels:
    """Read the batch of every row; several columns make joint batches.

    Parameters
    ----------
    keys : sequence of str
        Columns of ``obs``.

    Raises
    ------
    InvalidInputError
        If a column or a label is missing.
    """
    if not keys:
        raise InvalidInputError(
            "key names no column of obs: give the one with the batch, or several for joint batches"
        )
    there = list(adata.obs.keys())
    for key in keys:
        if key not in there:
            near = did_you_mean(key, map(str, there), METADATA_PREFIX)
            raise InvalidInputError(
                f"adata has no column {key!r} in obs"
                + (near or f": choose one of its {len(there)} columns{_listed(there)}")
            )
    columns = _in_memory(adata.obs[list(keys)])
    return batch_labels(
        [columns[key] for key in keys], [f"obs column {key!r}" for key in keys], adata.n_obs
    )


def rows_of(adata: AnnData, chosen: Any, name: str) -> NDArray[np.bool_] | None:
    """Find rows by a query on ``obs`` or a mask; ``None`` where nothing was chosen.

    Parameters
    ----------
    name : str
        Of the argument.

    Raises
    ------
    InvalidInputError
        If the query or the mask cannot be used.
    """
    if chosen is None:
        return None
    if isinstance(chosen, str):
        return named_rows(_in_memory(adata.obs), chosen)
    return given_mask(chosen, adata.n_obs, name)


def basis_of(adata: AnnData, basis: str) -> Any:
    """Return a matrix of ``obsm``: numpy, or lazy.

    Raises
    ------
    InvalidInputError
        If it is missing or no matrix of numbers.
    """
    there = list(adata.obsm.keys())
    if basis not in there:
        raise InvalidInputError(
            f"adata has no {basis!r} in obsm, which holds {len(there)} matrices{_listed(there)}: "
            "choose one of them, make principal components by sc.pp.pca(adata), or give basis=None"
        )
    return _matrix(adata.obsm[basis], f"obsm[{basis!r}]")


def features_of(adata: AnnData) -> Any:
    """Return ``X``: numpy, or lazy, as that of a backed object is.

    Raises
    ------
    InvalidInputError
        If it is missing or no dense matrix of numbers.
    """
    if adata.X is None:
        raise InvalidInputError("adata has no X: give a basis, and leave correct_features out")
    return _matrix(adata.X, "X")


def row_source(engine: Engine, matrix: Any, lazy: bool) -> RowSource:
    """Wrap a matrix of ``features_of`` or ``basis_of``.

    Parameters
    ----------
    lazy : bool
        It stands beside a lazy one: the results outlive the engine, and hold rows of numpy.
    """
    if lazy and isinstance(matrix, np.ndarray):
        return StoredRows(matrix)
    return source_of(engine, matrix)[0]


def _matrix(matrix: Any, what: str) -> Any:
    sparse = isinstance(matrix, CSRDataset | CSCDataset)
    if sparse or issparse(getattr(matrix, "_meta", matrix)):
        raise InvalidInputError(
            f"{what} is sparse, but dense data is required: correct a dense embedding such as "
            "X_pca, without correct_features"
        )
    return matrix_of(H5Matrix.of(matrix) if isinstance(matrix, h5py.Dataset) else matrix)


def _in_memory(table: Any) -> pd.DataFrame:
    """Read a table of a lazy object; one in memory stays."""
    return table if isinstance(table, pd.DataFrame) else table.to_memory()


def _listed(names: Sequence[Any]) -> str:
    return f" ({first_names(names)})" if names else ""


@dataclass(frozen=True)
class Integration:
    """A correction asked of an AnnData object.

    Attributes
    ----------
    features : array of shape (n_rows, n_features)
        What is corrected: numpy, or lazy.
    embedding : array of shape (n_rows, n_columns), or None
        Where distances are taken, if not in the features or their principal components.
    feature_names : list of str
    labels : BatchLabels
    reference, controls : ndarray of shape (n_rows,), bool, or None
        Anchor rows, and those by which all rows are sphered.
    parameters : Parameters
    keys : tuple of str
        Columns of ``obs`` with the batch.
    basis : str or None
        Matrix of ``obsm`` in which distances are taken.
    anchor : str
        Query that names the anchors.
    """

    features: Any
    embedding: Any
    feature_names: list[str]
    labels: BatchLabels
    reference: NDArray[np.bool_] | None
    controls: NDArray[np.bool_] | None
    parameters: Parameters
    keys: tuple[str, ...]
    basis: str | None
    anchor: str

    @property
    def scored(self) -> Any:
        """What the scores are made from."""
        return self.features if self.embedding is None else self.embedding

    @property
    def matrices(self) -> list[Any]:
        """What is read."""
        return [each for each in (self.features, self.embedding) if each is not None]

    @property
    def lazy(self) -> bool:
        """Whether corrected rows are computed when they are asked for."""
        return is_lazy(self.features) or is_lazy(self.scored)


@dataclass(frozen=True)
class Integrated:
    """What a correction adds to an AnnData object.

    Attributes
    ----------
    scores : array of shape (n_rows, n_columns)
        Lazy if the matrix is in which distances are taken.
    features : array of shape (n_rows, n_features)
        Lazy if what is corrected is.
    columns : tuple of ndarray of shape (n_rows,)
        Covered rows, landmarks and displacements.
    record : dict
        By ``record_of``.
    """

    scores: Any
    features: Any
    columns: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]
    record: dict[str, Any]


def integration(
    adata: AnnData,
    key: str | Sequence[str],
    basis: str | None,
    correct_features: bool,
    anchor: Any,
    controls: Any,
    parameters: Parameters,
) -> Integration:
    """Check what is asked, as ``balans_integrate`` takes it; reads no profile of a lazy object.

    Raises
    ------
    InvalidInputError
        If a column, label or matrix cannot be used.
    """
    named = [key] if isinstance(key, str) or not isinstance(key, Iterable) else list(key)
    if strange := [name for name in named if not isinstance(name, str)]:
        raise InvalidInputError(
            f"key holds {strange[0]!r}: give the name of a column of obs, as text"
        )
    keys = tuple(dict.fromkeys(named))
    labels = labels_of(adata, keys)
    embedding = None if basis is None else basis_of(adata, basis)
    whole = correct_features or basis is None
    features: Any = features_of(adata) if whole else embedding
    names = adata.var_names if whole else [f"{basis} column {i}" for i in range(features.shape[1])]
    return Integration(
        features=features,
        embedding=embedding if whole else None,
        feature_names=[str(name) for name in names],
        labels=labels,
        reference=rows_of(adata, anchor, "anchor"),
        controls=rows_of(adata, controls, "controls"),
        parameters=sphered(parameters, controls),
        keys=keys,
        basis=basis,
        anchor=anchor if isinstance(anchor, str) else GIVEN_ROWS,
    )


def integrate(engine: Engine, asked: Integration) -> Integrated:
    """Fit, and correct as far as results are to be in memory."""
    collect: Collect = lazy_rows if asked.lazy else partial(gathered_rows, with_scores=True)
    inputs = Inputs(
        features=row_source(engine, asked.features, asked.lazy),
        labels=asked.labels,
        feature_names=asked.feature_names,
        embedding=None
        if asked.embedding is None
        else row_source(engine, asked.embedding, asked.lazy),
        in_memory=not asked.lazy,
        table_bytes=_scores_bytes(asked),
        reference=asked.reference,
        controls=asked.controls,
    )
    named = Asked(asked.keys, asked.basis, asked.anchor)
    found = fit_inputs(engine, inputs, asked.parameters, collect, True, named)
    scores, features, covered, displacement = _computed(engine, asked, found)
    n_uncovered = int(np.count_nonzero(~covered))
    record = record_of(
        inputs,
        asked.parameters,
        found.model.preprocessor,
        found.identity,
        n_uncovered,
        found.facts,
        None,
    )
    return Integrated(scores, features, (covered, found.is_landmark, displacement), record)


def _computed(engine: Engine, asked: Integration, found: FittedArrays) -> tuple[Any, ...]:
    """Compute what describes the rows, and scores that stand beside a lazy matrix only."""
    rows = found.rows
    assert rows is not None  # they were wanted
    scores = rows.features if rows.embedding is None else rows.embedding
    if is_lazy(asked.scored):
        displacement, *covered = engine.compute([rows.displacement, *found.covered])
    else:
        scores, displacement, *covered = engine.compute([scores, rows.displacement, *found.covered])
    return scores, rows.features, np.logical_and.reduce(covered), displacement


def _scores_bytes(asked: Integration) -> int:
    """Corrected principal components, which the driver holds beside what is corrected."""
    n_rows, n_features = asked.features.shape
    n_components = asked.parameters.n_components
    if asked.lazy or n_components is None:
        return 0
    return 4 * int(n_rows) * min(n_components, int(n_features))
