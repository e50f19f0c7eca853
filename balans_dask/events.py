"""The one stream of events of a run, and its record, line by line, beside the output."""

import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from balans_dask.io.atomic import LineLog
from balans_dask.io.files import network_errors
from balans_dask.io.run_folder import RunFolder
from balans_dask.passes.stage import EXAMINING, Stage
from balans_dask.workflows.records import read_events

__all__ = ["Event", "EventLog", "Events", "read_events"]

logger = logging.getLogger(__name__)

BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Event:
    """A moment of a run; a line of ``events.jsonl``, where ``number`` is ``pass``, from 1.

    Attributes
    ----------
    time : str
        UTC.
    attempt : str
        When this process began.
    seconds : float
        Since then.
    stage : str
    number : int
        Of the pass, from 0.
    n_done, n_total : int or None
        Partitions of the stage, where they are counted.
    seconds_left : float or None
        Of the stage, at its pace so far; nobody knows when sampling will stop.
    n_bytes : int or None
        Corrected rows that are written, before they are compressed.
    n_rounds, n_sampled, n_covered, n_rows, n_idle : int or None
        At the end of a round: rounds and rows drawn, rows covered, all rows, and how many rows
        drawn last have covered nothing new.
    peak_bytes : int
        Largest resident memory of the driver process so far; on threads it holds the workers too.
    done : bool
        The output is there.
    """

    time: str
    attempt: str
    seconds: float
    stage: str
    number: int
    n_done: int | None
    n_total: int | None
    seconds_left: float | None
    n_bytes: int | None
    n_rounds: int | None
    n_sampled: int | None
    n_covered: int | None
    n_rows: int | None
    n_idle: int | None
    peak_bytes: int
    done: bool


class Events:
    """A progress callback that makes an event of every stage, and hands it to all who listen.

    Parameters
    ----------
    *listeners : callable
        Each takes an ``Event``.
    """

    def __init__(self, *listeners: Callable[[Event], None]) -> None:
        self._listeners = listeners
        self._attempt = _now()
        self._begin = time.monotonic()
        self._stage = ("", 0)
        self._stage_began = (0.0, 0)

    def __call__(self, stage: Stage) -> None:
        """Take what a run is doing now."""
        self._tell(stage, done=False)

    def finish(self) -> None:
        """Say that the output is there."""
        self._tell(Stage("done"), done=True)

    def _tell(self, stage: Stage, done: bool) -> None:
        seconds = time.monotonic() - self._begin
        last, counts = stage.round, stage.n_total > 0
        title = (stage.name, stage.number)
        if title != self._stage:
            self._stage, self._stage_began = title, (seconds, stage.n_done)
            logger.info("%s, pass %d", stage.name, stage.number + 1)
        event = Event(
            time=_now(),
            attempt=self._attempt,
            seconds=round(seconds, 3),
            stage=stage.name,
            number=stage.number,
            n_done=stage.n_done if counts else None,
            n_total=stage.n_total if counts else None,
            seconds_left=self._seconds_left(seconds, stage),
            n_bytes=stage.total_bytes * stage.n_done // stage.n_total
            if counts and stage.total_bytes
            else None,
            n_rounds=None if last is None else last.n_rounds,
            n_sampled=None if last is None else last.n_sampled,
            n_covered=None if last is None else last.n_covered,
            n_rows=None if last is None else last.n_rows,
            n_idle=None if last is None else last.tally.n_idle,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_OF_MAXRSS,
            done=done,
        )
        for listener in self._listeners:
            listener(event)

    def _seconds_left(self, now: float, stage: Stage) -> float | None:
        began, n_before = self._stage_began
        n_done = stage.n_done - n_before
        if n_done <= 0:
            return None
        return round((now - began) * (stage.n_total - stage.n_done) / n_done, 1)


class EventLog:
    """A listener that adds a line of JSON for every event.

    The lines grow in the run's folder and appear as ``OUT.zarr.events.jsonl`` with the output; a
    continued run adds to those of the earlier attempts. The first line of an attempt also holds its
    ``configuration``. Nothing is written before the input is examined: until then the run has no
    folder, and may yet find that all is done.

    Parameters
    ----------
    target : str
        Path of the output.
    configuration : mapping or None
        Options of the run by name.
    """

    def __init__(self, target: str, configuration: Mapping[str, Any] | None = None) -> None:
        self._folder = RunFolder(target)
        self._lines = LineLog()
        self._waiting: list[str] = []
        self._stage = ("", 0)
        self._begun = False
        self._first = {} if configuration is None else {"configuration": dict(configuration)}

    def __call__(self, event: Event) -> None:
        """Take the next event of a run."""
        fields = asdict(event)
        fields["pass"] = fields.pop("number") + 1
        self._waiting.append(json.dumps(fields | self._first))
        self._first = {}
        if event.stage == EXAMINING or (event.done and not self._begun):
            return
        self._begun = True
        stage = (event.stage, event.number)
        place = self._folder.published_events if event.done else self._folder.events
        # A run does not end because its times cannot be noted.
        with suppress(*network_errors()):
            self._lines.add(place, self._waiting, at_once=stage != self._stage)
        self._stage, self._waiting = stage, []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
