"""Profiles of an experiment with batch and label: generated ones, and real ones in components."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from balans_dask.workflows.mixture import Mixture
from benchmarks.harness import embedded
from benchmarks.harness.real_sets import SETS
from benchmarks.harness.scoring import rows_of_every_label

__all__ = ["ProfileSet", "generated", "real"]


@dataclass(frozen=True)
class ProfileSet:
    """One data set.

    Attributes
    ----------
    name : str
    values : ndarray of shape (n_rows, n_columns), float64
        What is corrected.
    batch, label : ndarray of shape (n_rows,)
    scored : ndarray of int
        Rows that are scored, in order.
    """

    name: str
    values: NDArray[np.float64]
    batch: NDArray[np.str_]
    label: NDArray[np.str_]
    scored: NDArray[np.int64]


def generated(name: str, mixture: Mixture, n_each: int) -> ProfileSet:
    """Generate a mixture; ``n_each`` rows of every cluster are scored."""
    made = embedded.generated(mixture)
    scored = rows_of_every_label(made.label, n_each, mixture.seed)
    return ProfileSet(name, made.rows, made.batch, made.label, scored)


def real(folder: Path | None, names: tuple[str, ...]) -> Iterator[ProfileSet]:
    """Read real profiles, as components.

    Parameters
    ----------
    folder : Path or None
        Without one there are none.
    names : tuple of str
        Of ``real_sets.SETS``.
    """
    for one in SETS if folder else ():
        if one.name in names:
            read = embedded.real(one, folder)
            scored = np.flatnonzero(one.scored(one.annotations(folder)))
            yield ProfileSet(one.name, read.rows, read.batch, read.label, scored)
