"""Lines that are added to a file, a few at a time."""

import time
from collections.abc import Sequence
from pathlib import Path

from balans_dask.io.files import put
from balans_dask.io.places import is_remote

__all__ = ["LineLog"]

PUT_EVERY = 30.0
"""Seconds; an object cannot be added to, so the lines wait and all are put anew."""


class LineLog:
    """Lines of a file that may move meanwhile; those that are there already stay."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._put_at = 0.0

    def add(self, place: Path, lines: Sequence[str], at_once: bool) -> None:
        """Add lines.

        Parameters
        ----------
        place : Path
            Where the file is now.
        lines : sequence of str
        at_once : bool
            Let nobody wait for them, even in a bucket.
        """
        if not is_remote(place):
            with place.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
            return
        if self._text is None:
            self._text = place.read_text() if place.exists() else ""
        self._text += "".join(f"{line}\n" for line in lines)
        if at_once or time.monotonic() - self._put_at > PUT_EVERY:
            put(place, self._text.encode())
            self._put_at = time.monotonic()
