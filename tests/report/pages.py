"""Reports of generated stores, and what is in their pages."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.commands import streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """The page as a reader of HTML sees it; what is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.images: list[dict[str, str]] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


def picture(image: dict[str, str]) -> bytes:
    """The picture itself, from inside the page."""
    kind, content = image["src"].split(";base64,")
    assert kind in {"data:image/png", "data:image/svg+xml"}
    return base64.b64decode(content)


def corrected(folder: Path, *options: object, n_rows: int = 400, **obs: object) -> Path:
    """A small screen, corrected by the command."""
    screen = gaussian_screen(n_rows, n_features=6)
    columns = {"Metadata_Plate": screen.batch, "Metadata_compound": screen.label.astype(str)} | obs
    write_anndata(folder / "in.zarr", screen.profiles, **columns)
    smooth = ["--batch-key", "Metadata_Plate", "--operator", "smooth"]
    streams("correct", folder / "in.zarr", folder / "out.zarr", *smooth, *options)
    return folder / "out.zarr"


def report(store: Path, *options: object) -> Page:
    html = store.with_suffix(".html")
    streams("report", store, "--html", html, *options)
    return Page(html.read_text(encoding="utf-8"))


def confounded(n_rows: int = 400) -> np.ndarray:
    """Compounds of which each lies on one plate."""
    plate = pd.factorize(gaussian_screen(n_rows, n_features=6).batch)[0]
    return np.array([f"c{p}_{i % 5}" for i, p in enumerate(plate)])
