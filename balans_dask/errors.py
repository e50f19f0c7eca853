"""What balans_dask raises, and nothing that a caller would not want to catch by name."""

__all__ = [
    "BalansError",
    "InputWarning",
    "InsufficientMemoryError",
    "InvalidInputError",
    "StoreExistsError",
]


class BalansError(Exception):
    """Base of every error that balans_dask raises on purpose; its text is one line."""


class InvalidInputError(BalansError, ValueError):
    """The user's data, labels, paths or parameters cannot be used as they are."""


class StoreExistsError(BalansError, FileExistsError):
    """The output is already there, and overwriting was not asked for."""


class InsufficientMemoryError(BalansError, MemoryError):
    """The plan of the run does not fit the memory it may use."""


class InputWarning(UserWarning):
    """The input can be corrected, but holds something that its owner should know about."""
