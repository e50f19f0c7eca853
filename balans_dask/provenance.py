"""What a run is, and what a store says about the run that made it."""

import platform
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

import numpy as np
from anndata.io import read_elem
from numpy.typing import NDArray

from balans_dask.examine import Examined
from balans_dask.fitting import Fit
from balans_dask.inputs import Inputs
from balans_dask.io.store import ProfileStore
from balans_dask.parameters import Parameters
from balans_dask.passes.blas import blas_fingerprint

__all__ = ["correction_record", "differences", "fingerprint", "record_of", "run_identity"]

PACKAGES = ("balans_dask", "anndata", "dask", "distributed", "numba", "numpy", "scipy", "zarr")
ARITHMETIC = ("balans_dask", "numba", "numpy", "scipy")
"""Packages whose version may change a bit of the output."""
FACTS = {"parameters", "versions", "fingerprint", "stop_reason", "n_sampled", "coverage_curve"}
"""What no record of ours lacks."""


def run_identity(
    inputs: Inputs,
    parameters: Parameters,
    examined: Examined,
    batch_keys: tuple[str, ...],
    basis: str | None,
) -> dict[str, Any]:
    """Everything that decides the output, by name; nothing of workers, memory or verbosity.

    Two runs of the same identity make the same store; a run continues only one of its own.
    """
    labels = inputs.labels
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


def record_of(fitted: Fit, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a store says about its correction: nothing that differs between equal runs."""
    sampled, labels = fitted.sampled, fitted.inputs.labels
    given = {k: v for k, v in fitted.parameters.as_dict().items() if v is not None}
    constant = np.flatnonzero(fitted.examined.features.constant).tolist()
    return {
        "parameters": given | {"batch_key": identity["batch_key"], "basis": identity["basis"]},
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "arithmetic": blas_fingerprint(),
        "fingerprint": fingerprint(identity),
        "stop_reason": sampled.stop_reason,
        "n_sampled": sampled.n_sampled,
        "n_uncovered": sampled.curve[-1].n_rows - sampled.curve[-1].n_covered,
        "sampled_rows": sampled.rows,
        "coverage_curve": {
            "n_sampled": np.array([point.n_sampled for point in sampled.curve]),
            "n_covered": np.array([point.n_covered for point in sampled.curve]),
        },
        "batches": _texts(labels.names),
        "batch_sizes": labels.sizes,
        "clamped_batches": _texts(labels.clamped(fitted.parameters.n_neighbors)),
        "constant_features": _texts([fitted.inputs.feature_names[i] for i in constant]),
    }


def correction_record(store: ProfileStore) -> dict[str, Any] | None:
    """Read what ``correct_store`` recorded in a store; ``None`` for any other store."""
    if "uns/balans" not in store.root:
        return None
    record = read_elem(store.root["uns/balans"])
    return record if isinstance(record, dict) and record.keys() >= FACTS else None


def _texts(texts: Sequence[str]) -> NDArray[np.object_]:
    """Text of any length; an array of fixed width would be as wide as the longest."""
    return np.array([*texts, None], dtype=object)[:-1]


def _hash(*parts: str) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()
