"""Wall time and peak memory of every stage of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from balans_dask.model.stages import EXAMINING

__all__ = ["StageTime", "stage_times"]


@dataclass
class StageTime:
    """One stage of one pass, over all attempts of a run.

    Attributes
    ----------
    n_pass : int
        From 1.
    name : str
    seconds : float
    peak_bytes : int
        Largest resident memory of the driver process until its end.
    """

    n_pass: int
    name: str
    seconds: float = 0.0
    peak_bytes: int = 0


def stage_times(events: Sequence[Mapping[str, Any]]) -> list[StageTime]:
    """Add up the times between the events of a run.

    Parameters
    ----------
    events : sequence of mapping
        By ``read_events``. What an attempt did after its last event is not known.

    Returns
    -------
    stages : list of StageTime
        In the order in which they began.
    """
    stages: dict[tuple[int, str], StageTime] = {}
    start: Mapping[str, Any] = {"attempt": "", "stage": EXAMINING, "pass": 1, "seconds": 0.0}
    for before, after in pairwise([start, *events]):
        begun = before if before["attempt"] == after["attempt"] else start
        key = (int(begun["pass"]), str(begun["stage"]))
        stage = stages.setdefault(key, StageTime(*key))
        stage.seconds += max(0.0, float(after["seconds"]) - float(begun["seconds"]))
        stage.peak_bytes = max(stage.peak_bytes, int(after["peak_bytes"]))
    return list(stages.values())
