"""A whole run from store to store."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from anndata.io import read_elem

from balans_dask.batches import batch_labels
from balans_dask.fitting import Fit, Inputs, OnStage, Stage, fit, require_sizes, smooth
from balans_dask.io.layout import create_matrix, row_layout, write_annotations
from balans_dask.io.output import OutputStore, StoreSink
from balans_dask.io.store import ProfileStore
from balans_dask.memory import MemoryPlan
from balans_dask.parameters import Parameters
from balans_dask.passes.blas import blas_fingerprint, single_threaded_blas
from balans_dask.passes.engine import Engine
from balans_dask.passes.smooth import output_dtype
from balans_dask.passes.sources import RowSource, StoredRows
from balans_dask.sampling import SampledRows
from balans_dask.tiling import TILE_ROWS

__all__ = ["StoreRun", "correct_store", "correction_record", "store_run"]

PACKAGES = ("balans_dask", "anndata", "dask", "distributed", "numba", "numpy", "scipy", "zarr")
SCORES_KEY = "X_pca_balans"


@dataclass(frozen=True)
class StoreRun:
    """A correction asked of a store, checked as far as it can be without reading profiles.

    Attributes
    ----------
    store : ProfileStore
    batch_keys : tuple of str
    basis : str or None
        Matrix of ``obsm`` in which distances are taken.
    inputs : Inputs
    parameters : Parameters
    """

    store: ProfileStore
    batch_keys: tuple[str, ...]
    basis: str | None
    inputs: Inputs
    parameters: Parameters

    @property
    def embedding_key(self) -> str | None:
        """Matrix of the output's ``obsm`` that is written, if any."""
        if self.basis is not None:
            return f"{self.basis}_balans"
        return None if self.parameters.n_components is None else SCORES_KEY


