"""What was run, and what the sampler did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from balans_dask.errors import format_bytes, public
from balans_dask.passes.stage import EXAMINING
from balans_dask.report.page import MAX_NAMED, Picture, Section, Table, drawn
from balans_dask.report.row_sections import uncovered_tables
from balans_dask.report.run_figures import (
    coverage_figure,
    neighbours_figure,
    scales_figure,
    shares_figure,
)
from balans_dask.report.source import Reported
from balans_dask.workflows.records import read_events, said_of_sphering
from balans_dask.workflows.sharing import MEANING, sharing_facts

__all__ = [
    "StageTime",
    "command_section",
    "run_section",
    "sampling_section",
    "stage_times",
]

STOP_REASONS = {
    "patience": "consecutive landmarks covered nothing new (patience)",
    "auto": "no population of a ten-thousandth of the rows is likely to be missed (auto)",
    "all_rows": "every row was drawn",
    "max_rows": "the most rows that were allowed were drawn (max_rows)",
}


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


def command_section(asked: Reported) -> Section:
    """Show the command that makes the store again."""
    text = ["What makes this store again, in its folder; options left out have their defaults."]
    return Section("The command", text, code=asked.command)


def run_section(asked: Reported) -> Section:
    """Say what was run: parameters, versions, fingerprint, times."""
    record = asked.record
    reason = str(record["stop_reason"])
    facts = [
        ("store", public(asked.store.path)),
        ("input", str(record.get("input", "not recorded"))),
        ("batch", " + ".join(asked.batch_keys)),
        ("stopped because", STOP_REASONS.get(reason, reason)),
        ("data fingerprint", str(record["fingerprint"])),
        ("limited by the guard", f"{int(record.get('n_capped', 0)):,} landmarks"),
    ]
    sharing = sharing_facts(record)
    facts += sharing.items()
    facts += [("by the model", str(record["model"]))] if "model" in record else []
    if "sphering" in record:
        facts.append(("sphered by", said_of_sphering(record["sphering"])))
    parameters = [(name, _plain(value)) for name, value in record["parameters"].items()]
    versions = [(name, str(value)) for name, value in record["versions"].items()]
    versions += [("arithmetic", _plain(record.get("arithmetic", "")))]
    text, times = _times(asked.store.path)
    return Section(
        "What was run",
        [*text, MEANING] if sharing else text,
        tables=[
            Table("Run", (), facts),
            *times,
            Table("Parameters", (), parameters),
            Table("Versions", (), versions),
        ],
    )


def sampling_section(asked: Reported) -> Section:
    """Show coverage, landmarks by batch, their scales and their neighbours."""
    record = asked.record
    title = "Coverage and landmarks"
    text = [
        "Landmarks are drawn where coverage is low, until further ones cover nothing new. A row is "
        "covered if some landmark keeps an affinity to it."
    ]
    curve = record["coverage_curve"]
    last = int(curve["n_sampled"][-1])
    n_fitted = int(record.get("n_fit_rows", asked.store.n_rows))
    if n_fitted < asked.store.n_rows:
        text.append(
            f"The correction was learned from {n_fitted:,} of {asked.store.n_rows:,} rows, as many "
            "of every batch: they are the rows that are counted here."
        )
    if "model" in record:
        text.append(
            "This store was corrected by a frozen model: the landmarks are those of its fit."
        )
        n_fitted = max(int(curve["n_covered"][-1]), 1)
    covered = int(curve["n_covered"][-1]) / n_fitted
    pictures = [
        drawn(
            coverage_figure(record, n_fitted),
            f"Share of rows covered against landmarks drawn; it stops at {last:,} landmarks with "
            f"{covered:.2%} covered.",
            "Coverage while landmarks were drawn, and where the run stopped.",
        )
    ]
    if "n_kept" in record:
        pictures += _landmark_pictures(asked)
    else:
        text.append("The store holds no facts about single landmarks.")
    return Section(title, text, pictures, uncovered_tables(asked))


def _landmark_pictures(asked: Reported) -> list[Picture]:
    record = asked.record
    largest = ", largest batches only" if asked.batch.n_batches > MAX_NAMED else ""
    median = float(np.median(record["n_kept"]))
    return [
        drawn(
            neighbours_figure(record),
            f"Histogram of the rows that landmarks keep affinity to; the median is {median:,.0f}.",
            "Neighbours kept per landmark.",
        ),
        drawn(
            shares_figure(record),
            "Every batch's share of rows, of landmarks drawn, and of newly covered rows.",
            "Landmarks drawn from each batch, and the rows that they newly covered, beside the "
            f"batch's share of rows{largest}.",
        ),
        drawn(
            scales_figure(record),
            "Quantiles of the landmarks' local scales in every batch.",
            "Local scales by batch: smallest to largest (line), quartiles (bar), median (dot)"
            f"{largest}. A batch far to the right lacks neighbours for many landmarks.",
        ),
    ]


def _times(path: str) -> tuple[list[str], list[Table]]:
    """Lay out wall times, if the run noted them."""
    events = read_events(path)
    if not events:
        return ["Wall times were not noted: there is no file of events beside the store."], []
    stages = stage_times(events)
    n_attempts = len({event["attempt"] for event in events})
    rows = [
        (each.name, str(each.n_pass), f"{each.seconds:,.1f}", format_bytes(each.peak_bytes))
        for each in stages
    ]
    total = sum(each.seconds for each in stages)
    peak = max((each.peak_bytes for each in stages), default=0)
    rows.append(("all", "", f"{total:,.1f}", format_bytes(peak)))
    header = ("stage", "pass", "seconds", "peak memory so far")
    text = "Peak memory is that of the driver process, which on threads holds the workers too."
    again = f" The run took {n_attempts} attempts." if n_attempts > 1 else ""
    return [text + again], [Table("Wall time and peak memory", header, rows)]


def _plain(value: Any) -> str:
    if isinstance(value, (np.ndarray, Sequence)) and not isinstance(value, str):
        return ", ".join(str(part) for part in value)
    return str(value)
