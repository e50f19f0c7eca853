"""The HTML page about a correction, and the figures on it (needs the plot extra)."""

from importlib.util import find_spec

from balans_dask.errors import InvalidInputError, adding

__all__ = ["require_plot"]


def require_plot() -> None:
    """Refuse to draw without the libraries that draw.

    Raises
    ------
    InvalidInputError
    """
    missing = [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]
    if missing:
        raise InvalidInputError(f"pictures need {' and '.join(missing)}: {adding('plot')}")
