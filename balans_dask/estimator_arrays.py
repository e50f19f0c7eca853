"""What a call of the estimator works with: an engine, its input, and what it gives back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from distributed import default_client

from balans_dask.arrays import source_of
from balans_dask.labels import batch_labels
from balans_dask.model.anchors import anchor_mask
from balans_dask.model.inputs import Inputs
from balans_dask.passes.engine import Engine, embedded_client
from balans_dask.passes.workers import require_usable
from balans_dask.workflows.array_inputs import is_lazy

__all__ = [
    "NO_BATCH",
    "current_engine",
    "inputs_of",
]

NO_BATCH = "all"
"""Label of every row where none is given."""


@contextmanager
def current_engine() -> Iterator[Engine]:
    """Use the client of the caller, which stays open, or one for this call.

    Raises
    ------
    InvalidInputError
        If nobody could wait for the client of the caller.
    """
    try:
        client = default_client()
    except ValueError:
        with embedded_client() as client:
            yield Engine(client)
    else:
        require_usable(client)
        engine = Engine(client)
        try:
            yield engine
        finally:
            engine.release()


def inputs_of(engine: Engine, X: Any, batch: Any, anchor: Any) -> Inputs:
    """Wrap what the user gave."""
    source, names = source_of(engine, X)
    column = np.full(source.shape[0], NO_BATCH) if batch is None else batch
    return Inputs(
        features=source,
        labels=batch_labels([column], ["batch"], source.shape[0]),
        feature_names=names,
        in_memory=not is_lazy(X),
        reference=None if anchor is None else anchor_mask(anchor, source.shape[0]),
    )