def store_run(
    store: ProfileStore,
    batch_keys: Sequence[str],
    parameters: Parameters,
    basis: str | None = None,
) -> StoreRun:
    """Check the labels and shapes of a store; reads no profile.

    Parameters
    ----------
    store : ProfileStore
    batch_keys : sequence of str
        Columns of ``obs``; several make joint batches.
    parameters : Parameters
    basis : str or None
        Take distances in this matrix of ``obsm``, and correct it too.

    Raises
    ------
    InvalidInputError
        If a column, label, matrix or row is missing.
    """
    labels = batch_labels(
        [store.column(key) for key in batch_keys],
        [f"obs column {key!r}" for key in batch_keys],
        store.n_rows,
    )
    features = StoredRows(store.features)
    embedding = None if basis is None else StoredRows(store.embedding(basis))
    inputs = Inputs(
        features=features,
        labels=labels,
        feature_names=[str(name) for name in store.var.index],
        embedding=embedding,
        shard_tiles=max(1, row_layout(None, _widest_row(features, embedding))[1] // TILE_ROWS),
        table_bytes=int(store.obs.memory_usage(deep=True).sum()),
    )
    require_sizes(inputs)
    return StoreRun(store, tuple(batch_keys), basis, inputs, parameters)


def correct_store(
    engine: Engine,
    run: StoreRun,
    plan: MemoryPlan,
    target: str,
    overwrite: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> SampledRows:
    """Correct a store into a new one.

    Parameters
    ----------
    engine : Engine
    run : StoreRun
    plan : MemoryPlan
    target : str
        Path of the new store.
    overwrite : bool
        Replace a store that is there, once the new one is complete.
    on_stage : callable
        Told what the run is doing.

    Returns
    -------
    SampledRows

    Raises
    ------
    InvalidInputError
        If the values cannot be corrected; nothing is left behind.
    StoreExistsError
        If the target exists.
    """
    output = OutputStore(target, overwrite, (run.store.path,))
    with output, single_threaded_blas():
        fitted = fit(engine, run.inputs, run.parameters, plan, on_stage)
        on_stage(Stage("writing"))
        sink = _sink(output, run, fitted)
        written = engine.gather(smooth(engine, fitted, sink))
        displacement = np.concatenate([part.displacement for part in written])
        write_annotations(
            output.root,
            {
                "obs": _annotated(run.store.obs, fitted.sampled, displacement),
                "var": run.store.var,
                "uns/balans": _provenance(run, fitted),
            },
        )
    return fitted.sampled


def correction_record(store: ProfileStore) -> dict[str, Any] | None:
    """Read what ``correct_store`` recorded in a store; ``None`` for any other store."""
    if "uns/balans" not in store.root:
        return None
    record: dict[str, Any] = read_elem(store.root["uns/balans"])
    return record


def _sink(output: OutputStore, run: StoreRun, fitted: Fit) -> StoreSink:
    n_rows, n_features = run.inputs.features.shape
    layout = row_layout(n_rows, _widest_row(run.inputs.features, run.inputs.embedding))
    dtype = output_dtype(run.inputs.features.dtype)
    features = create_matrix(output.root, "X", (n_rows, n_features), dtype, layout)
    if run.embedding_key is None:
        return StoreSink(features, None)
    source = run.inputs.embedding
    width = fitted.scores.projection.n_components if source is None else source.shape[1]
    kind = np.dtype(np.float32) if source is None else output_dtype(source.dtype)
    name = f"obsm/{run.embedding_key}"
    return StoreSink(features, create_matrix(output.root, name, (n_rows, width), kind, layout))


def _widest_row(features: RowSource, embedding: RowSource | None) -> int:
    """Bytes of the wider output row: both matrices share one layout."""
    sources = [features] if embedding is None else [features, embedding]
    return max(source.shape[1] * output_dtype(source.dtype).itemsize for source in sources)


def _annotated(
    obs: pd.DataFrame, sampled: SampledRows, displacement: np.ndarray[Any, Any]
) -> pd.DataFrame:
    return obs.assign(
        balans_covered=sampled.coverage.coverage > 0.0,
        balans_is_landmark=sampled.coverage.drawn,
        balans_displacement=displacement,
    )


def _provenance(run: StoreRun, fitted: Fit) -> dict[str, Any]:
    """Record what made the output; nothing that differs between two equal runs."""
    sampled, labels = fitted.sampled, run.inputs.labels
    given = {k: v for k, v in run.parameters.as_dict().items() if v is not None}
    constant = np.flatnonzero(fitted.examined.features.constant).tolist()
    return {
        "parameters": given | {"batch_key": list(run.batch_keys), "basis": run.basis or "X"},
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "arithmetic": blas_fingerprint(),
        "fingerprint": _fingerprint(run, fitted),
        "stop_reason": sampled.stop_reason,
        "n_sampled": sampled.curve[-1].n_sampled,
        "n_uncovered": sampled.curve[-1].n_rows - sampled.curve[-1].n_covered,
        "sampled_rows": sampled.rows,
        "coverage_curve": {
            "n_sampled": np.array([point.n_sampled for point in sampled.curve]),
            "n_covered": np.array([point.n_covered for point in sampled.curve]),
        },
        "batches": list(labels.names),
        "batch_sizes": labels.sizes,
        "clamped_batches": labels.clamped(run.parameters.n_neighbors),
        "constant_features": [run.inputs.feature_names[i] for i in constant],
    }


def _fingerprint(run: StoreRun, fitted: Fit) -> str:
    """Hash of the values, labels, names and parameters that decide the output."""
    parts = [
        fitted.examined.features.fingerprint,
        fitted.examined.scored.fingerprint,
        repr(run.inputs.features.dtype.str),
        repr(list(run.inputs.feature_names)),
        repr(run.inputs.labels.names),
        blake2b(run.inputs.labels.codes.tobytes()).hexdigest(),
        repr(sorted(run.parameters.as_dict().items())),
        repr(run.basis),
        version("balans_dask"),
    ]
    return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
