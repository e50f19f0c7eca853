"""A page of sections as one HTML file, and the style of its figures."""

import io
import warnings
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from importlib.resources import files
from typing import Any, ParamSpec

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from balans_dask.labels import natural
from balans_dask.parameters import ALIGN

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "RED",
    "Card",
    "Picture",
    "Section",
    "Table",
    "Tile",
    "drawn",
    "label_text",
    "name_rows",
    "painted",
    "passes_text",
    "rendered",
    "shown",
    "styled",
]

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
DPI = 170
COLOURS = 128


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure in the style of all."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return in_style


def passes_text(operator: str, n_passes: int) -> str:
    """Name an operator and its passes, which are the local steps of ``align``."""
    one, more = ("local step", "local steps") if operator == ALIGN else ("pass", "passes")
    return f"{operator}, {n_passes} {one if n_passes == 1 else more}"


def label_text(label: object) -> str:
    """Shorten a label to a line that any font can draw."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(label))
    return text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def shown(
    sizes: NDArray[np.integer], names: Sequence[object], at_most: int = MAX_NAMED
) -> NDArray[np.intp]:
    """Choose the largest groups, if there are more than a figure can name; in natural order."""
    largest = np.argsort(-np.asarray(sizes), kind="stable")[:at_most].tolist()
    return np.array(sorted(largest, key=lambda i: natural(str(names[i]))), dtype=np.intp)


def name_rows(axes: Axes, names: Sequence[object]) -> None:
    """Name the rows of a figure, the first one above."""
    axes.set_yticks(range(len(names)), [label_text(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


@dataclass(frozen=True)
class Picture:
    """A picture that needs no other file.

    Attributes
    ----------
    uri : str
        With the picture itself.
    alt : str
        What it shows, for those who cannot see it.
    caption : str
    """

    uri: str
    alt: str
    caption: str = ""


def drawn(figure: Figure, alt: str, caption: str = "") -> Picture:
    """Make lines and letters of any size: SVG."""
    content = io.BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():
        # A letter that no font of ours has becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasSVG(figure)
        figure.savefig(content, format="svg", metadata={"Date": None})
    return Picture(_uri("image/svg+xml", content.getvalue()), alt, caption)


def painted(figure: Figure, alt: str, caption: str = "") -> Picture:
    """Make pixels, for thousands of points: PNG of few colours."""
    content, small = io.BytesIO(), io.BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasAgg(figure)
        figure.savefig(content, format="png", dpi=DPI)
    image = Image.open(content).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(small, "png", optimize=True)
    return Picture(_uri("image/png", small.getvalue()), alt, caption)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


@dataclass(frozen=True)
class Table:
    """Names and values.

    Attributes
    ----------
    caption : str
    header : sequence of str
        Empty for a table of names and values, whose first column heads its row.
    rows : sequence of sequence of str
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, then text, pictures and tables.

    Attributes
    ----------
    title : str
    text : sequence of str
        Paragraphs.
    pictures : sequence of Picture
    tables : sequence of Table
    folded : sequence of Table
        Shown when they are asked for.
    code : str
        A command.
    span : int
        How many of three columns it takes on a wide window.
    across : int
        Pictures beside each other there, 3 or 4 of a section as wide as the page.
    """

    title: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = field(default=())
    code: str = ""
    span: int = 3
    across: int = 3


@dataclass(frozen=True)
class Tile:
    """One score of the verdict.

    Attributes
    ----------
    name, value, words : str
        Such as signal, 0.135 to 0.138, and what to think of it.
    tone : {"good", "bad", "same"}
    """

    name: str
    value: str
    words: str
    tone: str


@dataclass(frozen=True)
class Card:
    """The verdict, which a reader sees first.

    Attributes
    ----------
    heading : str
    tone : {"good", "bad", "same"}
        Its colour, which says nothing that the words do not.
    text : sequence of str
    tiles : sequence of Tile
    """

    heading: str
    tone: str
    text: Sequence[str]
    tiles: Sequence[Tile]


def rendered(
    title: str,
    facts: str,
    card: Card,
    warnings: Sequence[str],
    sections: Sequence[Section],
    details: Sequence[Section],
) -> str:
    """Lay out the page; every text is shown as it is, never taken for markup.

    Parameters
    ----------
    facts : str
        What was corrected and how, in a line.
    details : sequence of Section
        Folded under one heading.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("balans_dask.report").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        title=title,
        facts=facts,
        card=card,
        warnings=warnings,
        sections=sections,
        details=details,
    )
