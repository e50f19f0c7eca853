"""What a run says of itself while it works: what the engine's listener is told."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from balans_dask.model.sampler import Round
from balans_dask.passes.engine import Engine

__all__ = [
    "CORRECTING",
    "EXAMINING",
    "FINISHING",
    "PREPARING",
    "SAMPLING",
    "SUMMING",
    "WRITING",
    "OnStage",
    "Stage",
    "following",
]

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
        While rows are sampled: the last round.
    number : int
        Of the pass, from 0.
    n_done, n_total : int
        Partitions; ``n_total`` is 0 where they are not counted.
    total_bytes : int
        Of the corrected rows of all partitions, before they are compressed; 0 where none are made.
    """

    name: str
    round: Round | None = None
    number: int = 0
    n_done: int = 0
    n_total: int = 0
    total_bytes: int = 0


OnStage = Callable[[Stage], None]


@contextmanager
def following(engine: Engine, stage: Stage, names: Collection[str]) -> Iterator[None]:
    """Say that a stage begins, now and then how far it is, and how far it came.

    Parameters
    ----------
    engine : Engine
    stage : Stage
        As it begins.
    names : collection of str
        Of the passes whose tasks count; more of them than ``stage.n_total`` raise it.
    """
    latest = stage

    def tell(n_done: int, n_submitted: int) -> None:
        nonlocal latest
        n_total = max(stage.n_total, stage.n_done + n_submitted)
        latest = replace(stage, n_done=stage.n_done + n_done, n_total=n_total)
        engine.tell(latest)

    engine.tell(stage)
    with engine.following(names, tell):
        yield
    engine.tell(replace(latest, n_done=latest.n_total))
