"""A page of sections as one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from balans_dask.report.pictures import Picture

__all__ = ["Section", "Table", "rendered"]


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
    """

    title: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = field(default=())


def rendered(
    title: str,
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
    sections: Sequence[Section],
) -> str:
    """Lay out the page; every text is shown as it is, never taken for markup.

    Parameters
    ----------
    title : str
    facts : sequence of (str, str)
        What and how much, to be seen first.
    warnings : sequence of str
    sections : sequence of Section
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("balans_dask.report").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        title=title, facts=facts, warnings=warnings, sections=sections
    )
