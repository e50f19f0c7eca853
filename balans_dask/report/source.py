"""What a report is made of: a corrected store, its input, and what is known of its rows."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import BalansError, InvalidInputError, public
from balans_dask.evaluate.sweep.result import options_of
from balans_dask.io.in_place import ELEMENTS
from balans_dask.io.paths import leads_away, path_beside
from balans_dask.io.store import ProfileStore, open_store
from balans_dask.labels import BatchLabels, batch_labels
from balans_dask.model.anchors import GIVEN_ROWS, named_rows, rows_by_query
from balans_dask.parameters import Parameters
from balans_dask.workflows.confounding import LABEL_COLUMNS, Factor, factor, negative_controls
from balans_dask.workflows.records import correction_record, recorded_keys
from balans_dask.workflows.request import OURS

__all__ = ["Reported", "reported"]

MAYBE_NONE = ("max_rows", "n_components", "max_scale_ratio", "max_neighbors", "sphering")
"""Parameters that a record leaves out where they are ``None``."""


@dataclass(frozen=True)
class Reported:
    """A corrected store, its input, and what is known of its rows.

    Attributes
    ----------
    store : ProfileStore
    record : mapping
    batch : BatchLabels
    labels : list of Factor
        The label first, then other columns of usual names.
    control : ndarray of shape (n_rows,), bool, or None
    control_query : str
    source : ProfileStore or None
        The input, if it is still there.
    missing_source : str
        Why it is not there.
    """

    store: ProfileStore
    record: Mapping[str, Any]
    batch: BatchLabels
    labels: list[Factor]
    control: NDArray[np.bool_] | None
    control_query: str
    source: ProfileStore | None
    missing_source: str

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """Columns of ``obs`` that make the batches."""
        return recorded_keys(self.record)

    @property
    def is_sphered(self) -> bool:
        """Whether controls have given the corrected rows another unit than those before."""
        return "sphering" in self.record

    @property
    def parameters(self) -> Parameters:
        """Those of the run, as its record has them: what is ``None`` is not in it."""
        known = {field.name: field.default for field in fields(Parameters)}
        given = {k: v for k, v in self.record["parameters"].items() if k in known}
        plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
        return Parameters(**{**dict.fromkeys(MAYBE_NONE), **plain})

    @property
    def command(self) -> str:
        """What makes the same store again, in its folder; the options that are no default."""
        recorded, record = self.record["parameters"], self.record
        keys = [part for key in self.batch_keys for part in ("--batch-key", key)]
        output = Path(public(self.store.path)).name
        source = public(str(record.get("input", "INPUT.zarr")))
        if "model" in record:
            asked = ["balans", "transform", "MODEL.zarr", source, output, *keys]
            return shlex.join(asked)
        where = [source, output]
        if ELEMENTS in record:
            added = np.atleast_1d(record[ELEMENTS])
            where = [output, "--into", *(["--layer"] if f"layers/{OURS}" in added else [])]
        for name in ("basis", "anchor"):
            value = recorded.get(name)
            keys += [] if value in (None, "X", GIVEN_ROWS) else [f"--{name}", str(value)]
        keys += ["--batch-order"] if "batch_order" in recorded else []
        return shlex.join(["balans", "correct", *where, *keys, *options_of(self.parameters)])


def reported(path: str, label_key: str | None, control: str | None) -> Reported:
    """Open what a report is made of.

    Parameters
    ----------
    path : str
        Of a corrected store.
    label_key : str or None
        Column of ``obs``; ``None`` for the first of ``LABEL_COLUMNS`` that is there.
    control : str or None
        Query for the control rows; ``None`` for the anchors of the run, or for negative controls
        by how they are called.

    Raises
    ------
    InvalidInputError
        If the store is not the output of a correction, or lacks a column.
    """
    store = open_store(path)
    record = correction_record(store)
    if record is None:
        raise InvalidInputError(
            f"{path} says nothing of a correction: give an output of `balans correct` or "
            "`balans transform`"
        )
    keys = recorded_keys(record)
    batch = batch_labels([store.column(key) for key in keys], keys, store.n_rows)
    usual = [name for name in LABEL_COLUMNS if name in store.obs.columns and name not in keys]
    names = list(dict.fromkeys([label_key, *usual] if label_key is not None else usual))
    query = control if control is not None else _usual_control(store.obs, record, label_key)
    is_control = None
    if query is not None:
        # A model's query for anchors may name no row of new plates; one that is given must.
        given = control is not None
        is_control = named_rows(store.obs, query) if given else rows_by_query(store.obs, query)
    source, missing = _source(path, record, store.n_rows)
    return Reported(
        store,
        record,
        batch,
        [factor(store.column(name), name) for name in names],
        is_control,
        query or "",
        source,
        missing,
    )


def _usual_control(
    obs: pd.DataFrame, record: Mapping[str, Any], label_key: str | None
) -> str | None:
    for asked in ("anchor", "sphering"):
        query: str | None = record["parameters"].get(asked)
        if query is not None and query != GIVEN_ROWS:
            return query
    controls = negative_controls(obs, label_key)
    return None if controls is None else controls.query


def _source(path: str, record: Mapping[str, Any], n_rows: int) -> tuple[ProfileStore | None, str]:
    """Open the input of the run, or say why not."""
    if "input" not in record and ELEMENTS in record:
        return open_store(path), ""
    if "input" not in record:
        return None, (
            "the store names no input store; of a table, run `balans convert` first, and correct "
            "what that writes"
        )
    recorded = str(record["input"])
    if leads_away(path, recorded):
        return None, (
            f"the input is at {public(recorded)}, and such a record is not followed (`balans "
            "evaluate` takes it as the first store)"
        )
    try:
        store = open_store(path_beside(path, recorded))
    except (BalansError, OSError):
        return None, f"the input {recorded} is no longer where it was"
    if store.n_rows != n_rows:
        return None, f"the input {recorded} has other rows now"
    return store, ""
