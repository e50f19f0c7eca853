"""A model as JSON attributes and arrays, and back: what ``io.model_store`` writes."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.frozen import FrozenPass, Model
from balans_dask.io.model_store import read_model, write_model
from balans_dask.kernels.projection import Projection
from balans_dask.parameters import Parameters
from balans_dask.state import block_arrays, blocks_from

__all__ = ["load_model", "pass_arrays", "pass_from", "save_model"]

OPERATOR_ARRAYS = {"smooth": ("sums",), "nystrom": ("spread", "sums"), "displace": ("moves",)}
"""What each operator knows of its landmarks, by name."""


def save_model(model: Model, path: str, overwrite: bool = False) -> None:
    """Write a model to a new store.

    Parameters
    ----------
    model : Model
    path : str
    overwrite : bool
        Replace a model that is there.

    Raises
    ------
    StoreExistsError
        If something is there already.
    """
    projection = model.projection
    attributes = {
        "parameters": model.parameters.as_dict(),
        "feature_names": list(model.feature_names),
        "n_embedding": model.n_embedding,
        "batches": list(model.batches),
        "total_variance": projection.total_variance,
        "unit": projection.unit,
        "passes": [{"stop_reason": each.stop_reason, "risk": each.risk} for each in model.passes],
        "record": dict(model.record),
    }
    arrays = {"used": projection.used, "mean": projection.mean, "constant": model.constant}
    if projection.weights is not None:
        arrays["weights"] = projection.weights
    for number, each in enumerate(model.passes):
        arrays |= {f"pass_{number}/{name}": array for name, array in pass_arrays(each).items()}
    write_model(path, attributes, arrays, overwrite)


def load_model(path: str) -> Model:
    """Read a model; runs no code from it.

    Raises
    ------
    InvalidInputError
        If there is no model, or it cannot be read.
    """
    attributes, arrays = read_model(path)
    try:
        return _model(attributes, arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is damaged, or not a model ({type(error).__name__}: {error}): restore it"
        ) from error


def pass_arrays(frozen: FrozenPass) -> dict[str, NDArray[Any]]:
    """Everything of one pass that is not text.

    Parameters
    ----------
    frozen : FrozenPass
    """
    name, *parts = frozen.correction
    arrays = block_arrays(frozen.blocks) | {"curve": frozen.curve}
    # ``smooth`` spreads the very sums that its landmarks have.
    arrays |= {key: part[0] for key, part in zip(OPERATOR_ARRAYS[name], parts, strict=False)}
    return arrays if frozen.targets is None else arrays | {"targets": frozen.targets}


def pass_from(
    arrays: Mapping[str, NDArray[Any]], parameters: Parameters, stop_reason: str, risk: float
) -> FrozenPass:
    """Restore one pass.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        By ``pass_arrays``.
    parameters : Parameters
    stop_reason : str
    risk : float
    """
    name = parameters.operator
    parts = [[arrays[key]] for key in OPERATOR_ARRAYS[name]]
    return FrozenPass(
        blocks=blocks_from(arrays, parameters.block_rows),
        correction=[name, *(parts * 2 if name == "smooth" else parts)],
        targets=arrays["targets"] if name == "displace" else None,
        curve=arrays["curve"],
        stop_reason=stop_reason,
        risk=risk,
    )


def _model(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
    parameters = Parameters(**attributes["parameters"])
    passes = []
    for number, facts in enumerate(attributes["passes"]):
        prefix = f"pass_{number}/"
        own = {
            name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)
        }
        passes.append(pass_from(own, parameters, facts["stop_reason"], float(facts["risk"])))
    return Model(
        parameters=parameters,
        projection=Projection(
            arrays["used"],
            arrays["mean"],
            arrays.get("weights"),
            float(attributes["total_variance"]),
            float(attributes["unit"]),
        ),
        constant=arrays["constant"],
        feature_names=tuple(attributes["feature_names"]),
        n_embedding=attributes["n_embedding"],
        batches=tuple(attributes["batches"]),
        passes=passes,
        record=attributes["record"],
    )
