"""What a run did when, line by line, beside its output: times differ between equal runs."""

import json
import resource
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from balans_dask.fitting import Stage
from balans_dask.io.run_folder import RunFolder

__all__ = ["EventLog", "read_events"]

BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


class EventLog:
    """A progress callback that adds a line of JSON for every stage and round.

    The lines grow in the run's folder and appear as ``OUT.zarr.events.jsonl`` with the output; a
    continued run adds to those of the earlier attempts.

    Parameters
    ----------
    target : str
        Path of the output.

    Notes
    -----
    Every line has ``time`` (UTC), ``attempt`` (when this process began), ``seconds`` since then,
    ``stage``, ``pass``, ``n_sampled`` and ``n_covered`` (``null`` outside rounds), ``peak_bytes``
    (largest resident memory of the driver process so far) and ``done``. A line of a stage marks its
    beginning, a line with rows drawn the end of a round, the last line the end of the run.
    """

    def __init__(self, target: str) -> None:
        self._folder = RunFolder(target)
        self._attempt = _now()
        self._begin = time.monotonic()
        self._begun = False

    def __call__(self, stage: Stage) -> None:
        """Take the next event of a run."""
        self._begun = True
        self._add(self._folder.events, stage)

    def finish(self) -> None:
        """Say that the output is there; nothing, if it was there already."""
        if self._begun:
            self._add(self._folder.published_events, Stage("done"), done=True)

    def _add(self, path: Path, stage: Stage, done: bool = False) -> None:
        last = stage.round
        event = {
            "time": _now(),
            "attempt": self._attempt,
            "seconds": round(time.monotonic() - self._begin, 3),
            "stage": stage.name,
            "pass": stage.number + 1,
            "n_sampled": None if last is None else last.n_sampled,
            "n_covered": None if last is None else last.n_covered,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_OF_MAXRSS,
            "done": done,
        }
        # A run does not end because its times cannot be noted.
        with suppress(OSError), path.open("a") as file:
            file.write(json.dumps(event) + "\n")


def read_events(output: str) -> list[dict[str, Any]]:
    """Read the events of an output; none if the file is missing, without lines that are torn."""
    events = []
    with suppress(OSError):
        for line in RunFolder(output).published_events.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
    return events


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
