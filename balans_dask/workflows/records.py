"""What a run is, and what a store says about the run that made it."""

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib import metadata
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.files import network_errors
from balans_dask.io.run_folder import RunFolder
from balans_dask.io.store import ProfileStore
from balans_dask.kernels._blas import blas_fingerprint
from balans_dask.kernels.projection import Projection
from balans_dask.labels import SPELLING, BatchLabels
from balans_dask.model.bounds import record_fault
from balans_dask.model.inputs import CheckedInput, Inputs
from balans_dask.model.pass_data import Preprocessor
from balans_dask.model.sampler import SamplerState
from balans_dask.parameters import PAPER, Parameters
from balans_dask.passes.sphering import SHRINKAGE
from balans_dask.workflows.sharing import sharing_facts

__all__ = [
    "as_config",
    "correction_record",
    "differences",
    "fingerprint",
    "model_record",
    "package_versions",
    "read_events",
    "record_of",
    "recorded_keys",
    "run_identity",
    "said_of_sphering",
    "sampling_record",
    "texts",
]

WRITTEN_NONE = {"n_components": 0, "max_scale_ratio": "none"}
"""What the command line calls ``None``; other parameters are left out then."""
PACKAGES = ("balans_dask", "anndata", "dask", "distributed", "numba", "numpy", "scipy", "zarr")
ARITHMETIC = ("balans_dask", "numba", "numpy", "scipy")
"""Packages whose version may change a bit of the output."""
SCALE_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
FACTS = {
    "parameters",
    "versions",
    "fingerprint",
    "preprocessor",
    "stop_reason",
    "n_sampled",
    "coverage_curve",
}
"""What no record of ours lacks."""


