"""Tables, plot and reading of the severity of batch effects."""

from typing import Any

import numpy as np
from findings import Findings, spread
from matplotlib.figure import Figure
from pictures import COLOURS, grid
from real_tables import lines
from scoring import main_score
from severity_curves import NO_EFFECT, UNCORRECTED, Curve, curve, levels, scores_of

__all__ = ["AXES", "NO_EFFECT", "PEER", "UNCORRECTED", "picture", "reading", "tables"]

PEER = "harmonypy"
AXES = {
    "offset": "standard deviation of batch offsets\n(noise within a cluster = 1)",
    "stretch": "standard deviation of the logarithm\nof batches' factors for features",
    "rotation": "angle by which a batch turns profiles\n(degrees)",
}
STYLES = {
    UNCORRECTED: ("#888888", "X--"),
    "smooth": (COLOURS[0], "o-"),
    "nystrom": (COLOURS[1], "s-"),
    "displace": (COLOURS[2], "D-"),
    "displace, 2 passes": (COLOURS[3], "^-"),
    "smooth, no guard": (COLOURS[4], "o:"),
    "displace, 2 passes, no guard": (COLOURS[5], "^:"),
    PEER: (COLOURS[6], "P-"),
}


def _names(findings: Findings, key: str) -> list[str]:
    return list(dict.fromkeys(run[key] for run in findings.record["runs"]))


def _axes(findings: Findings) -> list[str]:
    return [axis for axis in AXES if axis in _names(findings, "axis")]


def _corrections(findings: Findings) -> list[str]:
    return [method for method in _names(findings, "method") if method != UNCORRECTED]


def tables(findings: Findings) -> list[str]:
    """Scores along every axis, and where gains begin and end."""
    found = []
    methods = _names(findings, "method")
    figures = [main_score(findings), ("same_label", "same-label share"), ("batch_mixing", "mixing")]
    for kind in _names(findings, "kind"):
        for axis in _axes(findings):
            found.append(f"## {kind} clusters, {axis}\n")
            for figure, name in dict(figures).items():
                columns = [scores_of(findings, figure, kind, axis, m).T for m in methods]
                rows = [
                    [f"{level:g}", *(spread(list(column[i]), 3) for column in columns)]
                    for i, level in enumerate(levels(findings, kind, axis))
                ]
                found.append(lines([f"{axis}: {name}", *methods], rows))
            found.append(_points(findings, kind, axis))
    return found


def _points(findings: Findings, kind: str, axis: str) -> str:
    head = ["method", "gain at no effect", "better", "until, single seeds", "half given back",
            "greatest gain, at", "least gain, at"]  # fmt: skip
    rows = []
    for method in _corrections(findings):
        one = curve(findings, kind, axis, method)
        rows.append(
            [method, f"{one.mean[0]:+.3f} ({_range(one.gains[:, 0], '+.3f')})", helped(one),
             _range(one.ends, ".2g") if one.ends else "-", _half(one),
             *(f"{one.mean[i]:+.3f}, {one.places[i]:g}" for i in _extremes(one))]
        )  # fmt: skip
    return lines(head, rows)


def _extremes(one: Curve) -> tuple[int, int]:
    return int(one.mean.argmax()), int(one.mean.argmin())


