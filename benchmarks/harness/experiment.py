"""One experiment: what it asks, at which sizes, and the files that it leaves."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.harness.findings import Findings
from benchmarks.harness.peer_methods import Peers
from benchmarks.harness.places import RESULTS, SIZES

__all__ = ["DATA", "Experiment", "Setting"]

DATA = Path(os.environ.get("BALANS_DATA", Path(__file__).parents[3] / "shared" / "data"))


@dataclass(frozen=True)
class Setting:
    """What one run of an experiment may use.

    Attributes
    ----------
    size : str
        One of ``places.SIZES``.
    sizes : mapping
        The experiment's own numbers of that size, such as ``rows`` and ``seeds``.
    data : Path or None
        Folder of real profiles.
    peers : Peers
        Other programs that are there.
    """

    size: str
    sizes: Mapping[str, Any]
    data: Path | None
    peers: Peers


@dataclass(frozen=True)
class Experiment:
    """A question, and how it is answered.

    Attributes
    ----------
    name : str
        Of the files.
    title : str
    about : str
        What is asked and how it is measured.
    sizes : mapping of str to mapping
        The numbers of every size, the seeds among them; they are recorded.
    measure : callable
        Takes ``Findings`` and a ``Setting``, and measures every case.
    tables, picture, reading : callable
        Take ``Findings``; the tables in Markdown, a plot that stands by itself, and what was
        found, in words and figures that come from the findings alone: first an answer of a
        sentence or two to what is asked, also where a goal was missed, then paragraphs and lists
        in Markdown, one idea each.
    beside_peers : bool
        Whether other programs are measured, so that their versions are recorded.
    """

    name: str
    title: str
    about: str
    sizes: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Findings, Setting], None]
    tables: Callable[[Findings], list[str]]
    picture: Callable[[Findings], Figure]
    reading: Callable[[Findings], list[str]]
    beside_peers: bool = False

    def main(self, argv: list[str] | None = None) -> None:
        """Run the command line: measure, and write NAME.json, NAME.md and NAME.svg."""
        given = self._arguments(argv)
        warnings.simplefilter("ignore")
        setting = Setting(given.size, self.sizes[given.size], given.data, Peers(given.peers))
        if given.data is None:
            print("no real profiles: set BALANS_DATA to measure them too", file=sys.stderr)
        given.sizes = dict(setting.sizes)
        given.results = given.results / given.size
        others = setting.peers.versions() if self.beside_peers else None
        findings = Findings(self.name, given, ["size", "sizes"], others)
        self.measure(findings, setting)
        figure = self.picture(findings)
        findings.publish(
            self.title, self.about, self.tables(findings), figure, self.reading(findings)
        )

    def _arguments(self, argv: list[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(description=self.title)
        parser.add_argument("--size", choices=SIZES, default="small")
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder of results")
        parser.add_argument("--resume", action="store_true", help="keep the runs of the JSON file")
        there = DATA if DATA.is_dir() else None
        parser.add_argument("--data", type=Path, default=there, help="folder of real profiles")
        parser.add_argument("--peers", help="Python of an environment with peers, or BALANS_PEERS")
        return parser.parse_args(argv)
