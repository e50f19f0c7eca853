"""Batch keys one after the other: source, then batch within source, then plate within batch."""

from collections.abc import Sequence
from typing import Any

from balans_dask.batches import BatchLabels, batch_labels
from balans_dask.errors import InvalidInputError

__all__ = ["labels_in_order"]


def labels_in_order(
    columns: Sequence[Any], names: Sequence[str], n_rows: int
) -> tuple[BatchLabels, ...]:
    """Make the batches of every key: joint ones with the keys before it, so they only get finer.

    Plates of the same name in two sources are two batches.

    Parameters
    ----------
    columns : sequence of array-like of shape (n_rows,)
    names : sequence of str
        What to call the columns in an error.
    n_rows : int

    Returns
    -------
    labels : tuple of BatchLabels
        One for each key; the last one tells all combinations apart.

    Raises
    ------
    InvalidInputError
        If there are fewer than two keys, or one tells no more apart than those before it.
    """
    if len(columns) < 2:
        raise InvalidInputError(
            f"--batch-order asks for several keys, and {len(columns)} is given: add --batch-key, "
            "coarsest first"
        )
    found: list[BatchLabels] = []
    n_before = 1
    for place, name in enumerate(names, start=1):
        labels = batch_labels(columns[:place], names[:place], n_rows)
        if labels.n_batches == n_before:
            before = (
                "all rows"
                if place == 1
                else f"all rows of every {' and '.join(names[: place - 1])}"
            )
            raise InvalidInputError(
                f"{name} is the same in {before}, so its turn of --batch-order would do nothing: "
                "leave it out, or name coarser keys first"
            )
        found.append(labels)
        n_before = labels.n_batches
    return tuple(found)