def _range(values: np.ndarray | list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


def _half(one: Curve) -> str:
    if one.half is None:
        return "nowhere"
    return f"up to {one.half.end:.2g}" if one.half.closes else "to the last"


def helped(one: Curve) -> str:
    """Say in words where the mean gain is above zero."""
    if not one.helps:
        return "nowhere"
    parts = []
    for each in one.helps:
        if not each.opens and not each.closes:
            return "everywhere"
        start = f"from {each.start:.2g}" if each.opens else "from none"
        parts.append(f"{start} {f'to {each.end:.2g}' if each.closes else 'on'}")
    return " and ".join(parts)


def reading(findings: Findings) -> str:
    """Say where corrections help, stop helping and harm."""
    name = main_score(findings)[1]
    sentences = []
    for kind in _names(findings, "kind"):
        along = [_along(findings, kind, axis, name) for axis in _axes(findings)]
        sentences += [_without_effect(findings, kind, name), *along]
    if PEER not in _names(findings, "method"):
        sentences.append(f"{PEER} was not there to compare with.")
    return " ".join(sentences)


def _without_effect(findings: Findings, kind: str, name: str) -> str:
    axis = _axes(findings)[0]
    corrections = _corrections(findings)
    gains = {m: curve(findings, kind, axis, m).gains[:, 0] for m in corrections}
    listed = " / ".join(f"{method} {each.mean():+.3f}" for method, each in gains.items())
    biology = ""
    if main_score(findings)[0] == "total":
        sides = {m: curve(findings, kind, axis, m, figure="biology").mean[0] for m in corrections}
        biology = f" (its biology side: {' / '.join(f'{m} {g:+.3f}' for m, g in sides.items())})"
    harmful = [method for method, each in gains.items() if each.max() < 0]
    harm = f"with every seed by {_listed(harmful)}" if harmful else "by no method with every seed"
    return (
        f"*{kind.capitalize()} clusters.* Without any batch effect, corrections change the "
        f"{name} by {listed}{biology}; harm is done {harm}."
    )


def _along(findings: Findings, kind: str, axis: str, name: str) -> str:
    raw = scores_of(findings, main_score(findings)[0], kind, axis, UNCORRECTED).mean(axis=0)
    last = levels(findings, kind, axis)[-1]
    curves = {method: curve(findings, kind, axis, method) for method in _corrections(findings)}
    facts = {
        "better than uncorrected": {method: helped(one) for method, one in curves.items()},
        "half of the loss given back": {method: _half(one) for method, one in curves.items()},
    }
    if PEER in curves:
        facts[f"better than {PEER}"] = {
            method: helped(curve(findings, kind, axis, method, beside=PEER))
            for method in curves
            if method != PEER
        }
    worst = min(curves, key=lambda method: curves[method].mean[1:].min())
    listed = ". ".join(f"{what.capitalize()}: {_grouped(each)}" for what, each in facts.items())
    least = curves[worst].mean[1:].min()
    at = curves[worst].places[1 + int(curves[worst].mean[1:].argmin())]
    harm = f"Greatest harm: {worst}, {least:+.3f} at {at:g}" if least < 0 else "No harm anywhere"
    return (
        f"With growing {axis} the uncorrected {name} goes from {raw[0]:.3f} to {raw[-1]:.3f} "
        f"(at {last:g}). {listed}. {harm}."
    )


def _grouped(phrases: dict[str, str]) -> str:
    methods: dict[str, list[str]] = {}
    for method, phrase in phrases.items():
        methods.setdefault(phrase, []).append(method)
    if len(methods) == 1:
        return f"{next(iter(methods))} (all)"
    return "; ".join(f"{phrase} ({' / '.join(names)})" for phrase, names in methods.items())


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def picture(findings: Findings) -> Figure:
    """Scores above, gains below; a column an axis, for the last kind of clusters."""
    figure_name, name = main_score(findings)
    kinds, axes_of = _names(findings, "kind"), _axes(findings)
    n_seeds = len({run["seed"] for run in findings.record["runs"]})
    figure, axes = grid(2 * len(axes_of) * len(kinds), len(axes_of))
    for number, (kind, axis) in enumerate((kind, axis) for kind in kinds for axis in axes_of):
        line, column = divmod(number, len(axes_of))
        upper = axes[2 * line * len(axes_of) + column]
        lower = axes[(2 * line + 1) * len(axes_of) + column]
        for method in _names(findings, "method"):
            scored = scores_of(findings, figure_name, kind, axis, method)
            _line(upper, levels(findings, kind, axis), scored, method)
            if method != UNCORRECTED:
                one = curve(findings, kind, axis, method)
                _line(lower, one.places, one.gains, method)
        lower.axhline(0, color="#888888", lw=1.2, ls="--", zorder=0)
        lower.annotate("uncorrected", (1, 0), xycoords=("axes fraction", "data"), ha="left",
                       va="center", rotation=90, color="#666666", fontsize=8)  # fmt: skip
        lower.set_xlabel(AXES[axis])
        for each in (upper, lower) if axis == "offset" else ():
            _doubling(each, levels(findings, kind, axis))
        upper.set_title(f"{axis}, {kind} clusters", fontsize=10)
        if column == 0:
            upper.set_ylabel(f"{name}\n(higher is better)")
            lower.set_ylabel(f"gain in {name}\nover uncorrected")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"One kind of batch effect at a time: means and ranges of {n_seeds} seeds")
    return figure


def _line(axis: Any, places: list[float], values: np.ndarray, method: str) -> None:
    colour, form = STYLES[method]
    middle = values.mean(axis=0)
    bars = [middle - values.min(axis=0), values.max(axis=0) - middle]
    axis.errorbar(places, middle, bars, fmt=form, ms=4, lw=1.2, capsize=2, color=colour,
                  label=method)  # fmt: skip


def _doubling(axis: Any, places: list[float]) -> None:
    """Severities that double, from 0 on, at about equal distances."""
    axis.set_xscale("symlog", linthresh=places[1], linscale=0.5)
    axis.set_xticks(places, [f"{place:g}" for place in places])
    axis.minorticks_off()
    axis.set_xlim(-0.2 * places[1], 1.15 * places[-1])
