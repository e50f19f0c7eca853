"""The look of every figure, and text of the user's in it as it is."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "RED", "label_text", "name_rows", "shown", "styled"]

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
"""Okabe and Ito's colours, told apart by colour-blind readers, and a grey."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # A dollar in a label is a dollar.
    "text.parse_math": False,
    # Equal data, equal bytes.
    "svg.hashsalt": "balans_dask",
}
MAX_NAMED = 40
"""Batches or labels that one figure can name."""
MAX_LETTERS = 22

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure in the style of all."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return in_style


def label_text(label: object) -> str:
    """Shorten a label to a line that any font can draw."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(label))
    return text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def shown(sizes: NDArray[np.integer], at_most: int = MAX_NAMED) -> NDArray[np.intp]:
    """Choose the largest groups, if there are more than a figure can name; in their order."""
    return np.sort(np.argsort(-np.asarray(sizes), kind="stable")[:at_most])


def name_rows(axes: Axes, names: Sequence[object]) -> None:
    """Name the rows of a figure, the first one above."""
    axes.set_yticks(range(len(names)), [label_text(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
