"""The libraries of the optional group ``evaluate``, imported only when a score is asked for."""

import logging
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
    package = name.partition(".")[0]
    try:
        module = import_module(name)
    except ImportError as error:
        raise InvalidInputError(
            f"scores need {package}, which cannot be imported ({error}): "
            'pip install "balans-dask[evaluate]"'
        ) from error
    # They announce every label that they skip; our tables say so once.
    logging.getLogger(package).setLevel(logging.WARNING)
    return module
