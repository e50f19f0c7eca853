"""Embeddings of the same rows that others made: in obsm, in files, by other methods."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, RunError, first_line, setting
from balans_dask.evaluate.peers.processes import Peers
from balans_dask.evaluate.rows import SLAB_ROWS, Embedding, joint_batches, read_raw
from balans_dask.evaluate.stores import EvaluatedStore
from balans_dask.io.files import open_file
from balans_dask.io.matrices import checked_array
from balans_dask.io.places import place_of
from balans_dask.io.tables.columns import ColumnRule
from balans_dask.model.anchors import named_rows
from balans_dask.passes.stage import OnStage, Stage

__all__ = ["PEERS", "OtherEmbedding", "PeerMethods", "is_file", "opened", "parted"]

PEERS = {"harmony": "harmonypy", "combat": "combat", "sphering": "sphering"}
"""Other methods, and their names in the program that runs them."""
WHITENING = ("sphering",)
"""Of these, those that leave the unit of their input."""
OF_CONTROLS = ("sphering",)
FILES = (".npy", ".parquet")


@dataclass(frozen=True)
class OtherEmbedding:
    """An embedding of all rows that is none of our corrections.

    Attributes
    ----------
    name : str
        In the table.
    values : array of shape (n_rows, n_components)
        In memory, in a file or in a store.
    is_in_unit : bool
        Whether it is in the unit of the raw scores, so that variances can be compared.
    """

    name: str
    values: Any
    is_in_unit: bool

    def at(self, rows: NDArray[np.int64], before: NDArray[np.float64] | None) -> Embedding:
        """Take the chosen rows, centred at the mean of all: as raw scores are.

        Parameters
        ----------
        rows : ndarray of shape (n_chosen,), int64
            In increasing order.
        before : ndarray of shape (n_chosen, n_raw_components), float64, or None
            Raw scores of these rows, if they are known.

        Raises
        ------
        InvalidInputError
            If a value is NaN or infinite.
        """
        n_rows, n_components = self.values.shape
        total, n_odd, pieces = np.zeros(n_components), 0, []
        for start in range(0, n_rows, SLAB_ROWS):
            slab = np.asarray(self.values[start : start + SLAB_ROWS], dtype=np.float64)
            n_odd += int((~np.isfinite(slab)).any(axis=1).sum())
            total += slab.sum(axis=0)
            first, last = np.searchsorted(rows, [start, start + SLAB_ROWS])
            pieces.append(slab[rows[first:last] - start])
        if n_odd:
            raise InvalidInputError(
                f"{self.name} has NaN or infinite values in {n_odd} of {n_rows} rows: it cannot be "
                "scored beside the others"
            )
        scores = np.concatenate(pieces) - total / n_rows
        return Embedding(self.name, scores, before, self.is_in_unit)


def is_file(argument: str) -> bool:
    """Tell whether an argument is ``NAME=FILE`` of an embedding, and not a store."""
    return "=" in argument and argument.endswith(FILES)


def parted(paths: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Part stores from files of embeddings, each a name and a path.

    Raises
    ------
    InvalidInputError
        If there is no store, or a file has no name.
    """
    stores = [path for path in paths if not is_file(path)]
    files = []
    for argument in filter(is_file, paths):
        name, _, path = argument.partition("=")
        if not name:
            raise InvalidInputError(f"{argument} has no name: give NAME{argument}")
        files.append((name, path))
    if not stores:
        raise InvalidInputError("no store is given: give first the one whose rows the files have")
    return stores, files


def opened(
    first: EvaluatedStore, obsm: Sequence[str], files: Sequence[tuple[str, str]]
) -> list[OtherEmbedding]:
    """Open matrices of ``obsm`` of the first store, and files of as many rows.

    Nobody says in which unit these are.

    Raises
    ------
    InvalidInputError
        If one is missing, is no numeric matrix, or has another number of rows.
    """
    store = first.store
    found = []
    for key in obsm:
        if key not in store.embeddings:
            there = ", ".join(store.embeddings) or "nothing"
            raise InvalidInputError(f"{store.path} has no {key!r} in obsm, but {there}")
        found.append(OtherEmbedding(key, checked_array(store.embedding(key)), False))
    for name, path in files:
        values = _of_file(path)
        if len(values) != store.n_rows:
            raise InvalidInputError(
                f"{path} has {len(values)} rows, {store.path} has {store.n_rows}: give an "
                "embedding of the same rows in the same order"
            )
        found.append(OtherEmbedding(name, values, False))
    return found


