"""Figures as pictures inside a page."""

import io
import warnings
from base64 import b64encode
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from balans_dask.report.plain import STYLE

__all__ = ["Picture", "drawn", "painted"]

DPI = 170
COLOURS = 128


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
