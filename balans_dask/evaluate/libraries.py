"""The libraries of the optional group ``evaluate``, imported only when a score is asked for."""

from importlib import import_module
from types import ModuleType

from balans_dask.errors import InvalidInputError

__all__ = ["library"]


def library(name: str) -> ModuleType:
    """Import a module of scib-metrics or copairs.

    Parameters
    ----------
    name : str
        Dotted name.

    Raises
    ------
    InvalidInputError
        If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InvalidInputError(
            f"scores need {name.partition('.')[0]}, which cannot be imported ({error}): "
            'pip install "balans-dask[evaluate]"'
        ) from error
