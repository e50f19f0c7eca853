"""What scikit-learn expects of every transformer, for arrays that stay lazy."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from balans_dask.errors import InvalidInputError
from balans_dask.workflows.array_inputs import is_lazy

__all__ = ["LazyOutputMixin", "check_features"]


class LazyOutputMixin:
    """Leave Dask arrays as they are, whatever ``set_output`` asks for: a table computes them.

    Stands before ``TransformerMixin``, whose containers it leaves out for lazy input.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("transform", "fit_transform"):
            if name in vars(cls):
                setattr(cls, name, _container_unless_lazy(vars(cls)[name]))


def _container_unless_lazy(in_container: Callable[..., Any]) -> Callable[..., Any]:
    as_computed = in_container.__wrapped__  # type: ignore[attr-defined]

    @wraps(as_computed)
    def method(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = as_computed if is_lazy(X) else in_container
        return chosen(self, X, *args, **kwargs)

    return method


def check_features(estimator: BaseEstimator, X: Any, *, fitting: bool) -> None:
    """Remember number and names of the features, or compare them with those of the fit.

    Parameters
    ----------
    estimator : BaseEstimator
    X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
        As the user gave it; no value is read.
    fitting : bool

    Raises
    ------
    InvalidInputError
        If they are others than those of the fit, or some names are text and some are not.
    """
    try:
        validate_data(estimator, X, reset=fitting, skip_check_array=True)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        remedy = "name all features by text" if fitting else "give the features of the fit"
        raise InvalidInputError(f"{reason.rstrip('.')}: {remedy}") from error
