"""What the experiment on the pseudo-inverse found, in words."""

from collections.abc import Sequence

from benchmarks.experiments.pseudo_inverse_operators import LIMIT_OF, OPERATORS, known, values_of
from benchmarks.experiments.wording import bullets, listed, span
from benchmarks.harness.findings import Findings, median

__all__ = ["reading"]

TIE = 0.01
"""Errors that differ by less are called alike; our choice."""
CLEAR = 0.8
"""Share of the runs in which a change must have one sign to be called one; our choice."""


def reading(findings: Findings) -> list[str]:
    """Say what the omission changes, and where, first in short."""
    ratios = values_of(findings, "ratio")
    unequal = dict.fromkeys((ratios[len(ratios) // 2], ratios[-1]))
    return [
        _in_short(findings),
        *_errors(findings),
        *_eigenvalues(findings),
        _amplified(findings),
        *_small(findings, list(dict.fromkeys((ratios[0], ratios[-1])))),
        *(part for ratio in unequal for part in _verdict(findings, ratio)),
    ]


def _in_short(findings: Findings) -> str:
    """Say whether the pseudo-inverse would help small clusters, and how they fare without it."""
    with_it, least = "nystrom", values_of(findings, "ratio")[-1]
    errors = {name: median(_all(findings, name, "error")) for name in ("smooth", with_it)}
    side = "larger" if errors[with_it] > errors["smooth"] else "smaller"
    share = {
        name: median(known(findings.of(ratio=least, operator=name), "small_same_label"))
        for name in ("raw", "smooth", with_it)
    }
    leaked = [
        format(median(known(findings.of(ratio=least, operator=name), "small_leaked")), ".0%")
        for name in ("smooth", with_it, "A")
    ]
    shares = (
        f"small clusters have a same-label share of {share['raw']:.2f} uncorrected, "
        f"{share['smooth']:.2f} after `smooth` and {share[with_it]:.2f} after `{with_it}`; "
        if _gains(findings, with_it, least)
        else "no small cluster has two rows; "
    )
    return (
        f"With the pseudo-inverse (`{with_it}`) the error against the dense A is {side}, "
        f"{errors[with_it]:.2f} instead of {errors['smooth']:.2f}. At cluster sizes of 1:{least:,} "
        f"{shares}{listed(leaked)} of their rows' weight leaks with `smooth`, `{with_it}` and the "
        "dense A."
    )


def _errors(findings: Findings) -> list[str]:
    against = {operator: median(_all(findings, operator, "error")) for operator in OPERATORS}
    least = min(against.values())
    nearest = [f"`{operator}`" for operator, found in against.items() if found < least + TIE]
    each = []
    for operator, limit in LIMIT_OF.items():
        own = median([run["errors"][limit] for run in findings.of(operator=operator)])
        beside = f"; {own:.2f} from its own limit, {limit}" if limit != "A" else ""
        each.append(
            f"`{operator}` {against[operator]:.2f}, {_growth(findings, operator):+.2f} from the "
            f"most equal sizes to the least equal ones{beside}"
        )
    return [
        "*Error*, median over all mixtures, against the dense A. "
        f"{listed(nearest)} {'have' if len(nearest) > 1 else 'has'} the smallest:",
        bullets(each),
    ]


def _growth(findings: Findings, operator: str) -> float:
    ratios = values_of(findings, "ratio")
    ends = [
        median(known(findings.of(operator=operator, ratio=ratio), "error"))
        for ratio in (ratios[0], ratios[-1])
    ]
    return ends[1] - ends[0]


def _eigenvalues(findings: Findings) -> list[str]:
    negative = [run["negative_eigenvalues"] for run in findings.of(operator="nystrom")]
    most = [run["most_negative"] for run in findings.of(operator="nystrom")]
    if max(negative) == 0.0:
        return []
    return [
        f"*Eigenvalues* of A_SS, symmetrised: {span(negative, '.0%')} of them are negative beyond "
        f"the cut (the most negative is {-min(most):.0%} of the largest). With scales and an elbow "
        "of each row's own it is not the positive kernel that the Nystrom form assumes."
    ]


def _amplified(findings: Findings) -> str:
    shares = {name: known(findings.of(operator=name), "amplified") for name in OPERATORS}
    there = {name: each for name, each in shares.items() if max(each) > 0}
    if not there:
        return (
            "*Amplified.* No operator amplifies: the absolute weights of every row stay below 10."
        )
    amplifying = "; ".join(
        f"with `{name}` {median(each):.1%} of the rows in the median, {max(each):.1%} at most"
        for name, each in there.items()
    )
    return (
        f"*Amplified* rows, whose absolute weights sum to more than 10: {amplifying}. These are "
        "differences of large numbers, by which profiles leave the data."
    )


def _small(findings: Findings, ratios: Sequence[int]) -> list[str]:
    each = []
    for operator in (*OPERATORS, "A"):
        name = "the dense A" if operator == "A" else f"`{operator}`"
        at = [_fares(findings, operator, ratio) for ratio in ratios]
        each.append(f"{name}: {'; '.join(at)}")
    raw = [
        f"{median(known(findings.of(ratio=ratio, operator='raw'), 'small_same_label')):.2f} at "
        f"1:{ratio:,}"
        for ratio in ratios
    ]
    return [
        "*Small clusters*: leaked weight and same-label share, in the median over mixtures "
        f"(uncorrected: {listed(raw)}):",
        bullets(each),
    ]


def _fares(findings: Findings, operator: str, ratio: int) -> str:
    runs = findings.of(ratio=ratio, operator=operator)
    leaked, same = (median(known(runs, f"small_{name}")) for name in ("leaked", "same_label"))
    return f"at 1:{ratio:,} {leaked:.0%} and {same:.2f}"


def _verdict(findings: Findings, ratio: int) -> list[str]:
    said = [_beside_smooth(findings, operator, ratio) for operator in OPERATORS[1:]]
    if not all(said):
        return [f"At 1:{ratio:,} no small cluster has two rows."]
    return [
        f"*Beside `smooth` at 1:{ratio:,}*, paired by mixture, the same-label share of the small "
        "clusters:",
        bullets(said),
    ]


def _how(gains: Sequence[float]) -> str:
    better, worse = (sum(sign * each > 0 for each in gains) for sign in (1, -1))
    most = CLEAR * len(gains)
    return "rises" if better > most else "falls" if worse > most else "does not change clearly"


def _beside_smooth(findings: Findings, operator: str, ratio: int) -> str:
    gains = _gains(findings, operator, ratio)
    if not gains:
        return ""
    better, worse = (sum(sign * each > 0 for each in gains) for sign in (1, -1))
    same, mixing = (
        median(_gains(findings, operator, ratio, name)) for name in ("same_label", "mixing")
    )
    return (
        f"{_how(gains)} with `{operator}`: {median(gains):+.3f} in the median "
        f"({span(gains, '+.3f')}), better in {better} and worse in {worse} of {len(gains)} runs; "
        f"of all rows {same:+.3f}, mixing {mixing:+.3f}"
    )


def _gains(
    findings: Findings, operator: str, ratio: int, name: str = "small_same_label"
) -> list[float]:
    found = []
    for run in findings.of(operator=operator, ratio=ratio):
        same = {key: run[key] for key in ("clusters", "ratio", "noise_ratio", "seed")}
        beside = findings.of(operator="smooth", **same)[0]
        if run[name] is not None:
            found.append(run[name] - beside[name])
    return found


def _all(findings: Findings, operator: str, name: str) -> list[float]:
    return known(findings.of(operator=operator), name)
