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

from balans_dask.evaluate.peers.processes import Peers
from benchmarks.harness.findings import Findings

SIZES = ("tiny", "small", "full")
"""``tiny`` only shows that the experiment runs; ``small`` is minutes for all of them together."""
REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("BALANS_DATA", REPOSITORY.parent / "shared" / "data"))
RESULTS = REPOSITORY / "benchmarks" / "experiments" / "results"
READINGS = REPOSITORY / "benchmarks" / "experiments" / "readings"


@dataclass(frozen=True)
class Reading:
    """What a person has read from the tables of an experiment, and how these were measured."""

    tables: str  # size and date of the tables that were read
    title: str
    answer: str
    explained: str  # paragraphs and lists in Markdown
    method: str

    @classmethod
    def of(cls, name: str) -> "Reading":
        """Read the file of an experiment."""
        text = (READINGS / f"{name}.md").read_text()
        found, _, method = text.partition("\n## Method\n\n")
        tables, title, answer, explained = found.split("\n\n", 3)
        return cls(
            tables.removeprefix("<!-- ").removesuffix(" -->"),
            title.removeprefix("# "),
            answer,
            explained.strip(),
            method.strip(),
        )


@dataclass(frozen=True)
class Setting:
    """What one run of an experiment may use.

    Attributes
    ----------
    size : str
        One of ``SIZES``.
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
        Of the files; its title and method are those of its reading.
    sizes : mapping of str to mapping
        The numbers of every size, the seeds among them; they are recorded.
    measure : callable
        Takes ``Findings`` and a ``Setting``, and measures every case.
    tables, picture : callable
        Take ``Findings``; the tables in Markdown, and a plot that stands by itself.
    beside_peers : bool
        Whether other programs are measured, so that their versions are recorded.
    """

    name: str
    sizes: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Findings, Setting], None]
    tables: Callable[[Findings], list[str]]
    picture: Callable[[Findings], Figure]
    beside_peers: bool = False

    def main(self, argv: list[str] | None = None) -> None:
        """Run the command line: measure, and write NAME.json, NAME.md and NAME.png."""
        reading = Reading.of(self.name)
        given = self._arguments(reading.title, argv)
        warnings.simplefilter("ignore")
        setting = Setting(given.size, self.sizes[given.size], given.data, Peers(given.peers))
        if given.data is None:
            print("no real profiles: set BALANS_DATA to measure them too", file=sys.stderr)
        given.sizes = dict(setting.sizes)
        given.results = given.results / given.size
        others = setting.peers.versions() if self.beside_peers else None
        findings = Findings(self.name, given, ["size", "sizes"], others)
        self.measure(findings, setting)
        tables, figure = self.tables(findings), self.picture(findings)
        findings.publish(reading.title, reading.method, tables, figure)

    def _arguments(self, title: str, argv: list[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(description=title)
        parser.add_argument("--size", choices=SIZES, default="small")
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder of results")
        parser.add_argument("--resume", action="store_true", help="keep the runs of the JSON file")
        there = DATA if DATA.is_dir() else None
        parser.add_argument("--data", type=Path, default=there, help="folder of real profiles")
        peers = os.environ.get("BALANS_PEERS")
        parser.add_argument("--peers", default=peers, help="Python of an environment with peers")
        return parser.parse_args(argv)
