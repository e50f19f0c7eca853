"""Turning a table into a store, slab by slab."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.layout import create_matrix, row_layout, write_annotations
from balans_dask.io.output import OutputStore, write_shards
from balans_dask.io.places import place_of, resolved
from balans_dask.io.tables.annotations import joined_annotations
from balans_dask.io.tables.columns import ColumnRule, warn_of_unnamed
from balans_dask.io.tables.folders import open_table
from balans_dask.io.tables.row_stream import RowStream, Slab
from balans_dask.io.trial import FEW, try_annotations

__all__ = ["Converted", "convert_table"]


@dataclass(frozen=True)
class Converted:
    """What a conversion found.

    Attributes
    ----------
    n_rows : int
    features : list of str
    annotations : list of str
        Columns of ``obs``.
    described : list of str
        Those of numbers, but for those whose prefix says that they describe rows.
    n_bad_features, n_bad_rows : int
        Features and rows with a NaN or infinite value.
    left_out : list of str
        Columns that the store does not hold.
    """

    n_rows: int
    features: list[str]
    annotations: list[str]
    described: list[str]
    n_bad_features: int
    n_bad_rows: int
    left_out: list[str]

    @property
    def n_features(self) -> int:
        """How many there are."""
        return len(self.features)


class _GrowingMatrix:
    """A matrix whose number of rows is known only at the end of the stream.

    Rows are collected until they fill a shard. A stream that ends before that makes a matrix with
    chunks of its own size.
    """

    def __init__(self, root: zarr.Group, name: str, n_columns: int) -> None:
        self._root = root
        self._name = name
        self._n_columns = n_columns
        self._array: zarr.Array | None = None
        self._shard_rows = row_layout(None, 4 * n_columns)[1]
        self._waiting: list[NDArray[np.float32]] = []
        self._n_waiting = 0

    def push(self, rows: NDArray[np.float32]) -> None:
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        if self._n_waiting > self._shard_rows:
            rows = np.concatenate(self._waiting)
            whole = len(rows) // self._shard_rows * self._shard_rows
            self._write(rows[:whole], None)
            self._waiting, self._n_waiting = [rows[whole:]], len(rows) - whole

    def finish(self) -> None:
        rows = np.concatenate(self._waiting)
        if len(rows) or self._array is None:
            self._write(rows, len(rows) if self._array is None else None)

    def _write(self, rows: NDArray[np.float32], n_rows: int | None) -> None:
        if self._array is None:
            layout = row_layout(n_rows, 4 * self._n_columns)
            shape = (0, self._n_columns)
            self._array = create_matrix(self._root, self._name, shape, np.dtype(np.float32), layout)
        start = int(self._array.shape[0])
        self._array.resize((start + len(rows), self._n_columns))
        write_shards(self._array, start, rows)


def convert_table(
    source: str,
    target: str,
    overwrite: bool = False,
    rule: ColumnRule | None = None,
    pattern: str | None = None,
) -> Converted:
    """Write a table of profiles as an AnnData store.

    Parameters
    ----------
    source : str
        A parquet, csv, csv.gz, tsv, tsv.gz or h5ad file, or a folder of parquet or csv files.
    target : str
        The new store.
    overwrite : bool
        Replace a store that is there.
    rule : ColumnRule or None
        Which columns are features; ``None`` for ``ColumnRule()``. Another rule is recorded in
        ``uns/balans_convert``.
    pattern : str or None
        Glob for the files of a folder.

    Raises
    ------
    InvalidInputError
        If the table cannot be used; nothing is left behind.
    StoreExistsError
        If the target exists.

    Notes
    -----
    Memory: a few slabs of 8,192 rows, and all row annotations. From parquet also what its reader
    keeps of a row group: with the dictionary encoding that most writers use, that grows with the
    row group and can exceed its size on disk, so write large tables in many row groups.

    Features are the numeric columns, as float32, but for those named ``Metadata_*`` and for
    integers with one of the words plate, well, batch, site, source, day, week, replicate, id, cid,
    row and column in their name, such as ``PlateID`` and ``site_3``; all others are annotations.
    Row numbers and names that pandas or AnnData saved are annotations too: ``__index_level_0__``
    keeps its name, ``_index`` becomes ``index``, and a column without a name becomes ``Unnamed: 0``
    (at place 0), as in pandas. In names of annotations / becomes _.

    Dates become text in ISO 8601; lists and other nested values become JSON; durations, periods,
    decimals and bytes become text. Integers stay integers beside missing ones. In a folder, a
    column of integers in some files and whole floats in others is one of integers; of numbers and
    text, it is text, and refused if a label is then spelled in two ways (12 and ``0012``).

    The files of a folder follow each other in natural order of their names, at any depth, and must
    be of one step of processing and one format. Where they lie as ``BATCH/PLATE/PLATE*.parquet``,
    as in the Cell Painting Gallery, ``Metadata_Plate``, ``Metadata_Batch`` and (below
    ``SOURCE/workspace/profiles``) ``Metadata_Source`` come from there if a file lacks them. Folders
    named ``NAME=VALUE`` are columns; a file that has one of them with another value is refused.

    In csv, a column is a feature if it is numeric in the first slab (or empty there), and one of
    integers if all its numbers there are. Cells may lie between semicolons or tabs as well, and
    decimals then have a comma. Annotations are read as text, of which only the empty cell is
    missing; a column becomes numbers or booleans at the end if all its values are the usual
    spelling of these, so ``0012`` stays text. In a folder the first file tells which integers
    describe rows.

    Of h5ad, X (dense or csr), obs, var and the dense matrices of obsm are converted; layers, raw,
    uns, varm, obsp and varp are not, and a warning names them.
    """
    with OutputStore(target, overwrite, (source,)) as output:
        stream = open_table(source, rule, pattern)
        place = resolved(place_of(target))
        found = _write_stream(source, stream, output.root, place)
        warn_of_unnamed(source, found.described)
        if rule is not None and rule != ColumnRule():
            write_annotations(output.root, {"uns/balans_convert": _record(rule, found.left_out)})
        return found


def _record(rule: ColumnRule, left_out: list[str]) -> dict[str, Any]:
    """Return what a store says about the columns of its table."""
    prefixes = {name: ", ".join(getattr(rule, name)) for name in rule.__dataclass_fields__}
    if not rule.keys:
        prefixes.pop("keys")
    return {**prefixes, "n_left_out": len(left_out)}


def _try_first(
    source: str, stream: RowStream, slab: Slab, columns: Iterable[str], place: Path
) -> None:
    """Try the annotations and names of a stream by its first rows."""
    obs = stream.obs_complete
    if obs is None:
        first = slab.obs[:FEW].reindex(columns=list(columns))
        obs = joined_annotations(source, [first], stream.untyped, stream.decimal)
    elements = {"obs": obs[:FEW], "var": stream.var[:FEW]}
    try_annotations(source, elements, [f"obsm/{name}" for name in slab.obsm], place)


def _write_stream(source: str, stream: RowStream, root: zarr.Group, place: Path) -> Converted:
    matrices: dict[str, _GrowingMatrix] = {}
    frames: list[pd.DataFrame] = []
    n_rows = n_bad_rows = 0
    bad_features = np.zeros(len(stream.var), dtype=bool)

    def push(name: str, rows: NDArray[np.float32]) -> None:
        if name not in matrices:
            matrices[name] = _GrowingMatrix(root, name, rows.shape[1])
        matrices[name].push(rows)

    tried: dict[str, None] = {}
    for slab in stream.slabs:
        if n_rows == 0 or set(slab.obs.columns) - tried.keys():
            # Some files of a folder may have columns that the others lack.
            tried |= dict.fromkeys(slab.obs.columns)
            _try_first(source, stream, slab, tried, place)
        push("X", slab.features)
        for name, rows in slab.obsm.items():
            push(f"obsm/{name}", rows)
        if stream.obs_complete is None:
            frames.append(slab.obs)
        bad = ~np.isfinite(slab.features)
        bad_features |= bad.any(axis=0)
        n_bad_rows += int(bad.any(axis=1).sum())
        n_rows += len(slab.features)
    if n_rows == 0:
        raise InvalidInputError(f"{source} has no rows: check the file")
    for matrix in matrices.values():
        matrix.finish()
    obs: Any = stream.obs_complete
    if obs is None:
        obs = joined_annotations(source, frames, stream.untyped, stream.decimal)
    write_annotations(root, {"obs": obs, "var": stream.var})
    return Converted(
        n_rows,
        [str(name) for name in stream.var.index],
        list(obs.columns),
        list(stream.described),
        int(bad_features.sum()),
        n_bad_rows,
        list(stream.left_out),
    )
