"""Runs that begin or end with a table: it is converted, corrected and written in one folder."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from balans_dask.errors import InvalidInputError, StoreExistsError
from balans_dask.io.atomic import read_json, sync_folder, write_json
from balans_dask.io.files import files_below, remove_file, remove_tree
from balans_dask.io.paths import (
    H5AD,
    is_store,
    require_apart,
    require_exists,
    require_free_file,
    table_suffix,
)
from balans_dask.io.places import is_remote, place_of, reaching, require_writable, resolved
from balans_dask.io.run_folder import RunFolder
from balans_dask.io.store import ProfileStore, open_store
from balans_dask.io.tables.columns import ColumnRule
from balans_dask.workflows.records import correction_record
from balans_dask.workflows.request import ADDED_COLUMNS

__all__ = ["Ends", "TableFolder", "ends_of", "is_table"]

MARKED = (
    *("fingerprint", "model", "stop_reason", "n_sampled", "n_capped", "n_uncovered"),
    *("rho", "kappa", "batches"),
)
"""Facts of a record by which a table is known again, and what is told of it then."""


class ToldFolder(RunFolder):
    """A folder that tells of its store while what was converted is still beside it.

    Parameters
    ----------
    target : str
        Path of the output.
    on_written : callable
        Told where the finished store is, before it moves or goes.
    """

    def __init__(self, target: str, on_written: Callable[[str], None]) -> None:
        super().__init__(target)
        self._on_written = on_written

    def publish(self, replace: bool) -> None:
        """Tell of the store, and publish it."""
        self._on_written(str(self.last.store))
        super().publish(replace)


class TableFolder(ToldFolder):
    """The folder in which a store grows that becomes a table, and goes.

    Parameters
    ----------
    target : str
        Path of the table.
    suffix : str
        Its format.
    source : str or None
        Table that has the columns; ``None`` for those of the store.
    rule : ColumnRule
        By which the source was converted.
    on_written : callable
        As ``ToldFolder`` has it.
    """

    def __init__(
        self,
        target: str,
        suffix: str,
        source: str | None,
        rule: ColumnRule,
        on_written: Callable[[str], None],
    ) -> None:
        super().__init__(target, on_written)
        self._suffix = suffix
        self._source = source
        self._rule = rule

    def check(self, replace: bool, inputs: tuple[str, ...] = ()) -> None:
        """Refuse the place of the table, unless nothing is there or a file to be replaced."""
        require_apart(self.given, inputs)
        self.require_ours()
        require_free_file(self.given, replace)

    def mark(self) -> Mapping[str, Any] | None:
        """Read what the table in the place says of its correction, if it is of one."""
        from balans_dask.io.tables.table_file import mark_of  # noqa: PLC0415  (slow to import)

        return mark_of(self.target, self._suffix) if self.target.is_file() else None

    def publish(self, replace: bool) -> None:
        """Write the finished store as a table, move that to its place, and remove the folder.

        Raises
        ------
        StoreExistsError
            If something has appeared in the place that may not be replaced; nothing is lost.
        """
        self._write()
        require_free_file(str(self.target), replace)
        self.table.replace(self.target)
        sync_folder(self.target.parent)
        self._on_written(str(self.last.store))
        self.discard()

    def discard_remains(self) -> None:
        """Remove what a run killed just after it had published left behind."""
        self.discard()

    def _write(self) -> None:
        from balans_dask.io.tables.table_file import (  # noqa: PLC0415  (slow to import)
            as_exported,
            columns_as_given,
            write_h5ad,
            write_table,
        )

        whole = open_store(str(self.last.store))
        facts = correction_record(whole) or {}
        mark = {name: facts[name] for name in MARKED if name in facts}
        # Whether there are several is all that matters of them here.
        mark["batches"] = [str(name) for name in facts["batches"][:2]]
        if self._suffix == H5AD:
            write_h5ad(whole, self.table, mark)
            return
        store = replace(whole, obs=whole.obs.drop(columns=list(ADDED_COLUMNS)))
        if self._source is None:
            columns = as_exported(store)
        else:
            columns = columns_as_given(self._source, self._rule, store, self._suffix, ADDED_COLUMNS)
            if _state(self._source, self._rule) != read_json(self.of_source):
                raise InvalidInputError(
                    f"{self._source} has changed while it was corrected: restore it, and continue "
                    "with --resume, or begin afresh with --overwrite"
                )
        write_table(store, columns, self.table, self._suffix, mark)


@dataclass(frozen=True)
class Ends:
    """Where a run begins and ends.

    Attributes
    ----------
    source : str
        As the user gave it.
    store : str
        What is corrected: the source, or what a table was converted to.
    folder : RunFolder
        Where the output grows.
    """

    source: str
    store: str
    folder: RunFolder

    def opened(self, limit_bytes: int | None) -> ProfileStore:
        """Open what is corrected, under the name that the user knows."""
        return replace(open_store(self.store, limit_bytes), path=self.source, at=self.store)


def is_table(path: str) -> bool:
    """Tell a table, or a folder of tables, from a store."""
    if is_store(path):
        return False
    from balans_dask.io.tables.folders import is_table_file  # noqa: PLC0415  (slow to import)

    if is_table_file(path):
        return True
    place = place_of(path)
    with reaching(path):
        return place.is_dir() and any(map(is_table_file, files_below(place)))


@contextmanager
def ends_of(
    source: str,
    target: str,
    rule: ColumnRule,
    overwrite: bool,
    resume: bool,
    on_converted: Callable[[str], None],
    on_written: Callable[[str], None] = lambda path: None,
) -> Iterator[Ends]:
    """Hold what a run begins and ends with, converting a table first.

    Parameters
    ----------
    source, target : str
        Stores or tables.
    rule : ColumnRule
        Which columns of a table are features.
    overwrite, resume : bool
        As ``WriteOptions`` has them. A conversion that an interrupted run has finished is taken as
        it is, if its table has not changed since.
    on_converted : callable
        Told what was found in a table.
    on_written : callable
        Told where a finished store is that comes of a table or becomes one, while both are there.

    Raises
    ------
    InvalidInputError
        If the table cannot be used, or nothing can be written that is called so; nothing is left.
    StoreExistsError
        If the target exists, or an unfinished run is there that is not to be continued.
    """
    # What is added to a store may have any name.
    suffix = None if target == source else table_suffix(target)
    table = source if is_table(source) else None
    if source.lower().endswith(H5AD):
        rule = ColumnRule()  # it says itself what its features are
    folder = RunFolder(target) if table is None else ToldFolder(target, on_written)
    if suffix is not None:
        folder = TableFolder(target, suffix, table, rule, on_written)
    if table is None:
        yield Ends(source, source, folder)
        return
    require_exists(table)
    require_apart(target, (source,))
    with reaching(target):
        require_writable(folder.target)
    if not resume:
        folder.check(overwrite, (source,))
        folder.require_droppable(overwrite)
    with folder.held():
        try:
            _convert(folder, table, rule, resume, on_converted)
            yield Ends(source, str(folder.converted), folder)
        except (InvalidInputError, StoreExistsError):
            if not folder.begun:
                remove_tree(folder.converted)
            raise


def _convert(
    folder: RunFolder,
    source: str,
    rule: ColumnRule,
    resume: bool,
    on_converted: Callable[[str], None],
) -> None:
    from balans_dask.io.tables.convert import convert_table  # noqa: PLC0415  (slow to import)

    state = _state(source, rule)
    is_known = state is not None and state == read_json(folder.of_source)
    if resume and is_known and is_store(folder.converted):
        return
    remove_file(folder.of_source)
    found = convert_table(source, str(folder.converted), overwrite=True, rule=rule)
    if state is not None:
        write_json(folder.of_source, state)
    on_converted(f"{found.n_rows:,} rows x {found.n_features:,} features")


def _state(source: str, rule: ColumnRule) -> dict[str, Any] | None:
    """Return what tells a table from one that was changed; ``None`` in a bucket."""
    place = resolved(place_of(source))
    if is_remote(place):
        return None
    files = [place / name for name in sorted(files_below(place))] or [place]
    facts = {str(file): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    return {"files": facts, "rule": {name: list(given) for name, given in asdict(rule).items()}}
