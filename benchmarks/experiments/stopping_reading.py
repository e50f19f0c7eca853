"""What the experiment on stopping found: tables and reading."""

from typing import Any

import numpy as np
import scipy.stats
from findings import Findings, median, spread
from real_tables import lines
from scoring import main_score
from stopping_settings import DEFAULT, KINDS, chosen_of, paired, ratio

__all__ = ["reading", "tables"]

HALF = 0.5


def tables(findings: Findings) -> list[str]:
    """Write a table of every data set and operator."""
    key, name = main_score(findings)
    head = ["setting", "rows drawn", "of default", "time of default", "stopped by", "uncovered",
            "rare covered", "same label", "mixing", f"{name}, minus default"]  # fmt: skip
    parts = []
    for data, operator in _sections(findings):
        rows = [
            _row(findings, data, operator, chosen, key)
            for chosen in chosen_of(findings, data, operator)
        ]
        parts += [f"## {data}, `{operator}`: median (range) over seeds\n", lines(head, rows)]
    return parts


def _row(
    findings: Findings, data: str, operator: str, chosen: dict[str, Any], key: str
) -> list[str]:
    runs = findings.of(data=data, operator=operator, **chosen)
    rare = [run["rare_covered"] for run in runs]
    n_covered = sum(share >= HALF for one in rare for share in one)
    n_rare = sum(map(len, rare))
    difference = paired(findings, runs, key)
    return [
        label_of(chosen),
        spread([run["n_sampled"] for run in runs], 0),
        spread(ratio(findings, runs, "n_sampled"), 2),
        spread(ratio(findings, runs, "seconds"), 2),
        "/".join(dict.fromkeys(run["stopped_by"] for run in runs)),
        f"{median([run['n_uncovered'] / run['n_rows'] for run in runs]):.2%}",
        f"{n_covered} of {n_rare}" if n_rare else "-",
        spread([run["same_label"] for run in runs], 3),
        spread([run["batch_mixing"] for run in runs], 3),
        f"{median(difference):+.4f} ({min(difference):+.4f} to {max(difference):+.4f})",
    ]


def label_of(chosen: dict[str, Any]) -> str:
    """Name a setting by what is not default."""
    other = {name: value for name, value in chosen.items() if value != DEFAULT[name]}
    return ", ".join(f"{KINDS[name]} {value}" for name, value in other.items()) or "default"


def reading(findings: Findings) -> str:
    """Say what every setting changes."""
    key, score = main_score(findings)
    said = [_ends(findings, name, key, score) for name in ("patience", "block_rows")]
    said += [_ends(findings, "coverage_tol", key, score), _auto(findings, key, score)]
    said += [_follows(findings, key, score), _displace(findings, key, score)]
    return " ".join(filter(None, said))


def _runs_with(findings: Findings, operator: str, **changed: Any) -> list[dict[str, Any]]:
    return findings.of(operator=operator, **(DEFAULT | changed))


def _ends(findings: Findings, name: str, key: str, score: str) -> str:
    """Describe the smallest and the largest value of a parameter, for `smooth`."""
    others = {other: value for other, value in DEFAULT.items() if other != name}
    runs = findings.of(operator="smooth", **others)
    values = sorted({run[name] for run in runs} - {DEFAULT[name]})
    parts = []
    for value in dict.fromkeys((values[0], values[-1])):
        here = _runs_with(findings, "smooth", **{name: value})
        parts.append(
            f"{value:g} draws {_range(ratio(findings, here, 'n_sampled'), '.2f')} of the default's "
            f"rows in {_range(ratio(findings, here, 'seconds'), '.2f')} of its time, and the "
            f"{score} changes by {_range(paired(findings, here, key), '+.3f')}" + _rare_missed(here)
        )
    return f"With `smooth`, `{name}` {'; '.join(parts)}."


def _rare_missed(runs: list[dict[str, Any]]) -> str:
    shares = [share for run in runs for share in run["rare_covered"]]
    missed = sum(share < HALF for share in shares)
    return f" ({missed} of {len(shares)} rare clusters missed)" if missed else ""


def _auto(findings: Findings, key: str, score: str) -> str:
    here = _runs_with(findings, "smooth", stopping="auto")
    rows = ratio(findings, here, "n_sampled")
    sooner = [run for run, share in zip(here, rows, strict=True) if share < 1]
    if not sooner:
        return (
            "The automatic rule stopped at the default's row in every run, as it does below "
            "20,000 rows."
        )
    return (
        f"The automatic rule stopped sooner in {len(sooner)} of {len(here)} runs (below 20,000 "
        f"rows it cannot): these drew {_range(ratio(findings, sooner, 'n_sampled'), '.2f')} of the "
        f"rows in {_range(ratio(findings, sooner, 'seconds'), '.2f')} of the time, missed "
        f"{sum(share < HALF for run in sooner for share in run['rare_covered'])} of "
        f"{sum(len(run['rare_covered']) for run in sooner)} rare clusters, and the {score} changed "
        f"by {_range(paired(findings, sooner, key), '+.3f')}."
    )


def _follows(findings: Findings, key: str, score: str) -> str:
    """Say how far the number of rows alone explains the score."""
    found = {}
    for data in dict.fromkeys(run["data"] for run in findings.record["runs"]):
        groups = [findings.of(data=data, operator="smooth", **each)
                  for each in chosen_of(findings, data, "smooth")]  # fmt: skip
        rows = [median([run["n_sampled"] for run in runs]) for runs in groups]
        values = [median([run[key] for run in runs]) for runs in groups]
        if len(set(rows)) > 2 and len(set(values)) > 2:
            slope = scipy.stats.linregress(np.log2(rows), values).slope
            found[data] = float(scipy.stats.spearmanr(rows, values).statistic), float(slope)
    if not found:
        return ""
    ranks, slopes = ([each[place] for each in found.values()] for place in (0, 1))
    if min(ranks) > 0.8:
        verdict = "rules differ by how many rows they draw more than by which"
    else:
        verdict = "the number of rows alone does not explain the scores everywhere"
    listed = "; ".join(f"{data} {rank:.2f}" for data, rank in zip(found, ranks, strict=True))
    return (
        f"Over all settings the rank correlation of rows drawn and {score} is {listed}, and a "
        f"doubling of the rows changes it by {_range(slopes, '+.3f')}: {verdict}."
    )


def _displace(findings: Findings, key: str, score: str) -> str:
    runs = findings.of(operator="displace")
    if not runs:
        return ""
    changes = [abs(each) for each in paired(findings, runs, key)]
    rows = ratio(findings, runs, "n_sampled")
    return (
        f"With `displace`, {min(rows):.2f} to {max(rows):.2f} of the rows changes the {score} "
        f"by at most {max(changes):.3f}."
    )


def _range(values: list[float], form: str) -> str:
    low, high = (format(each, form) for each in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _sections(findings: Findings) -> list[tuple[str, str]]:
    runs = findings.record["runs"]
    return list(dict.fromkeys((run["data"], run["operator"]) for run in runs))
