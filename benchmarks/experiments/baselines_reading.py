"""What `baselines.py` found: tables, plot and words."""

from typing import Any

from findings import Findings, median, spread
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pictures import COLOURS, grid
from real_tables import lines
from scoring import main_score

__all__ = ["picture", "reading", "tables"]

RETRIEVAL = "cross_batch_map"
LEAST_WIDTH = 0.1
MARGIN = 0.005
"""What is called a difference; totals move by up to that with kBET, which cannot be seeded."""
BEST = "displace, 2 passes"
OURS = ("smooth", "displace", BEST)
COLUMNS = {
    "total": "total",
    "batch": "batch side",
    "biology": "biology side",
    "same_label": "same label",
    "batch_mixing": "batch mixing",
    RETRIEVAL: "cross-batch mAP",
}


def tables(findings: Findings) -> list[str]:
    """One table a data set, of the scores that were measured."""
    return [f"## {name}\n\n{_table(findings, name)}" for name in _sets(findings)]


def _table(findings: Findings, name: str) -> str:
    present = [each for each in COLUMNS if findings.of(set=name)[0].get(each) is not None]
    head = ["method", *(COLUMNS[each] for each in present), "seconds"]
    rows = [
        [method, *(spread(_values(findings, name, method, each), 3) for each in present),
         spread(_values(findings, name, method, "seconds"), 2)]
        for method in _methods(findings, name)
    ]  # fmt: skip
    return lines(head, rows)


def picture(findings: Findings) -> Figure:
    """Medians and ranges of the main score, a panel a data set."""
    score, names = main_score(findings)[0], _sets(findings)
    figure, axes = grid(len(names), 3)
    for axis, name in zip(axes, names, strict=True):
        _panel(axis, findings, name, score)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Corrections beside other methods: medians and ranges over seeds")
    return figure


def _panel(axis: Any, findings: Findings, name: str, score: str) -> None:
    shown = [method for method in _methods(findings) if method != "raw"]
    raw = median(_values(findings, name, "raw", score))
    axis.axvline(raw, color=COLOURS[6], lw=1, ls="--", label="uncorrected")
    for label, colour in (("ours", COLOURS[0]), ("other methods", COLOURS[5])):
        axis.plot([], [], "o", color=colour, ms=5, label=label)
    for place, method in enumerate(shown):
        values = _values(findings, name, method, score)
        if values:
            middle, colour = median(values), COLOURS[0 if method in OURS else 5]
            bar = [[middle - min(values)], [max(values) - middle]]
            axis.errorbar(middle, place, xerr=bar, fmt="o", ms=5, capsize=3, color=colour)
    low, high = axis.get_xlim()
    # Differences that mean nothing should not fill the panel.
    wider = max(0.0, LEAST_WIDTH - (high - low)) / 2
    axis.set_xlim(low - wider, high + wider)
    for place, method in enumerate(shown):
        if not _values(findings, name, method, score):
            axis.text(low - wider, place, "  not measured", color="0.5", va="center", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_yticks(range(len(shown)), shown)
    axis.set(title=name, xlabel=f"{COLUMNS[score]} (higher is better)", ylim=(len(shown), -1))


def reading(findings: Findings) -> str:
    """Say who is best where, what each loses, and what was not there."""
    score = main_score(findings)[0]
    found = [f"- {_of_set(findings, name, score)}" for name in _sets(findings)]
    told = [_beside_ours(findings, score), _retrieval(findings, score), _missing(findings)]
    return "\n".join(found) + "\n\n" + " ".join(each for each in told if each)


def _of_set(findings: Findings, name: str, score: str) -> str:
    found = _ranked(findings, name, score)
    (best, value), raw = found[0], dict(found)["raw"]
    place = [method for method, _ in found].index(BEST) + 1
    below = [f"{method} {each:.3f}" for method, each in found if each <= raw - MARGIN]
    return (
        f"*{name}*: the highest {COLUMNS[score]} is {value:.3f} ({_named(best)}), uncorrected "
        f"{raw:.3f}; `{BEST}` is at place {place} of {len(found)} with {dict(found)[BEST]:.3f}. "
        + (f"Below uncorrected: {', '.join(below)}." if below else "None is below uncorrected.")
    )


def _beside_ours(findings: Findings, score: str) -> str:
    others = [m for m in _methods(findings) if m not in (*OURS, "raw")]
    told = []
    for other in others:
        both = [name for name in _sets(findings) if _values(findings, name, other, score)]
        found = [_compared(findings, name, other, score) for name in both]
        counts = {word: found.count(word) for word in ("above", "below", "alike")}
        told.append(f"{other} " + ", ".join(f"{word} {n}" for word, n in counts.items() if n))
    if not told:
        return ""
    return (
        f"Number of sets on which `{BEST}` is above, below or like another method (alike: by less "
        f"than {MARGIN}, or ranges overlap): {'; '.join(told)}."
    )


def _compared(findings: Findings, name: str, other: str, score: str) -> str:
    ours, theirs = (_values(findings, name, method, score) for method in (BEST, other))
    overlap = min(ours) <= max(theirs) and min(theirs) <= max(ours)
    difference = median(ours) - median(theirs)
    if overlap or abs(difference) < MARGIN:
        return "alike"
    return "above" if difference > 0 else "below"


def _retrieval(findings: Findings, score: str) -> str:
    ways: dict[str, list[str]] = {"kept or raised": [], "lowered": []}
    for name in _sets(findings):
        if not _values(findings, name, "raw", RETRIEVAL):
            continue
        ranked, helped = dict(_ranked(findings, name, RETRIEVAL)), _ranked(findings, name, score)
        raw, other = ranked["raw"], dict(helped)["raw"]
        better = [method for method, value in helped if value >= other + MARGIN]
        for way, methods in (
            ("kept or raised", [method for method in better if ranked[method] > raw - MARGIN]),
            ("lowered", [method for method in better if ranked[method] <= raw - MARGIN]),
        ):
            each = ", ".join(f"{method} {ranked[method]:.3f}" for method in methods)
            ways[way].append(f"{name} (uncorrected {raw:.3f}): {each or 'none'}")
    told = [
        f"Of methods with a {COLUMNS[score]} above uncorrected, {COLUMNS[RETRIEVAL]} is {way} by: "
        f"{'; '.join(sets)}."
        for way, sets in ways.items()
        if sets
    ]
    return " ".join(told)


def _missing(findings: Findings) -> str:
    wanted, there = findings.record["options"]["sizes"]["peers"], findings.record["versions"]
    absent = [method for method in wanted if method not in there]
    text = "fastMNN and Seurat are packages of R and were not measured"
    if absent:
        text += f", nor were {', '.join(absent)}, which were not installed"
    return text + "."


def _named(method: str) -> str:
    return "uncorrected" if method == "raw" else f"`{method}`"


def _sets(findings: Findings) -> list[str]:
    return list(dict.fromkeys(run["set"] for run in findings.record["runs"]))


def _methods(findings: Findings, name: str | None = None) -> list[str]:
    runs = findings.of(set=name) if name else findings.record["runs"]
    return list(dict.fromkeys(run["method"] for run in runs))


def _values(findings: Findings, name: str, method: str, figure: str) -> list[float]:
    runs = findings.of(set=name, method=method)
    return [run[figure] for run in runs if run.get(figure) is not None]


def _ranked(findings: Findings, name: str, score: str) -> list[tuple[str, float]]:
    methods = _methods(findings, name)
    found = [(method, median(_values(findings, name, method, score))) for method in methods]
    return sorted(found, key=lambda each: -each[1])
