"""What balans_dask raises and warns of; nothing that a caller would not want to catch by name."""

import logging
import warnings

__all__ = [
    "BalansError",
    "InputWarning",
    "InsufficientMemoryError",
    "Interrupted",
    "InvalidInputError",
    "RunError",
    "StoreExistsError",
    "WrongTypeError",
    "warn_of_input",
]

logger = logging.getLogger(__name__)


class BalansError(Exception):
    """Base of every error that balans_dask raises on purpose; its text is one line."""


class InvalidInputError(BalansError, ValueError):
    """The user's data, labels, paths or parameters cannot be used as they are."""


class WrongTypeError(InvalidInputError, TypeError):
    """The user's array holds what is no number, or holds it in a form that is not taken."""


class StoreExistsError(BalansError, FileExistsError):
    """The output is already there, and overwriting was not asked for."""


class InsufficientMemoryError(BalansError, MemoryError):
    """The plan of the run does not fit the memory it may use."""


class RunError(BalansError, RuntimeError):
    """The run cannot go on, for a reason outside the input; what was done is kept."""


class Interrupted(BaseException):
    """A signal asked the run to stop; not an error, so that no handler of errors takes it."""


class InputWarning(UserWarning):
    """The input can be corrected, but holds something that its owner should know about."""


def warn_of_input(message: str) -> None:
    """Log a line about the input, and warn the caller of the package."""
    logger.info(message)
    warnings.warn(message, InputWarning, stacklevel=4)
