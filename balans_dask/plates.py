"""Plates of a screen, and the controls of each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.store import ProfileStore
from balans_dask.labels import BatchLabels, batch_labels
from balans_dask.model.anchors import rows_by_query
from balans_dask.workflows.preprocess.columns import RowGroups
from balans_dask.workflows.preprocess.steps import Preprocessing

__all__ = ["Plates", "plates_of"]


@dataclass(frozen=True)
class Plates:
    """Rows that are looked at together, and what tells them apart.

    Attributes
    ----------
    labels : BatchLabels or None
        The plate of every row; ``None`` where all rows are one.
    is_control : ndarray of shape (n_rows,), bool, or None
        Rows by which a plate is scaled; ``None`` for all.
    n_rows : int
    """

    labels: BatchLabels | None
    is_control: NDArray[np.bool_] | None
    n_rows: int

    @property
    def n_plates(self) -> int:
        """Plates that are told apart; 0 for none."""
        return 0 if self.labels is None else self.labels.n_batches

    def groups(self) -> RowGroups:
        """Plates, or all rows as one."""
        if self.labels is None:
            return RowGroups.of(np.zeros(self.n_rows, dtype=np.intp), 1, None)
        return RowGroups.of(self.labels.codes, self.n_plates, self.is_control)


def plates_of(store: ProfileStore, steps: Preprocessing) -> Plates:
    """Find plates and controls, where a step looks at them.

    Parameters
    ----------
    store : ProfileStore
    steps : Preprocessing

    Raises
    ------
    InvalidInputError
        If a column is missing, or a plate has no control.
    """
    if not steps.needs_plates:
        return Plates(None, None, store.n_rows)
    labels = batch_labels(
        [store.column(key) for key in steps.plate_keys],
        [f"obs column {key!r}" for key in steps.plate_keys],
        store.n_rows,
    )
    if steps.normalize is None or steps.controls is None:
        return Plates(labels, None, store.n_rows)
    is_control = rows_by_query(store.obs, steps.controls)
    n_controls = np.bincount(labels.codes[is_control], minlength=labels.n_batches)
    without = [labels.names[code] for code in np.flatnonzero(n_controls == 0).tolist()]
    if without:
        raise InvalidInputError(
            f"{len(without)} of {labels.n_batches} plates of {store.path} have no control by "
            f"{steps.controls!r} ({first_names(without)}): drop them, or give other --controls"
        )
    return Plates(labels, is_control, store.n_rows)