def _of_file(path: str) -> Any:
    """Open a matrix; of a table, the numeric columns that do not describe rows."""
    try:
        with open_file(place_of(path)) as file:
            if path.endswith(".npy"):
                values = np.load(file, allow_pickle=False)
            else:
                table = pd.read_parquet(file).select_dtypes("number")
                rule = ColumnRule()
                kept = [
                    name
                    for name, dtype in table.dtypes.items()
                    if rule.is_feature(str(name), True, dtype.kind in "iu")
                ]
                values = table[kept].to_numpy(dtype=np.float64, na_value=np.nan)
    except (OSError, EOFError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read: {first_line(error)}") from error
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not values.shape[1]:
        raise InvalidInputError(
            f"{path} has shape {values.shape} and type {values.dtype}: give a numeric matrix of "
            "rows by components"
        )
    return values


class PeerMethods:
    """Other methods that are asked to correct the raw scores.

    Parameters
    ----------
    names : sequence of str
        Of ``PEERS``.
    python : str or None
        Interpreter that has them; ``None`` for this one.
    first : EvaluatedStore
        Whose raw scores they correct.
    control : str or None
        Query for the negative controls.

    Attributes
    ----------
    names : list of str
        Each once.

    Raises
    ------
    InvalidInputError
        If raw scores are not known, or a method is not known, not installed or lacks controls.
    """

    def __init__(
        self, names: Sequence[str], python: str | None, first: EvaluatedStore, control: str | None
    ) -> None:
        self.names = list(dict.fromkeys(names))
        self._peers = Peers(python or sys.executable)
        self._first = first
        self._control = control
        for name in self.names:
            self._require(name, python or sys.executable)
        if self.names and first.before is None:
            raise InvalidInputError(
                f"other methods correct raw scores, and those of {first.store.path} are not there: "
                "give its input as the first store"
            )

    def _require(self, name: str, python: str) -> None:
        if name not in PEERS:
            raise InvalidInputError(f"{name!r} is none of the other methods: {', '.join(PEERS)}")
        if name in OF_CONTROLS and self._control is None:
            raise InvalidInputError(
                f"{name} needs negative controls: name them by {setting('control')}"
            )
        program = self._peers.programs[PEERS[name]]
        if program.version is None:
            raise InvalidInputError(
                f"{name} needs {program.module}, which {python} does not have: {python} -m pip "
                f"install {program.package}, or give another Python by {setting('peers_python')}"
            )

    def versions(self) -> dict[str, str]:
        """Versions of the packages that are asked, by their names."""
        programs = [self._peers.programs[PEERS[name]] for name in self.names]
        return {one.package: str(one.version) for one in programs}

    def corrected(
        self, batch_keys: Sequence[str], seed: int, tell: OnStage
    ) -> Iterator[OtherEmbedding]:
        """Correct the raw scores of all rows by every method.

        Raises
        ------
        RunError
            If a method fails, or gives other rows.
        """
        store, before = self._first.store, self._first.before
        if not self.names or before is None:
            return
        tell(Stage("reading raw scores"))
        raw = read_raw(before)
        batch = joint_batches(store, batch_keys)
        named = np.array(batch.names)[batch.codes]
        controls = None if self._control is None else named_rows(store.obs, self._control)
        for name in self.names:
            tell(Stage(f"correcting by {name}"))
            found = self._peers.answer(PEERS[name], raw, named, seed, controls).embedding
            if found.ndim != 2 or len(found) != len(raw):
                raise RunError(f"{name} gave an array of shape {found.shape} for {len(raw)} rows")
            yield OtherEmbedding(name, found, name not in WHITENING)
