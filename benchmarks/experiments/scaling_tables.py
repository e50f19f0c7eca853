"""Tables and picture of the experiment on growth."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.experiments.scaling_figures import (
    OPERATORS,
    SIDES,
    differences,
    exponent,
    fitted,
    gains,
    growth,
    kinds_of,
    last_exponent,
    sizes_of,
    start_up,
    with_all_rows,
)
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import panels, spread_line
from benchmarks.harness.tables import lines

__all__ = ["picture", "tables"]


def tables(findings: Findings) -> list[str]:
    """Time, exponents, recovery and scores."""
    found = ["## Time\n", _times(findings), _exponents(findings)]
    found += ["## Recovery\n", _recovery(findings)]
    if with_all_rows(findings):
        found += ["## The operator of all rows\n", _all_rows(findings)]
    return [*found, "## Scores\n", _scores(findings)]


def _cases(findings: Findings, operators: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "n_rows": n_rows, "operator": operator}
        for kind in kinds_of(findings)
        for n_rows in sizes_of(findings)
        for operator in operators
    ]


def _named(case: dict[str, Any]) -> list[str]:
    return [case["kind"], f"{case['n_rows']:,}", case["operator"]]


def _times(findings: Findings) -> str:
    head = ["clusters", "rows", "operator", "seconds", "a row, us", "landmarks", "runs"]
    rows = []
    for case in _cases(findings, OPERATORS):
        seconds = findings.values("seconds", part="run", **case)
        landmarks = findings.values("n_landmarks", part="run", **case)
        a_row = f"{1e6 * median(seconds) / case['n_rows']:.1f}"
        rows.append(
            [*_named(case), spread(seconds), a_row, spread(landmarks, 0), f"{len(seconds)}"]
        )
    return lines(head, rows)


def _exponents(findings: Findings) -> str:
    head = ["clusters", "operator", "start-up, s", "exponent of seconds", "without start-up",
            "of the two largest", "exponent of landmarks"]  # fmt: skip
    rows = []
    for kind in kinds_of(findings):
        for operator in OPERATORS:
            start = start_up(findings, operator)
            last = last_exponent(findings, "seconds", kind, operator, start)
            rows.append(
                [
                    kind,
                    operator,
                    "-" if math.isnan(start) else f"{start:.2f}",
                    fitted(exponent(findings, "seconds", kind, operator)),
                    fitted(growth(findings, kind, operator)),
                    "-" if last is None else f"{last:.2f}",
                    fitted(exponent(findings, "n_landmarks", kind, operator)),
                ]
            )
    return lines(head, rows)


def _recovery(findings: Findings) -> str:
    figures = {"mean_error": "mean error", "between_batches": "between batches",
               "of_centres": "of centres", "spread_kept": "spread kept",
               "mass_elsewhere": "mass elsewhere"}  # fmt: skip
    rows = [
        [*_named(case), *(_median(findings, name, case) for name in figures)]
        for case in _cases(findings, ("uncorrected", *OPERATORS))
    ]
    return lines(["clusters", "rows", "operator", *figures.values()], rows)


def _median(findings: Findings, figure: str, case: dict[str, Any]) -> str:
    return spread([run[figure] for run in findings.of(part="run", **case) if figure in run], 3)


def _all_rows(findings: Findings) -> str:
    figures = ("mass_elsewhere", "dense_elsewhere", "difference")
    rows = [
        [run["kind"], f"{run['n_rows']:,}", *(f"{run[name]:.3f}" for name in figures),
         f"{run['n_uncovered']:,}"]
        for run in with_all_rows(findings)
    ]  # fmt: skip
    head = ["clusters", "rows", "mass elsewhere, landmarks", "all rows", "difference", "uncovered"]
    return lines(head, rows)


def _scores(findings: Findings) -> str:
    figures = {"same_label": "same label", "batch_mixing": "batch mixing", "batch": "batch side",
               "biology": "biology side", "total": "total"}  # fmt: skip
    there = [name for name in figures if any(name in run for run in findings.of(part="run"))]
    head = ["clusters", "rows", "operator", *(figures[name] for name in there)]
    scored = "total" in there
    rows = []
    for case in _cases(findings, ("uncorrected", *OPERATORS)):
        row = [*_named(case), *(_median(findings, name, case) for name in there)]
        if scored:
            corrected = case["operator"] != "uncorrected"
            more = [100 * gain for gain in gains(findings, **case)] if corrected else []
            row += [spread(more), *(_part(findings, side, case) for side in SIDES)]
        rows.append(row)
    if scored:
        head += ["gain, %", "from batch side", "from biology side"]
    return lines(head, rows)


def _part(findings: Findings, side: str, case: dict[str, Any]) -> str:
    if case["operator"] == "uncorrected":
        return "-"
    return f"{SIDES[side] * median(differences(findings, side, **case)):+.3f}"


def picture(findings: Findings) -> Figure:
    """Draw time, landmarks, mean error and total over rows."""
    figure, axes = panels(4)
    time, landmarks, error, score = axes
    rows = sizes_of(findings)
    scored = any("total" in run for run in findings.of(part="run"))
    shown = "total" if scored else "same_label"
    for kind in kinds_of(findings):
        _line(findings, time, "seconds", kind, "smooth")
        _line(findings, landmarks, "n_landmarks", kind, "smooth")
        for operator in ("uncorrected", *OPERATORS):
            _line(findings, error, "mean_error", kind, operator)
            _line(findings, score, shown, kind, operator)
    _line_of_one(time, rows, findings)
    for axis in axes:
        axis.set(xscale="log", xlabel="rows")
    time.set(yscale="log", ylabel="seconds of a whole run", title="time, smooth")
    landmarks.set(yscale="log", ylabel="landmarks", title="rows drawn until the stop")
    error.set(ylim=(0, None), ylabel="mean error (1: a collapse)", title="recovery of the means")
    score.set(ylabel="total" if scored else "same-label share", title="scores", ylim=(0, 1))
    time.legend(frameon=False, fontsize=8)
    landmarks.legend(frameon=False, fontsize=8)
    handles, labels = score.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8,
                  title="recovery and scores")  # fmt: skip
    return figure


STYLES = {"separated": "o-", "overlapping": "s--"}
COLOUR_OF = {"uncorrected": "#000000", "smooth": "#0072B2", "displace": "#D55E00"}


def _line(findings: Findings, axis: Any, figure: str, kind: str, operator: str) -> None:
    rows = sizes_of(findings)
    case = {"part": "run", "kind": kind, "operator": operator}
    values = [findings.values(figure, **case, n_rows=n) for n in rows]
    label = kind if figure in ("seconds", "n_landmarks") else f"{operator}, {kind}"
    spread_line(axis, rows, values, label, color=COLOUR_OF[operator], fmt=STYLES[kind])


def _line_of_one(axis: Any, rows: Sequence[int], findings: Findings) -> None:
    """Draw what an exponent of one would be, through the largest size."""
    case = {"part": "run", "operator": "smooth", "kind": kinds_of(findings)[0]}
    last = median(findings.values("seconds", **case, n_rows=rows[-1]))
    through = [last * n / rows[-1] for n in rows]
    axis.plot(rows, through, ":", color="0.5", lw=1.2, label="exponent 1")
