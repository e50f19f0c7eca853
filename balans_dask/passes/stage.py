"""What a run says of itself: its stages, and how far it is in one."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

__all__ = [
    "CORRECTING",
    "EXAMINING",
    "FINISHING",
    "PREPARING",
    "SAMPLING",
    "SUMMING",
    "WATCH_SECONDS",
    "WRITING",
    "Followed",
    "OnStage",
    "Stage",
]

WATCH_SECONDS = 2.0
"""How often to say how far a stage is, and to look whether there are workers."""
EXAMINING = "examining the input"
PREPARING = "preparing scores"
SAMPLING = "sampling rows"
SUMMING = "summing rows"
CORRECTING = "correcting rows"
WRITING = "writing"
FINISHING = "finishing"


@dataclass(frozen=True)
class Stage:
    """What a run is doing now.

    Attributes
    ----------
    name : str
    round : Round or None
        While rows are sampled: the last one, as the sampler leaves it.
    number : int
        Of the pass, from 0.
    n_done, n_total : int
        Partitions; ``n_total`` is 0 where they are not counted.
    total_bytes : int
        Of the corrected rows of all partitions, before they are compressed; 0 where none are made.
    """

    name: str
    round: Any = None
    number: int = 0
    n_done: int = 0
    n_total: int = 0
    total_bytes: int = 0


OnStage = Callable[[Stage], None]


class Followed:
    """A stage of which the tasks of some passes are counted.

    Parameters
    ----------
    stage : Stage
        As it begins; more tasks than ``stage.n_total`` raise it.
    names : collection of str
        Of the passes whose tasks count.
    tell : callable
        Told at once that the stage begins.
    """

    def __init__(self, stage: Stage, names: Collection[str], tell: OnStage) -> None:
        self.names = names
        self._stage = stage
        self._tell = tell
        self._n_submitted = 0
        tell(stage)

    def add(self, name: str, n_tasks: int) -> None:
        """Notice that tasks are submitted."""
        if name in self.names:
            self._n_submitted += n_tasks

    def left(self, n_left: int) -> None:
        """Tell how far the stage is, of which some of the submitted tasks are left."""
        begun = self._stage
        n_done = begun.n_done + max(0, self._n_submitted - n_left)
        n_total = max(begun.n_total, begun.n_done + self._n_submitted)
        self._tell(replace(begun, n_done=n_done, n_total=n_total))

    def end(self) -> None:
        """Tell that all is done."""
        n_total = max(self._stage.n_total, self._stage.n_done + self._n_submitted)
        self._tell(replace(self._stage, n_done=n_total, n_total=n_total))
