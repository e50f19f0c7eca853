"""A model as JSON attributes and arrays, and back: what ``io.model_store`` writes."""

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.io.model_store import read_model, write_model
from balans_dask.kernels.operators import OPERATORS, Sphere
from balans_dask.kernels.projection import Projection
from balans_dask.labels import SPELLING
from balans_dask.model.bounds import (
    Sizes,
    Table,
    fault_of,
    landmark_fault,
    projection_fault,
    sphering_fault,
)
from balans_dask.model.frozen import FrozenPass, Model
from balans_dask.model.pass_data import Preprocessor
from balans_dask.model.state import block_arrays, blocks_from
from balans_dask.parameters import Parameters
from balans_dask.passes.sphering import Sphering

__all__ = ["load_model", "pass_arrays", "pass_from", "save_model"]


def _is_share(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((values >= 0.0) & (values <= 1.0))


def _is_square(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((values >= 0.0) & np.isfinite(values))


OPERATOR_TABLES = {
    "sums": Table(np.float64, ("n_landmarks", "n_sums")),
    "spread": Table(np.float64, ("n_landmarks", "n_sums")),
    "moves": Table(np.float32, ("n_batches", "n_landmarks", "n_columns")),
    "targets": Table(np.float64, ("n_landmarks", "n_columns")),
    "factor": Table(np.float64, ("n_batches", "n_columns")),
    "shift": Table(np.float64, ("n_batches", "n_columns")),
    "offsets": Table(np.float64, ("n_batches", "n_columns")),
    "batch_units": Table(
        np.float64, ("n_units",), lambda units: (units > 0.0) & np.isfinite(units), "above 0"
    ),
    "shares": Table(np.float64, (3,), _is_share, "shares"),
    "own_shares": Table(np.float64, ("n_landmarks",), _is_share, "shares"),
    "places": Table(np.float64, ("n_landmarks", "n_columns")),
    "scale_places": Table(np.float64, ("n_landmarks", "n_columns")),
    "common": Table(np.float64, ("n_landmarks", "n_columns"), _is_square, "above 0"),
    "centre": Table(np.float64, ("n_columns",)),
    "mean_logs": Table(np.float64, ("n_columns",)),
}
"""What these arrays may hold: sums have a column of ones, moves one for every corrected column."""
ALIGN_TARGETS = ("own_batch", "batch_units", "shares", "own_shares", "places")
TARGETS = {
    "displace": ("targets",),
    "location": ALIGN_TARGETS,
    "scale": (*ALIGN_TARGETS, "scale_places", "common", "centre", "mean_logs"),
    "local": ALIGN_TARGETS,
}
"""What batches that the fit has not seen need, by step."""
FACTS = {"batch_key": list, "basis": str, "versions": dict, "fingerprint": str}
"""Of the record: what is read of it."""
SPHERE_TABLES = {
    "mean": Table(np.float64, ("n_columns",)),
    "features": Table(np.float64, ("n_features", "n_features")),
    "embedding": Table(np.float64, ("n_embedded", "n_embedded")),
}
SPHERE = "sphere"
"""Where the tables of a sphering are, beside the passes."""


def save_model(model: Model, path: str, overwrite: bool = False) -> None:
    """Write a model to a new store.

    Parameters
    ----------
    overwrite : bool
        Replace a model that is there.

    Raises
    ------
    StoreExistsError
        If something is there already.
    """
    projection = model.preprocessor.projection
    attributes = {
        "parameters": model.parameters.as_dict(),
        "feature_names": list(model.feature_names),
        "n_rows": model.n_rows,
        "n_embedding": model.n_embedding,
        "batches": list(model.batches),
        "total_variance": projection.total_variance,
        "unit": projection.unit,
        "passes": [{"stop_reason": each.stop_reason, "risk": each.risk} for each in model.passes],
        "record": dict(model.record),
    }
    constant = model.preprocessor.constant
    arrays = {"used": projection.used, "mean": projection.mean, "constant": constant}
    if projection.weights is not None:
        arrays["weights"] = projection.weights
    for number, each in enumerate(model.passes):
        arrays |= {f"pass_{number}/{name}": array for name, array in pass_arrays(each).items()}
    if model.sphering is not None:
        attributes["sphering"] = model.sphering.facts
        parts = vars(model.sphering.operator).items()
        arrays |= {f"{SPHERE}/{name}": array for name, part in parts for array in part}
    write_model(path, attributes, arrays, overwrite)


def load_model(path: str) -> Model:
    """Read a model; runs no code from it.

    Raises
    ------
    InvalidInputError
        If there is no model, or it cannot be read, or a table holds what no fit leaves there.
    """
    attributes, arrays = read_model(path)
    try:
        _require_facts(attributes)
        _require_tables(attributes, arrays)
        return _model(attributes, arrays)
    except ValueError as error:
        raise InvalidInputError(
            f"{path} is damaged, or not a model ({error}): restore it"
        ) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is damaged, or not a model ({type(error).__name__}: {error}): restore it"
        ) from error


def pass_arrays(frozen: FrozenPass) -> dict[str, NDArray[Any]]:
    """Everything of one pass that is not text."""
    arrays = block_arrays(frozen.blocks) | {"curve": frozen.curve}
    arrays |= {name: array for name, (array,) in vars(frozen.operator).items()}
    return arrays | frozen.targets


def pass_from(
    arrays: Mapping[str, NDArray[Any]],
    step: str,
    parameters: Parameters,
    stop_reason: str,
    risk: float,
) -> FrozenPass:
    """Restore one pass.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        By ``pass_arrays``.
    """
    operator = OPERATORS[step]
    return FrozenPass(
        blocks=blocks_from(arrays, parameters.block_rows),
        operator=operator(*([arrays[field.name]] for field in fields(operator))),
        targets={name: arrays[name] for name in TARGETS.get(step, ())},
        curve=arrays["curve"],
        stop_reason=stop_reason,
        risk=risk,
    )


def _require_facts(attributes: Mapping[str, Any]) -> None:
    """Refuse facts that are no text, number or list, as they should be, or contradict each other.

    Raises
    ------
    ValueError
    """
    parameters = Parameters(**attributes["parameters"])
    passes = attributes["passes"]
    for name in ("batches", "feature_names"):
        names = attributes[name]
        if not (isinstance(names, list) and names and all(isinstance(n, str) for n in names)):
            raise ValueError(f"{name} is not a list of names")
    n_same = len(attributes["batches"]) - len(set(attributes["batches"]))
    # Earlier versions could give one name to several batches.
    if n_same and attributes["record"].get("spelling") == SPELLING:
        raise ValueError(f"{n_same} of {len(attributes['batches'])} batches are there twice")
    is_weighted = attributes["n_embedding"] is None and parameters.n_components is not None
    if is_weighted and len(passes) > 1 and "n_rows" not in attributes:
        raise ValueError("an earlier version fitted it, in which scores took every step: fit again")
    for name in ("n_embedding", "n_rows"):
        count = attributes.get(name)
        if not (count is None or (isinstance(count, int) and count is not True and count > 0)):
            raise ValueError(f"{name} is {count!r}, not a number of columns or rows")
    if len(passes) != len(parameters.alignment):
        raise ValueError(f"{len(passes)} passes are there, of {len(parameters.alignment)}")
    spheres = parameters.sphering is not None
    if spheres != ("sphering" in attributes):
        raise ValueError("a sphering is there, of none" if not spheres else "sphering is missing")
    if spheres and (fault := sphering_fault(attributes["sphering"])):
        raise ValueError(fault)
    for each in passes:
        risk = each["risk"]
        if not (isinstance(risk, int | float) and isfinite(risk) and 0.0 <= risk <= 1.0):
            raise ValueError(f"risk is {risk!r}, not a share of the rows")
        if not isinstance(each["stop_reason"], str):
            raise ValueError(f"stop_reason is {each['stop_reason']!r}, not a word")
    record = attributes["record"]
    wrong = [name for name, kind in FACTS.items() if not isinstance(record[name], kind)]
    if not all(isinstance(key, str) for key in record["batch_key"]):
        wrong = ["batch_key"]
    if wrong or not isinstance(record["anchor"], str | None):
        raise ValueError(f"{(wrong or ['anchor'])[0]} of the record is of another type")


def _require_tables(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a table of another shape or type than the others ask for, or of impossible values.

    Raises
    ------
    ValueError
        Names the table, and counts its values.
    """
    parameters = Parameters(**attributes["parameters"])
    width, n_features = attributes["n_embedding"], len(attributes["feature_names"])
    weighted = width is None and parameters.n_components is not None
    scalars = {name: np.asarray(attributes[name]) for name in ("total_variance", "unit")}
    projection = {**arrays, **{name: value.astype(np.float64) for name, value in scalars.items()}}
    fault = projection_fault(projection, n_features if width is None else width, weighted)
    if fault:
        raise ValueError(fault)
    # Without an embedding, what varies among the rows that count varies among all.
    used = arrays["used"] if width is None else np.empty(0, dtype=np.intp)
    constant = Table(
        np.bool_, (n_features,), lambda constant: ~(constant & _marks(used, n_features)), "unused"
    )
    fault = fault_of(arrays, {"constant": constant}, {})
    n_components = len(arrays["used"])
    if weighted:
        n_components = arrays["weights"].shape[1]
    n_embedded = n_components if weighted else width or 0
    n_columns = n_features + n_embedded
    sizes = {
        "n_features": n_features,
        "n_embedded": n_embedded,
        "n_batches": len(attributes["batches"]),
        "n_components": n_components,
        "block_rows": parameters.block_rows,
        "n_columns": n_columns,
        "n_sums": n_columns + 1,
        "n_units": len(attributes["batches"]) + 1,
    }
    if attributes.get("n_rows") is not None:
        sizes["n_of_data"] = attributes["n_rows"]
    for number, step in enumerate(parameters.alignment):
        own = _below(arrays, f"pass_{number}")
        if weighted:
            # Scores take the last step alone.
            is_last = number + 1 == len(parameters.alignment)
            n_columns = n_features + (n_embedded if is_last else 0)
            sizes |= {"n_columns": n_columns, "n_sums": n_columns + 1}
        fault = fault or _pass_fault(own, step, sizes, f"pass_{number}")
    if not fault and parameters.sphering is not None:
        kept = {name: SPHERE_TABLES[name] for name in _sphere_parts(n_embedded)}
        fault = fault_of(_below(arrays, SPHERE), kept, sizes)
        fault = fault and f"{fault} in {SPHERE}"
    if fault:
        raise ValueError(fault)


def _pass_fault(tables: Mapping[str, NDArray[Any]], step: str, sizes: Sizes, name: str) -> str:
    curve = tables.get("curve", np.empty(0))
    # The curve alone says on how many rows the pass was fitted.
    n_rows = int(curve[-1, -1]) if curve.ndim == 2 and curve.size else 0
    fault = landmark_fault(tables, {**sizes, "n_rows": n_rows})
    if not fault:
        n_batches = sizes["n_batches"]
        codes = Table(
            np.int32,
            ("n_landmarks",),
            lambda codes: (codes >= 0) & (codes < n_batches),
            f"codes of {n_batches} batches",
        )
        known = OPERATOR_TABLES | {"own_batch": codes}
        parts = [field.name for field in fields(OPERATORS[step])]
        rules = {part: known[part] for part in (*parts, *TARGETS.get(step, ()))}
        fault = fault_of(tables, rules, {**sizes, "n_landmarks": len(tables["rows"])})
    return fault and f"{fault} in {name}"


def _sphere_parts(n_embedded: int) -> list[str]:
    return list(SPHERE_TABLES)[: 3 if n_embedded else 2]


def _sphering(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Sphering | None:
    if "sphering" not in attributes:
        return None
    own = _below(arrays, SPHERE)
    parts = ([own[name]] if name in own else [] for name in SPHERE_TABLES)
    return Sphering(Sphere(*parts), dict(attributes["sphering"]))


def _below(arrays: Mapping[str, NDArray[Any]], group: str) -> dict[str, NDArray[Any]]:
    prefix = f"{group}/"
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def _marks(places: NDArray[np.intp], length: int) -> NDArray[np.bool_]:
    marked = np.zeros(length, dtype=bool)
    marked[places] = True
    return marked


def _model(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
    parameters = Parameters(**attributes["parameters"])
    passes = [
        pass_from(
            _below(arrays, f"pass_{number}"),
            step,
            parameters,
            facts["stop_reason"],
            float(facts["risk"]),
        )
        for number, (step, facts) in enumerate(
            zip(parameters.alignment, attributes["passes"], strict=True)
        )
    ]
    projection = Projection(
        arrays["used"],
        arrays["mean"],
        arrays.get("weights"),
        float(attributes["total_variance"]),
        float(attributes["unit"]),
    )
    return Model(
        parameters=parameters,
        preprocessor=Preprocessor(projection, arrays["constant"]),
        feature_names=tuple(attributes["feature_names"]),
        n_rows=attributes.get("n_rows"),
        n_embedding=attributes["n_embedding"],
        batches=tuple(attributes["batches"]),
        passes=passes,
        record=attributes["record"],
        sphering=_sphering(attributes, arrays),
    )
