"""What the experiment on the noise model found, in words."""

from typing import Any

from benchmarks.experiments.noise_tables import RESIDUALS
from benchmarks.experiments.wording import bullets, span
from benchmarks.harness.findings import Findings, median

__all__ = ["reading"]

FITS = 1.5
"""A residual fits whose KS distance is at most so many times that of noise; our choice."""


def reading(findings: Findings) -> list[str]:
    """Say whether the assumption holds, first in short."""
    runs = _distinct(findings.record["runs"])
    kept = [run for run in runs if run["matrix"] == "kept"]
    whole = [run for run in runs if run["matrix"] == "before the elbow"]
    return [
        _in_short(runs, kept),
        f"*Singular values* beside those of i.i.d. exponential entries; a matrix fits if it lies "
        f"at most {FITS} times as far from the law of noise as such entries do:",
        bullets([
            _misfit(runs, "label means", "without label means"),
            _misfit(runs, "low rank", "without all singular values that lie outside the noise"),
        ]),
        _places(runs),
        _outside(kept),
        "*Entries between labels*, which would be noise alone:",
        bullets([
            _entries(kept, "kept affinities"),
            _entries(whole, "affinities before the elbow"),
        ]),
    ]  # fmt: skip


def _distinct(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is the same matrix: that of all rows of a real set has nothing of a seed."""
    once = {(run["data"], run["matrix"], *run["quantiles"]): run for run in reversed(runs)}
    return list(reversed(once.values()))


def _in_short(runs: list[dict[str, Any]], kept: list[dict[str, Any]]) -> str:
    most = max(_n_fits(runs, residual) for residual in RESIDUALS)
    verdict = "holds" if most == len(runs) else "holds in part" if most else "does not hold"
    return (
        f"As a description of these affinities the assumption {verdict}: the singular values of "
        f"{most} of {len(runs)} matrices fit it, whether label means or large values are taken "
        f"out, and between labels {span((run['zero_share'] for run in kept), '.0%')} of the "
        "affinities that the method keeps are 0."
    )


def _n_fits(runs: list[dict[str, Any]], residual: str) -> int:
    return sum(run[residual]["ks"] <= FITS * run[f"exponential, {residual}"]["ks"] for run in runs)


def _misfit(runs: list[dict[str, Any]], residual: str, when: str) -> str:
    noise = [run[f"exponential, {residual}"]["ks"] for run in runs]
    seen = [run[residual]["ks"] for run in runs]
    times = median([one / of for one, of in zip(seen, noise, strict=True)])
    return (
        f"{when}, {_n_fits(runs, residual)} of {len(runs)} matrices fit: their KS distances are "
        f"{span(seen, '.3f')}, those of exponential entries {span(noise, '.3f')}, and the median "
        f"ratio is {times:.1f}"
    )


def _places(runs: list[dict[str, Any]]) -> str:
    shuffled = median([run["shuffled"]["ks"] for run in runs])
    seen = median([run["label means"]["ks"] for run in runs])
    if shuffled < seen / 2:
        why = "most of the misfit is that entries depend on each other, not how large they are"
    else:
        why = "the sizes of the entries alone keep them from the law"
    return (
        "*Places or sizes.* Without label means, entries in their own places have a median KS "
        f"distance of {seen:.3f}, the same entries in random places {shuffled:.3f}: {why}."
    )


def _outside(kept: list[dict[str, Any]]) -> str:
    means, low = ([run[residual] for run in kept] for residual in RESIDUALS)
    return (
        f"*Outside the noise.* Of the kept affinities without label means, "
        f"{span([one['n_outside'] for one in means], ',')} singular values lie outside the "
        f"noise, with {span([one['energy_outside'] for one in means], '.0%')} of the sum of "
        f"squares, and {span([one['n_outside'] for one in low], ',')} have to go from the whole "
        f"matrix before none does. The largest value is "
        f"{span([run['outlier'] for run in kept], '.1f')} times what the positive mean of the "
        "noise predicts (1 were it noise)."
    )


def _entries(runs: list[dict[str, Any]], which: str) -> str:
    zeros, variation, distance = (
        [run[name] for run in runs] for name in ("zero_share", "variation", "ks_entries")
    )
    return (
        f"{span(zeros, '.0%')} of the {which} are 0, and their coefficient of variation is "
        f"{span(variation, '.1f')} (exponential: 1); KS distance to the exponential distribution "
        f"{span(distance, '.2f')}"
    )
