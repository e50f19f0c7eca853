"""Bytes that a round of the sampler sends: as planned, and as cables have counted them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from balans_dask.kernels.elbow import N_BINS
from balans_dask.passes.task_bytes import COLLECTED_NODES
from benchmarks.harness.network import Host

LOOK_SECONDS = 0.01
TASK_BYTES = 3 * 1024
"""A task's names, states and function, on all its ways together."""
SECOND_BYTES = 16 * 1024
"""Heartbeats of a worker and its host in a second."""
HEADERS = 1.05
"""Of TCP, IP and Ethernet, with the acknowledgements of the other side."""


@dataclass(frozen=True)
class RoundShape:
    """Sizes that decide what a round sends."""

    n_partitions: int
    block_rows: int
    n_components: int
    n_batches: int
    n_neighbors: int = 5

    @property
    def block_bytes(self) -> int:
        """A block of landmarks, with scales and thresholds."""
        return self.block_rows * (4 * self.n_components + 8 * self.n_batches + 5 * 8 + 1)

    @property
    def node_bytes(self) -> int:
        """What the driver gets of one partition, or of many merged: nearest, histogram, report."""
        nearest = 8 * self.n_batches * self.n_neighbors
        bins = (4 if self.n_partitions <= COLLECTED_NODES else 8) * N_BINS
        report = 4 * self.n_components + 4 * 8 + 1
        return self.block_rows * (nearest + bins + report)

    @property
    def to_driver(self) -> int:
        """From the workers to the driver; the scheduler passes it on, and sees it twice."""
        return min(self.n_partitions, COLLECTED_NODES) * self.node_bytes

    @property
    def to_workers(self) -> int:
        """From the driver to the workers: every task of the three passes holds its block."""
        return 3 * self.n_partitions * self.block_bytes

    def at_most(self, seconds: float) -> tuple[float, float]:
        """Bytes to the driver and from it, with all that Dask and the network add to them."""
        rest = 5 * self.n_partitions * TASK_BYTES + seconds * SECOND_BYTES
        return HEADERS * self.to_driver + rest, HEADERS * self.to_workers + rest


@dataclass(frozen=True)
class Traffic:
    """What the cables of a run have carried while it sampled, after its first round."""

    seconds: list[float]  # of every round
    sent: list[float]  # bytes a round, by the counters of their interfaces
    received: list[float]


def watched(
    process: psutil.Popen,
    target: Path,
    hosts: Sequence[Host],
    on_round: Callable[[int], None] = lambda n_rounds: None,
) -> Traffic:
    """Wait for the end of a run, and read the counters when its sampling begins and ends.

    ``target`` is the output of the command; ``on_round`` is told soon after the end of a round how
    many there have been.
    """
    events = target.with_name(target.name + ".partial") / "events.jsonl"
    marks: list[list[tuple[int, int]]] = []
    n_rounds = 0
    while process.poll() is None:
        found = _lines(events)
        ended = sum(event["n_rounds"] is not None for event in found)
        if ended > n_rounds:
            n_rounds = ended
            on_round(n_rounds)
        sampling = bool(found) and found[-1]["n_rounds"] is not None
        if (not marks and sampling) or (len(marks) == 1 and not sampling):
            marks.append([host.bytes() for host in hosts])
        time.sleep(LOOK_SECONDS)
    if process.returncode != 0 or len(marks) != 2:
        raise RuntimeError(f"the run ended with {process.returncode}, or too soon to be watched")
    ends = [e["seconds"] for e in _lines(Path(f"{target}.events.jsonl")) if e["n_rounds"]]
    sent, received = (
        [(after[way] - before[way]) / (len(ends) - 1) for before, after in zip(*marks, strict=True)]
        for way in (0, 1)
    )
    return Traffic([b - a for a, b in pairwise(ends)], sent, received)


def _lines(events: Path) -> list[dict[str, Any]]:
    try:
        # The last line may be half written.
        return [json.loads(line) for line in events.read_text().split("\n")[:-1]]
    except FileNotFoundError:
        return []
