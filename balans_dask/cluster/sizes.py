"""Sizes of memory, as a flag has them."""

from dask.utils import parse_bytes

from balans_dask.errors import InvalidInputError

__all__ = ["memory_bytes"]


def memory_bytes(text: str | None, flag: str = "--memory-limit") -> int | None:
    """Read a size such as ``2GB``.

    Raises
    ------
    InvalidInputError
        If it is none.
    """
    if text is None:
        return None
    try:
        n_bytes = int(parse_bytes(text))
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{flag} {text} is no size: write one like 2GB") from error
    if n_bytes <= 0:
        raise InvalidInputError(f"{flag} {text} is not positive: write one like 2GB")
    return n_bytes
