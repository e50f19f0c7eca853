"""Stores to evaluate: whether they hold the same rows, and what each was made from."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.errors import InputWarning, InvalidInputError, public, setting, warn_of_input
from balans_dask.io.in_place import ELEMENTS
from balans_dask.io.paths import is_store, leads_away, path_beside
from balans_dask.io.store import ProfileStore, open_store
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.kernels.projection import Projection
from balans_dask.model.fit import fit_preprocessor
from balans_dask.model.inputs import check_input
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.threads import embedded_engine
from balans_dask.tiling import tile_slices
from balans_dask.workflows.records import correction_record, recorded_keys
from balans_dask.workflows.request import SCORES_KEY, correction_request

__all__ = [
    "RAW",
    "EvaluatedStore",
    "RawScores",
    "corrected_by",
    "corrected_scores",
    "default_scores",
    "open_stores",
    "project",
    "recorded_scores",
]


RAW = "raw"


@dataclass(frozen=True)
class RawScores:
    """Where the scores before a correction come from.

    Attributes
    ----------
    store : ProfileStore
        The input.
    basis : str or None
        Embedding of the input in which distances were taken.
    projection : Projection
    """

    store: ProfileStore
    basis: str | None
    projection: Projection

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """Equal for corrections of one input by one preprocessor."""
        digest = blake2b()
        for array in self.projection.arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return self.store.path, self.basis, digest.hexdigest()

    @property
    def matrix(self) -> zarr.Array:
        """What is projected."""
        return self.store.features if self.basis is None else self.store.embedding(self.basis)


def recorded_scores(store: ProfileStore, record: Mapping[str, Any]) -> RawScores:
    """Take the preprocessor that a correction recorded.

    Parameters
    ----------
    store : ProfileStore
        The input.
    record : mapping
        By ``correction_record``.
    """
    basis = str(record["parameters"]["basis"])
    projection = Projection.from_arrays(record["preprocessor"])
    return RawScores(store, None if basis == "X" else basis, projection)


def default_scores(store: ProfileStore, batch_keys: Sequence[str]) -> RawScores:
    """Fit the preprocessor that a correction would have by default: out of core, on threads."""
    # No memory is planned for landmarks that nobody draws.
    run = correction_request(store, tuple(batch_keys), Parameters(max_rows=1))
    # What is odd about the input is said when it is corrected.
    opened = embedded_engine()
    with warnings.catch_warnings(), opened as engine, single_threaded_blas():
        warnings.simplefilter("ignore", InputWarning)
        plan = plan_run(run.inputs, run.parameters, engine.workers())
        examined = check_input(engine, run.inputs, run.parameters, plan.tiling)
        projection = fit_preprocessor(engine, run.inputs, run.parameters, plan, examined)
    return RawScores(store, None, projection)


def project(projection: Projection, values: NDArray[np.number]) -> NDArray[np.float64]:
    """Scores of any number of rows."""
    tiles = [projection.scores(values[tile]) for tile in tile_slices(len(values))]
    return np.concatenate(tiles).astype(np.float64)


@dataclass(frozen=True)
class EvaluatedStore:
    """A store of a correction, or the input of one.

    Attributes
    ----------
    name : str
        In the table.
    store : ProfileStore
    corrected : zarr.Array or None
        Its corrected scores; ``None`` for an input.
    projection : Projection
        Its preprocessor.
    before : RawScores or None
        How its scores looked before; ``None`` if its input is not known or not asked for.
    is_in_unit : bool
        Whether its scores are in the unit of those before; sphered ones are not.
    """

    name: str
    store: ProfileStore
    corrected: zarr.Array | None
    projection: Projection
    before: RawScores | None
    is_in_unit: bool = True


def open_stores(
    paths: Sequence[str], batch_keys: Sequence[str], raw: bool = True
) -> list[EvaluatedStore]:
    """Open the stores of an evaluation; reads no profile.

    Parameters
    ----------
    paths : sequence of str
        Stores that `balans correct` or `balans transform` wrote. The first may be their input.
    batch_keys : sequence of str
        Of an input without any correction.
    raw : bool
        Find the inputs that the stores name.

    Raises
    ------
    InvalidInputError
        If a store cannot be read, has other rows than the first, or is neither corrected nor first.
    """
    stores = [open_store(path) for path in paths]
    for store in stores[1:]:
        _require_same_rows(stores[0], store)
    records = [correction_record(store) for store in stores]
    for path, record in list(zip(paths, records, strict=True))[1:]:
        if record is None:
            raise InvalidInputError(
                f"{path} says nothing of a correction: give it first if it is the input of the "
                "others, or write it by `balans correct`"
            )
    names = _names(paths)
    given = stores[0] if records[0] is None else None
    found = []
    for name, store, record in zip(names, stores, records, strict=True):
        if record is not None:
            before = _before(store, record, given) if raw or given is not None else None
            projection = Projection.from_arrays(record["preprocessor"])
            scores = corrected_scores(store, record)
            in_unit = record["parameters"].get("sphering") is None
            found.append(EvaluatedStore(name, store, scores, projection, before, in_unit))
    if given is not None:
        first = found[0].before if found else None
        first = default_scores(given, batch_keys) if first is None else first
        found.insert(0, EvaluatedStore(RAW, given, None, first.projection, first))
    return found


def corrected_by(paths: Sequence[str]) -> tuple[str, ...]:
    """Find the columns of ``obs`` that made the batches of some corrections.

    Raises
    ------
    InvalidInputError
        If no store says it, or they do not agree.
    """
    found: dict[tuple[str, ...], str] = {}
    for path in paths:
        record = correction_record(open_store(path))
        if record is not None:
            found.setdefault(recorded_keys(record), path)
    if not found:
        raise InvalidInputError(
            f"{paths[0]} says nothing of a correction, and so of batches: give "
            f"{setting('batch_keys')}"
        )
    if len(found) > 1:
        told = " and ".join(f"{path} by {'+'.join(keys)}" for keys, path in found.items())
        raise InvalidInputError(
            f"batches are not the same everywhere ({told}): say by {setting('batch_keys')} which "
            "are scored"
        )
    return next(iter(found))


def _names(paths: Sequence[str]) -> list[str]:
    """Names of the files where they tell the stores apart, else the paths."""
    told = [public(str(path)) for path in paths]
    names = [Path(path).name.removesuffix(".zarr") for path in told]
    taken = len(set(names)) < len(names) or RAW in names
    return told if taken else names


def _require_same_rows(first: ProfileStore, other: ProfileStore) -> None:
    if first.n_rows != other.n_rows:
        raise InvalidInputError(
            f"{other.path} has {other.n_rows} rows, {first.path} has {first.n_rows}: evaluate "
            "stores of the same rows"
        )
    n_other = int((first.obs.index.to_numpy() != other.obs.index.to_numpy()).sum())
    if n_other:
        raise InvalidInputError(
            f"{other.path} names {n_other} of its {other.n_rows} rows otherwise than {first.path}: "
            "evaluate stores of the same rows in the same order"
        )


def corrected_scores(store: ProfileStore, record: Mapping[str, Any]) -> zarr.Array:
    """Find the corrected scores: of the basis, of the components, or X itself.

    Parameters
    ----------
    store : ProfileStore
        Of a correction.
    record : mapping
        By ``correction_record``.
    """
    added = [str(name).removeprefix("obsm/") for name in np.atleast_1d(record.get(ELEMENTS, []))]
    for key in (*added, f"{record['parameters']['basis']}_balans", SCORES_KEY):
        if key in store.embeddings:
            return store.embedding(key)
    return store.features


def _before(
    store: ProfileStore, record: Mapping[str, Any], given: ProfileStore | None
) -> RawScores | None:
    source = _input_of(store, record) if given is None else given
    if source is None:
        return None
    _require_same_rows(store, source)
    return recorded_scores(source, record)


def _input_of(store: ProfileStore, record: Mapping[str, Any]) -> ProfileStore | None:
    remedy = "give the input as the first store to compare with raw scores"
    if "input" not in record and ELEMENTS in record:
        return store
    if "input" not in record:
        warn_of_input(f"{store.path} does not say where its input is: {remedy}")
        return None
    recorded = str(record["input"])
    if leads_away(store.path, recorded):
        warn_of_input(
            f"the input of {store.path} is at {public(recorded)}, and such a record is not "
            f"followed: {remedy}"
        )
        return None
    path = path_beside(store.path, recorded)
    if not is_store(path):
        warn_of_input(f"{path}, the input of {store.path}, is not there: {remedy}")
        return None
    return open_store(path)
