"""On what the seconds of a run are spent, from its events, as a table and as bars."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from balans_dask.passes.stage import EXAMINING, FINISHING, PREPARING, SAMPLING, SUMMING, WRITING
from benchmarks.harness.findings import median
from benchmarks.harness.pictures import COLOURS

START = "start and end of the process"
BETWEEN = "writing between steps"
PHASES = (START, EXAMINING, PREPARING, SAMPLING, SUMMING, BETWEEN, WRITING, FINISHING)
"""``WRITING`` is the last of a run: with ``align``, of all rows if some were fitted."""
PHASE_COLOURS = dict(zip(PHASES, (*COLOURS, "#999999"), strict=True))


def phases_of(events: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, float]:
    """Divide the seconds of a whole process.

    Parameters
    ----------
    events : sequence of mapping
        Of one attempt, which ended well.
    seconds : float
        From the start of the process to its end.
    """
    found = dict.fromkeys(PHASES, 0.0)
    stages = [str(event["stage"]) for event in events]
    last = len(stages) - stages[::-1].index(WRITING)
    first = last - 1
    while stages[first - 1] == WRITING:
        first -= 1
    for place, (before, after) in enumerate(pairwise(events)):
        name = BETWEEN if stages[place] == WRITING and place < first else stages[place]
        found[name] += float(after["seconds"]) - float(before["seconds"])
    found[START] = seconds - sum(found.values())
    return {name: round(spent, 3) for name, spent in found.items()}


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians of the phases of some runs."""
    return {name: median([run["phases"][name] for run in runs]) for name in PHASES}


def draw_phases(axis: Any, bars: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> None:
    """Draw a bar for every group of runs: shares of their time, and the time beside it."""
    for place, (name, runs) in enumerate(bars.items()):
        spent, begin = medians(runs), 0.0
        whole = sum(spent.values())
        for phase, colour in PHASE_COLOURS.items():
            share = spent[phase] / whole
            label = phase if place == 0 else None
            axis.barh(name, share, left=begin, color=colour, label=label)
            begin += share
        axis.text(1.01, place, f"{whole:,.1f} s", va="center", fontsize=7)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="share of the run", title=title)
    axis.tick_params(axis="y", labelsize=7)
    axis.legend(frameon=False, fontsize=6, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))
