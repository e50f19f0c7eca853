"""What is at a path."""

from pathlib import Path

from balans_dask.errors import InvalidInputError

__all__ = ["is_store", "require_exists"]


def is_store(path: str) -> bool:
    """Tell whether a Zarr group or array begins at a path."""
    folder = Path(path)
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def require_exists(path: str) -> None:
    """Refuse a path where nothing is, or that cannot be looked at.

    Raises
    ------
    InvalidInputError
    """
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} does not exist: check the path of the input") from error
