"""What the experiment on stopping found: tables and reading."""

from typing import Any

import numpy as np
import scipy.stats

from benchmarks.experiments.stopping_settings import DEFAULT, KINDS, chosen_of, paired, ratio
from benchmarks.experiments.wording import bullets, listed, span
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.scoring import main_score
from benchmarks.harness.tables import lines

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


def reading(findings: Findings) -> list[str]:
    """Say what every setting changes, first in short."""
    key, score = main_score(findings)
    names = [name for name in ("patience", "block_rows", "coverage_tol")
             if _values(findings, name)]  # fmt: skip
    ends = [_end(findings, name, value, key, score)
            for name in names for value in _values(findings, name)]  # fmt: skip
    said = [_auto(findings, key, score), _follows(findings, key, score)]
    return [
        _in_short(findings, key, score),
        "Beside the default, with `smooth`:",
        bullets(ends),
        *filter(None, [*said, _displace(findings, key, score)]),
    ]


def _in_short(findings: Findings, key: str, score: str) -> str:
    """Say what stopping later and sooner than the default changes."""
    auto = _runs_with(findings, "smooth", stopping="auto")
    changes = [
        f"{_changes(findings, _runs_with(findings, 'smooth', patience=value), key)} with "
        f"`patience` {value:g}"
        for value in _values(findings, "patience")
    ]
    changes.append(f"{_changes(findings, auto, key)} with the automatic rule")
    displace = [abs(each) for each in paired(findings, findings.of(operator="displace"), key)]
    none = f" With `displace` none of these changes it by more than {max(displace, default=0):.3f}."
    return (
        f"Beside the default, `patience` {DEFAULT['patience']}, the {score} of `smooth` changes by "
        f"{listed(changes)}.{none if displace else ''}"
    )


def _changes(findings: Findings, runs: list[dict[str, Any]], key: str) -> str:
    return span(paired(findings, runs, key), "+.3f")


def _runs_with(findings: Findings, operator: str, **changed: Any) -> list[dict[str, Any]]:
    return findings.of(operator=operator, **(DEFAULT | changed))


def _values(findings: Findings, name: str) -> list[Any]:
    """Return the smallest and the largest value of a parameter beside the default."""
    others = {other: value for other, value in DEFAULT.items() if other != name}
    runs = findings.of(operator="smooth", **others)
    values = sorted({run[name] for run in runs} - {DEFAULT[name]})
    return list(dict.fromkeys((values[0], values[-1]))) if values else []


def _end(findings: Findings, name: str, value: Any, key: str, score: str) -> str:
    """Describe one value of a parameter, for `smooth`."""
    here = _runs_with(findings, "smooth", **{name: value})
    missed, rare = _rare(here)
    lost = f" ({missed} of {rare} rare clusters missed)" if missed else ""
    return (
        f"`{name}` {value:g} draws {span(ratio(findings, here, 'n_sampled'), '.2f')} of the rows "
        f"in {span(ratio(findings, here, 'seconds'), '.2f')} of the time; the {score} changes by "
        f"{_changes(findings, here, key)}{lost}"
    )


def _rare(runs: list[dict[str, Any]]) -> tuple[int, int]:
    """Count the rare clusters that are missed, and all."""
    shares = [share for run in runs for share in run["rare_covered"]]
    return sum(share < HALF for share in shares), len(shares)


def _auto(findings: Findings, key: str, score: str) -> str:
    here = _runs_with(findings, "smooth", stopping="auto")
    rows = ratio(findings, here, "n_sampled")
    sooner = [run for run, share in zip(here, rows, strict=True) if share < 1]
    if not sooner:
        return (
            "*The automatic rule* stopped at the default's row in every run, as it does below "
            "20,000 rows."
        )
    missed, rare = _rare(sooner)
    return (
        f"*The automatic rule* stopped sooner in {len(sooner)} of {len(here)} runs (below 20,000 "
        f"rows it cannot): these drew {span(ratio(findings, sooner, 'n_sampled'), '.2f')} of the "
        f"rows in {span(ratio(findings, sooner, 'seconds'), '.2f')} of the time, missed {missed} "
        f"of {rare} rare clusters, and the {score} changed by {_changes(findings, sooner, key)}."
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
    each = listed([f"{rank:.2f} ({data})" for data, rank in zip(found, ranks, strict=True)])
    return (
        f"*The number of rows.* Over all settings its rank correlation with the {score} is {each}, "
        f"and a doubling of the rows changes it by {span(slopes, '+.3f')}: {verdict}."
    )


def _displace(findings: Findings, key: str, score: str) -> str:
    runs = findings.of(operator="displace")
    if not runs:
        return ""
    changes = [abs(each) for each in paired(findings, runs, key)]
    rows = ratio(findings, runs, "n_sampled")
    return (
        f"*With `displace`*, settings that draw {span(rows, '.2f')} of the default's rows change "
        f"the {score} by at most {max(changes):.3f}."
    )


def _sections(findings: Findings) -> list[tuple[str, str]]:
    runs = findings.record["runs"]
    return list(dict.fromkeys((run["data"], run["operator"]) for run in runs))
