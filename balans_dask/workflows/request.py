"""A correction asked of a store, checked before any profile is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from balans_dask.errors import InvalidInputError, first_names, setting, warn_of_input
from balans_dask.io.in_place import ELEMENTS
from balans_dask.io.layout import row_layout
from balans_dask.io.matrices import checked_array
from balans_dask.io.paths import path_from
from balans_dask.io.sources import RowSource, StoredRows
from balans_dask.io.store import ProfileStore
from balans_dask.io.trial import FEW, try_annotations
from balans_dask.labels import BatchLabels, batch_labels, labels_in_order
from balans_dask.model.anchors import (
    GIVEN_ROWS,
    named_rows,
    require_anchors,
    require_controls,
)
from balans_dask.model.frozen import Model
from balans_dask.model.inputs import CheckedInput, Inputs, require_sizes, warn_of_many_batches
from balans_dask.model.query import parse_query
from balans_dask.parameters import Parameters
from balans_dask.passes.profiles import output_dtype
from balans_dask.tiling import TILE_ROWS
from balans_dask.workflows.confounding import (
    Factor,
    NegativeControls,
    factor,
    negative_controls,
    said_of_confounding,
)
from balans_dask.workflows.records import run_identity, texts

__all__ = [
    "ADDED_COLUMNS",
    "OURS",
    "SCORES_KEY",
    "CorrectionRequest",
    "correction_request",
    "earlier_steps",
    "warn_of_what_stays_behind",
    "widest_row",
    "with_label",
]

SCORES_KEY = "X_pca_balans"
OURS = "balans"
"""Name of the record in ``uns``, and of a layer of corrected features."""
ADDED_COLUMNS = ("balans_covered", "balans_is_landmark", "balans_displacement")
EARLIER_STEPS = ("uns/balans_convert", "uns/balans_preprocess")
"""Records of what made the profiles of a store, which every store made from it keeps."""


@dataclass(frozen=True)
class CorrectionRequest:
    """A correction asked of a store, checked as far as it can be without reading profiles.

    Attributes
    ----------
    store : ProfileStore
    batch_keys : tuple of str
    basis : str or None
        Matrix of ``obsm`` in which distances are taken.
    anchor : str or None
        Query for the rows from which scales and displacements are estimated.
    inputs : Inputs
    parameters : Parameters
    order : tuple of BatchLabels
        Batches of every key, where the keys take turns; none where they are joint.
    into : bool
        The results are added to the store itself.
    layer : bool
        The corrected features are, too.
    label : Factor or None
        What the user wants to tell apart; it decides nothing of the output.
    """

    store: ProfileStore
    batch_keys: tuple[str, ...]
    basis: str | None
    anchor: str | None
    inputs: Inputs
    parameters: Parameters
    order: tuple[BatchLabels, ...] = ()
    into: bool = False
    layer: bool = False
    label: Factor | None = None

    def negative_controls(self) -> NegativeControls | None:
        """Find negative controls by how they are called; ``None`` if there are none."""
        return negative_controls(self.store.obs, None if self.label is None else self.label.column)

    def controls_to_name(self) -> NegativeControls | None:
        """Find negative controls that could help, and do not yet."""
        return None if self.inputs.is_tied else self.negative_controls()

    @property
    def confounding(self) -> str:
        """What to say of labels that a correction cannot tell from batches; empty without any."""
        return self._confounding(self.inputs.is_tied)

    @property
    def is_told(self) -> bool:
        """Whether the user knows how populations are shared, so that a fit need not say it."""
        return self.inputs.reference is not None or bool(self._confounding(tied=False))

    def _confounding(self, tied: bool) -> str:
        if self.label is None:
            return ""
        controls = self.negative_controls()
        turns = [(self.batch_keys[: i + 1], each) for i, each in enumerate(self.order)]
        for keys, labels in turns or [(self.batch_keys, self.inputs.labels)]:
            said = said_of_confounding(labels, self.label, controls, " + ".join(keys), tied)
            if said and self.parameters.shared_populations is True:
                said += f"; leave out {setting('shared_populations', True)}: it says the opposite"
            if said:
                return said
        return ""

    @property
    def embedding_key(self) -> str | None:
        """Matrix of the output's ``obsm`` that is written, if any."""
        if self.basis is not None:
            return f"{self.basis}_balans"
        return None if self.parameters.n_components is None else SCORES_KEY

    @property
    def features_key(self) -> str | None:
        """Place of the corrected features in the output; ``None`` if they are not written."""
        if not self.into:
            return "X"
        if self.embedding_key is None:
            return "obsm/X_balans"
        return f"layers/{OURS}" if self.layer else None

    @property
    def elements(self) -> list[str]:
        """What is added to a store: columns, matrices, and the record as the last."""
        embedding = [] if self.embedding_key is None else [f"obsm/{self.embedding_key}"]
        features = [] if self.features_key is None else [self.features_key]
        return [*(f"obs/{name}" for name in ADDED_COLUMNS), *embedding, *features, f"uns/{OURS}"]

    @property
    def read(self) -> list[str]:
        """What of the store decides the result, beside ``X``."""
        basis = [] if self.basis is None else [f"obsm/{self.basis}"]
        return [*(f"obs/{key}" for key in self.batch_keys), *basis]

    @property
    def _queries(self) -> tuple[str | None, str | None]:
        return self.anchor, self.parameters.sphering

    def identity(self, examined: CheckedInput) -> dict[str, Any]:
        """Everything that decides the output."""
        identity = run_identity(
            self.inputs, self.parameters, examined, self.batch_keys, self.basis, self.anchor
        )
        order = {"batch_order": True} if self.order else {}
        return identity | order | ({"into": self.elements} if self.into else {})

    def annotations(self, columns: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
        """Everything in the output but matrices.

        Parameters
        ----------
        columns : mapping of str to ndarray
            What ``obs`` gains.
        record : mapping
            What the output says about its correction.
        """
        obs = self.store.obs
        if self.into:
            record = {**record, ELEMENTS: self.elements}
            return {"obs": obs[[]].assign(**columns), f"uns/{OURS}": record}
        made = {"obs": obs.assign(**columns), "var": self.store.var, f"uns/{OURS}": dict(record)}
        return earlier_steps(self.store) | made

    def try_writing(self, place: Path | None = None) -> None:
        """Write what the output will say of a few rows to nowhere, and read it.

        Parameters
        ----------
        place : Path or None
            Of the output; ``None`` if there is to be none.

        Raises
        ------
        InvalidInputError
            If that fails.
        """
        few = replace(self.store, obs=self.store.obs[:FEW], var=self.store.var[:FEW])
        columns = dict.fromkeys(ADDED_COLUMNS, np.zeros(len(few.obs), dtype=bool))
        record = {
            "input": path_from(str(place or "out.zarr"), self.store.path),
            "batches": texts(self.inputs.labels.names),
            "asked": texts([*self.batch_keys, *filter(None, self._queries), self.basis or ""]),
        }
        elements = replace(self, store=few).annotations(columns, record)
        matrices = [] if self.embedding_key is None else [f"obsm/{self.embedding_key}"]
        try_annotations(self.store.path, elements, matrices, place)


def correction_request(
    store: ProfileStore,
    batch_keys: Sequence[str],
    parameters: Parameters,
    basis: str | None = None,
    anchor: str | None = None,
    model: Model | None = None,
    batch_order: bool = False,
) -> CorrectionRequest:
    """Check the labels and shapes of a store; reads no profile.

    Parameters
    ----------
    batch_keys : sequence of str
        Columns of ``obs``; several make joint batches.
    parameters : Parameters
        With the query for the controls, if profiles are to be sphered.
    basis : str or None
        Take distances in this matrix of ``obsm``, and correct it too.
    anchor : str or None
        Query on ``obs`` for the rows from which scales, displacements and the standardisation are
        estimated; ``None`` for all rows.
    model : Model or None
        Which is to transform the store; ``None`` to fit. A transform may be of a single row, and
        asks for anchors only if there are new batches.
    batch_order : bool
        Keys take turns, the first one first, each joint with those before it.

    Raises
    ------
    InvalidInputError
        If a column, label, matrix or row is missing, the query cannot be used, or a key's turn
        would do nothing.
    """
    require_sizes(store.path, store.features.shape, 2 if model is None else 1)
    sphering = parameters.sphering
    for query in (anchor, None if sphering == GIVEN_ROWS else sphering):
        # Also where a model does not ask it: the record of the output repeats it.
        if query is not None:
            parse_query(query)
    columns = [store.column(key) for key in batch_keys]
    names = [f"obs column {key!r}" for key in batch_keys]
    order: tuple[BatchLabels, ...] = ()
    if batch_order:
        order = labels_in_order(columns, names, store.n_rows)
        parameters = replace(parameters, keys_in_turn=len(order))
    labels = order[-1] if order else batch_labels(columns, names, store.n_rows)
    reference = None
    if anchor is not None and (model is None or -1 in model.places_of(labels)):
        reference = named_rows(store.obs, anchor)
    controls = None
    if model is None:
        warn_of_many_batches(labels)
        if reference is not None:
            require_anchors(reference, labels, parameters)
        if sphering is not None:
            controls = named_rows(store.obs, sphering)
            require_controls(controls, store.features.shape[1])
    features = StoredRows(checked_array(store.features))
    embedding = None if basis is None else StoredRows(checked_array(store.embedding(basis)))
    inputs = Inputs(
        features=features,
        labels=labels,
        feature_names=[str(name) for name in store.var.index],
        embedding=embedding,
        shard_tiles=max(1, row_layout(None, widest_row(features, embedding))[1] // TILE_ROWS),
        table_bytes=int(store.obs.memory_usage(deep=True).sum()),
        reference=reference,
        controls=controls,
    )
    return CorrectionRequest(store, tuple(batch_keys), basis, anchor, inputs, parameters, order)


def with_label(run: CorrectionRequest, label_key: str) -> CorrectionRequest:
    """Name what should be told apart, and warn where it is confounded with the batches.

    Parameters
    ----------
    label_key : str
        Column of ``obs``.

    Raises
    ------
    InvalidInputError
        If there is none, or nothing in it.
    """
    label = factor(run.store.column(label_key), label_key)
    if not label.names:
        raise InvalidInputError(
            f"obs column {label_key!r} of {run.store.path} is missing in all {run.store.n_rows} "
            "rows: choose a column with labels"
        )
    run = replace(run, label=label)
    if run.confounding:
        warn_of_input(run.confounding)
    return run


def earlier_steps(store: ProfileStore) -> dict[str, Any]:
    """Read what a store says about the steps that made it, by name of the element."""
    return {name: store.element(name) for name in EARLIER_STEPS if name in store.root}


def warn_of_what_stays_behind(store: ProfileStore, basis: str | None) -> None:
    """Say what the output will not hold, though the input does."""
    left = [name for name in store.elements if name not in (f"obsm/{basis}", *EARLIER_STEPS)]
    if left:
        warn_of_input(
            f"{len(left)} elements of {store.path} are not copied to the output "
            f"({first_names(left)}): only X, obs and var are, and the basis"
        )
    replaced = [name for name in store.obs.columns if name in ADDED_COLUMNS]
    if replaced:
        warn_of_input(
            f"{len(replaced)} columns of obs of {store.path} are replaced in the output "
            f"({first_names(replaced)}): rename them to keep them"
        )


def widest_row(features: RowSource, embedding: RowSource | None) -> int:
    """Bytes of the wider output row: both matrices share one layout."""
    sources = [features] if embedding is None else [features, embedding]
    return max(source.shape[1] * output_dtype(source.dtype).itemsize for source in sources)
