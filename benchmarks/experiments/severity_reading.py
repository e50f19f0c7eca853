"""What the severity of batch effects does to corrections, in words."""

from collections.abc import Callable, Mapping

from benchmarks.experiments.severity_curves import (
    MARGIN,
    UNCORRECTED,
    Curve,
    curve,
    levels,
    scores_of,
)
from benchmarks.experiments.severity_report import (
    PEER,
    axes_of,
    corrections_of,
    half_given_back,
    helped,
    names_of,
)
from benchmarks.experiments.wording import bullets, listed, span
from benchmarks.harness.findings import Findings
from benchmarks.harness.scoring import main_score

__all__ = ["reading"]

FIRST = ("smooth", "displace")
"""The methods of the answer, beside the peer."""


def reading(findings: Findings) -> list[str]:
    """Say where corrections help, stop helping and harm, first in short."""
    told = [_in_short(findings)]
    for kind in names_of(findings, "kind"):
        told += _without_effect(findings, kind)
        for axis in axes_of(findings):
            told += _along(findings, kind, axis)
    if PEER not in names_of(findings, "method"):
        told.append(f"{PEER} was not there to compare with.")
    return told


def _in_short(findings: Findings) -> str:
    name = main_score(findings)[1]
    shown = [method for method in (*FIRST, PEER) if method in corrections_of(findings)]
    kinds, axis = names_of(findings, "kind"), axes_of(findings)[0]
    alone = {
        method: span((float(curve(findings, kind, axis, method).mean[0]) for kind in kinds), "+.3f")
        for method in shown
    }
    counted = {method: _gains_of(findings, method, UNCORRECTED) for method in shown}
    better = [f"`{method}` at {sum(each > MARGIN for each in gains)}"
              for method, gains in counted.items()]  # fmt: skip
    beside = ""
    if PEER in shown and len(shown) > 1:
        ahead = _gains_of(findings, shown[-2], PEER)
        beside = f"; `{shown[-2]}` is ahead of {PEER} at {sum(each > MARGIN for each in ahead)}"
    return (
        f"Without a batch effect the {name} changes by "
        f"{listed([f'{gain} (`{method}`)' for method, gain in alone.items()])}. With one it is "
        f"above uncorrected by over {MARGIN} with {listed(better)} of "
        f"{len(counted[shown[0]])} severities{beside}."
    )


def _gains_of(findings: Findings, method: str, beside: str) -> list[float]:
    """Mean gain at every severity that was measured but none."""
    return [
        float(gain)
        for kind in names_of(findings, "kind")
        for axis in axes_of(findings)
        for gain in curve(findings, kind, axis, method, beside=beside).mean[1:]
    ]


def _without_effect(findings: Findings, kind: str) -> list[str]:
    axis, corrections = axes_of(findings)[0], corrections_of(findings)
    gains = {m: curve(findings, kind, axis, m).gains[:, 0] for m in corrections}
    sides = {}
    if main_score(findings)[0] == "total":
        sides = {m: curve(findings, kind, axis, m, figure="biology").mean[0] for m in corrections}
    harmful = [f"`{method}`" for method, each in gains.items() if each.max() < 0]
    harm = f"with every seed by {listed(harmful)}" if harmful else "by no method with every seed"
    each = [
        f"`{method}` {gain.mean():+.3f}"
        + (f" (biology side {sides[method]:+.3f})" if sides else "")
        for method, gain in gains.items()
    ]
    mind = (
        "The PCR part of the total raises a gain also where there is nothing to remove; the "
        "biology side is free of it. "
        if sides
        else ""
    )
    return [
        f"*{kind.capitalize()} clusters without any batch effect.* {mind}Harm is done {harm}; the "
        f"{main_score(findings)[1]} changes by:",
        bullets(each),
    ]


def _along(findings: Findings, kind: str, axis: str) -> list[str]:
    key, name = main_score(findings)
    raw = scores_of(findings, key, kind, axis, UNCORRECTED).mean(axis=0)
    last = levels(findings, kind, axis)[-1]
    curves = {method: curve(findings, kind, axis, method) for method in corrections_of(findings)}
    beside = {
        method: curve(findings, kind, axis, method, beside=PEER)
        for method in curves
        if PEER in curves and method != PEER
    }
    facts = [
        f"better than uncorrected: {_grouped(curves, helped)}",
        f"half of the loss given back: {_grouped(curves, half_given_back)}",
        *([f"better than {PEER}: {_grouped(beside, helped)}"] if beside else []),
        _worst(curves),
    ]
    return [
        f"*{kind.capitalize()} clusters, growing {axis}.* The uncorrected {name} goes from "
        f"{raw[0]:.3f} to {raw[-1]:.3f} (at {last:g}).",
        bullets(facts),
    ]


def _worst(curves: Mapping[str, Curve]) -> str:
    """Say the greatest harm of all, and of the default."""
    worst = min(curves, key=lambda method: curves[method].mean[1:].min())
    said = []
    for method in dict.fromkeys((worst, FIRST[0])):
        gains = curves[method].mean[1:]
        at = curves[method].places[1 + int(gains.argmin())]
        if gains.min() < 0:
            said.append(f"`{method}`, {gains.min():+.3f} at {at:g}")
    return f"greatest harm: {listed(said)}" if said else "no harm anywhere"


def _grouped(curves: Mapping[str, Curve], said: Callable[[Curve], str]) -> str:
    methods: dict[str, list[str]] = {}
    for method, one in curves.items():
        methods.setdefault(said(one), []).append(f"`{method}`")
    if len(methods) == 1:
        return f"{next(iter(methods))}, with all"
    return "; ".join(f"{listed(names)} {phrase}" for phrase, names in methods.items())