def as_config(
    parameters: Parameters | None,
    batch_keys: Sequence[str],
    basis: str | None = None,
    anchor: str | None = None,
    batch_order: bool = False,
) -> str:
    """Return the options of a run as TOML; nothing of where it ran, which changes no output.

    Parameters
    ----------
    parameters : Parameters or None
        ``None`` where they are those of a model.
    batch_order : bool
        The keys took turns, and the passes are those of all keys together.
    """
    given = {} if parameters is None else parameters.as_dict()
    given.pop("keys_in_turn", None)
    if PAPER.items() <= given.items():
        given["paper"] = True
    # Of Python alone, but for the paper.
    given.pop("correct_single_batch", None)
    if given.get("shared_populations") is True:
        given["shared_populations"] = "yes"
    if batch_order:
        given |= {"batch_order": True}
    given = {
        name: WRITTEN_NONE.get(name) if value is None else value for name, value in given.items()
    }
    options = {"batch_key": list(batch_keys), "basis": basis, "anchor": anchor} | given
    return tomli_w.dumps(
        {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    )


def run_identity(
    inputs: Inputs,
    parameters: Parameters,
    examined: CheckedInput,
    batch_keys: tuple[str, ...],
    basis: str | None,
    anchor: str | None = None,
) -> dict[str, Any]:
    """Everything that decides the output, by name; nothing of workers, memory or verbosity.

    Two runs of the same identity make the same store; a run continues only one of its own.
    """
    labels = inputs.labels
    chosen = inputs.reference
    anchors = {} if chosen is None else {"anchor": anchor, "anchors": _hash(chosen.tobytes().hex())}
    controls = {}
    if inputs.controls is not None:
        controls["controls"] = _hash(inputs.controls.tobytes().hex())
    arithmetic = [f"{name} {version(name)}" for name in ARITHMETIC]
    return {
        "values": examined.features.fingerprint,
        "embedding": examined.scored.fingerprint,
        "type": inputs.features.dtype.str,
        "features": _hash(*inputs.feature_names),
        "labels": _hash(labels.codes.tobytes().hex(), *labels.names),
        "batch_key": list(batch_keys),
        "basis": basis or "X",
        "arithmetic": arithmetic + blas_fingerprint(),
        **anchors,
        **controls,
        **{name: value for name, value in parameters.as_dict().items() if value is not None},
    }


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Hash of a run's identity."""
    return _hash(*(f"{name}={identity[name]!r}" for name in sorted(identity)))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say by name where two identities differ."""
    return [
        f"{name} was {old.get(name, 'not set')}, is {new.get(name, 'not set')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def model_record(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model says about the run that fitted it."""
    return {
        "batch_key": identity["batch_key"],
        "basis": identity["basis"],
        "anchor": identity.get("anchor"),
        "spelling": SPELLING,
        "versions": package_versions(),
        "arithmetic": blas_fingerprint(),
        "fingerprint": fingerprint(identity),
    }


def record_of(
    inputs: Inputs,
    parameters: Parameters,
    preprocessor: Preprocessor,
    identity: Mapping[str, Any],
    n_uncovered: int,
    passes: Sequence[Mapping[str, Any]],
    source: str | None,
) -> dict[str, Any]:
    """Return what a store says about its correction.

    Nothing of it differs between equal runs but ``input``, which only says where the input is.

    Parameters
    ----------
    preprocessor : Preprocessor
        With which anyone can make the scores of the input, and of other rows, as they were.
    identity : mapping
        By ``run_identity``.
    n_uncovered : int
        Rows that no landmark covers, in some pass.
    passes : sequence of mapping
        By ``sampling_record``, or of the model; the last one speaks for the run.
    source : str or None
        Path of the input, from the folder that holds the output; ``None`` if it has none.
    """
    labels = inputs.labels
    given = {k: v for k, v in parameters.as_dict().items() if v is not None}
    chosen = {
        key: identity[key]
        for key in ("batch_key", "batch_order", "basis", "anchor")
        if key in identity
    }
    record: dict[str, Any] = {} if source is None else {"input": source}
    record |= {
        "parameters": given | chosen,
        "configuration": _configuration(parameters, identity),
        "versions": package_versions(),
        "arithmetic": blas_fingerprint(),
        "fingerprint": fingerprint(identity),
        "preprocessor": preprocessor.projection.arrays(),
        "n_uncovered": n_uncovered,
        "batches": texts(labels.names),
        "batch_sizes": labels.sizes,
        "clamped_batches": texts(labels.clamped(parameters.n_neighbors)),
        "constant_features": texts(
            [inputs.feature_names[i] for i in np.flatnonzero(preprocessor.constant).tolist()]
        ),
        **passes[-1],
    }
    if "model" in identity:
        record["model"] = identity["model"]
    if said := sharing_facts(record):
        record["sharing"] = "; ".join(f"{name}: {value}" for name, value in said.items())
    earlier = {f"pass_{number + 1}": dict(facts) for number, facts in enumerate(passes[:-1])}
    return record | ({"earlier_passes": earlier} if earlier else {})


def _configuration(parameters: Parameters, identity: Mapping[str, Any]) -> str:
    """Options that make the same output of the same input."""
    keys, anchor = identity["batch_key"], identity.get("anchor")
    if "model" in identity:
        return as_config(None, keys, anchor=anchor)
    basis = None if identity["basis"] == "X" else identity["basis"]
    return as_config(parameters, keys, basis, anchor, "batch_order" in identity)


def sampling_record(
    sampled: SamplerState, labels: BatchLabels, projection: Projection
) -> dict[str, Any]:
    """Return what a store says about the landmarks of one pass.

    Parameters
    ----------
    projection : Projection
        Its unit is that of the stored scales.
    """
    batch = labels.codes[sampled.rows]
    new = np.zeros(labels.n_batches, dtype=np.int64)
    np.add.at(new, batch, sampled.n_new)
    return {
        "stop_reason": sampled.stop_reason,
        "n_sampled": sampled.n_sampled,
        "n_capped": sampled.n_capped,
        **sampled.facts,
        "sampled_rows": sampled.rows,
        "n_kept": sampled.n_kept,
        "n_new": sampled.n_new,
        "drawn_by_batch": np.bincount(batch, minlength=labels.n_batches),
        "new_by_batch": new,
        "scale_quantiles": _scale_quantiles(sampled, labels.n_batches) * projection.unit,
        "coverage_curve": {
            "n_sampled": np.array([point.n_sampled for point in sampled.curve]),
            "n_covered": np.array([point.n_covered for point in sampled.curve]),
        },
    }


def said_of_sphering(facts: Mapping[str, Any]) -> str:
    """Say in a line by how many controls rows were sphered, and how much these were shrunk."""
    shares = [
        f"{float(value):.3g} of {name.removeprefix(SHRINKAGE)}"
        for name, value in facts.items()
        if name.startswith(SHRINKAGE)
    ]
    said = f"{int(facts['n_controls']):,} controls"
    return f"{said}, shrinkage {' and '.join(shares)}" if shares else said


def _scale_quantiles(sampled: SamplerState, n_batches: int) -> NDArray[np.float64]:
    """Quantiles of the landmarks' local scales, a row for every batch.

    One batch after another: the driver never holds a second table of landmarks by batches.
    """
    columns = ([block.scales[:, batch] for block in sampled.blocks] for batch in range(n_batches))
    return np.array([np.quantile(np.sqrt(np.concatenate(c)), SCALE_QUANTILES) for c in columns])


@cache
def version(package: str) -> str:
    """Version of a package; to find it takes milliseconds."""
    return metadata.version(package)


def package_versions() -> dict[str, str]:
    """Versions of this package and of what its results depend on."""
    found = {name: version(name) for name in PACKAGES}
    return found | {"python": platform.python_version()}


def correction_record(store: ProfileStore) -> dict[str, Any] | None:
    """Read what ``correct_store`` recorded in a store; ``None`` for any other store.

    Raises
    ------
    InvalidInputError
        If a fact is of another type or shape than the others ask for.
    """
    if "uns/balans" not in store.root:
        return None
    record = store.element("uns/balans")
    if not (isinstance(record, dict) and record.keys() >= FACTS):
        return None
    chosen = record["parameters"]
    from_features = isinstance(chosen, dict) and chosen.get("basis") == "X"
    fault = record_fault(record, store.features.shape[1] if from_features else None)
    if fault:
        raise InvalidInputError(
            f"{store.path} is damaged, or not of a correction (uns/balans: {fault}): restore it, "
            "or correct its input again"
        )
    return record


def recorded_keys(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of ``obs`` that made the batches of a correction."""
    return tuple(str(key) for key in np.atleast_1d(record["parameters"]["batch_key"]))


def read_events(output: str) -> list[dict[str, Any]]:
    """Read the events of an output; none if the file is missing, without lines that are torn."""
    events = []
    with suppress(*network_errors()):
        for line in RunFolder(output).published_events.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
    return events


def texts(values: Sequence[str]) -> NDArray[np.object_]:
    """Text of any length; an array of fixed width would be as wide as the longest."""
    return np.array([*values, None], dtype=object)[:-1]


def _hash(*parts: str) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()
