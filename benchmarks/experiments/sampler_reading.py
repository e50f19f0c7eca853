"""What the experiment on blocks of draws found, in words."""

from benchmarks.experiments.sampler_comparisons import Tested, tested
from benchmarks.experiments.sampler_tests import POWER
from benchmarks.experiments.wording import bullets, listed, span
from benchmarks.harness.findings import Findings

__all__ = ["reading"]

DEFAULT = 64


def reading(findings: Findings) -> list[str]:
    """Say what differs, by how much, and what could have been seen, first in short."""
    tests = tested(findings)
    n_tests = sum(len(test.p_values) for test in tests)
    n_runs = min(len(run["rows_drawn"]) for run in findings.record["runs"])
    n_totals = findings.record["options"]["sizes"]["n_totals"]
    scored = f" and {n_totals} for the total score" if n_totals else ""
    same = min(run["as_package"] for run in findings.record["runs"])
    return [
        _in_short(tests),
        f"*Beside one row at a time*, in {len(tests)} comparisons ({n_tests} tests, {n_runs} runs "
        f"a group{scored}, corrected together):",
        bullets(part for when in _moments(tests) for part in _at(tests, when)),
        f"*The same-label share* with blocks of {DEFAULT}, the default, changes:",
        bullets(_of_default(tests, when) for when in _moments(tests)),
        "*Rows drawn* before the stop, against one at a time:",
        bullets(_more_rows(tests)),
        "Rows of a block do not know of each other, and more landmarks smooth better, so scores at "
        "the stop and after as many rows are two questions.",
        f"The dense sampler drew {same:.0%} of the rows of `Balans` itself in the runs that were "
        "compared.",
    ]


def _in_short(tests: list[Tested]) -> str:
    differing = [test for test in tests if test.differs]
    verdict = "are not the same" if differing else "are not told apart"
    drawn = [test.found.difference / test.mean for test in tests
             if test.figure == "rows_drawn" and test.found and test.block == DEFAULT]  # fmt: skip
    share = [f"{_reach(_shares(tests, when))} {when}"
             for when in _moments(tests)[-2:]]  # fmt: skip
    return (
        f"Draws in blocks and one at a time {verdict}: {len(differing)} of {len(tests)} "
        f"comparisons differ. With blocks of {DEFAULT}, the default, the number of rows drawn "
        f"changes by {span(drawn, '+.0%')}, the same-label share by {listed(share)}."
    )


def _moments(tests: list[Tested]) -> list[str]:
    return list(dict.fromkeys(test.name.split(", ")[1] for test in tests))


def _shares(tests: list[Tested], when: str) -> list[Tested]:
    """Return the tests of the same-label share with the default block."""
    return [
        test
        for test in tests
        if test.block == DEFAULT
        and test.name.endswith(when)
        and test.figure.startswith("same_label")
    ]


def _at(tests: list[Tested], when: str) -> list[str]:
    here = [test for test in tests if test.name.endswith(when)]
    scores = [test for test in here if test.figure.startswith(("same_label", "mixing", "total"))]
    others = [test for test in here if test not in scores]
    equivalent = sum(test.found is not None and test.found.equivalent(test.margin)
                     for test in scores)  # fmt: skip
    differing = [test for test in others if test.differs]
    most = f", most by {_largest(differing)}" if any(test.found for test in differing) else ""
    return [
        f"scores {when}: {sum(test.differs for test in scores)} of {len(scores)} differ and "
        f"{equivalent} are equivalent within their margin (differences of {_reach(scores)}; "
        f"{_detectable(scores)} or more would be found with a power of {POWER:.0%})",
        f"what is drawn {when}: {len(differing)} of {len(others)} differ{most}",
    ]


def _detectable(scores: list[Tested]) -> str:
    """Say which difference could be seen, and that of the total apart, as it has fewer runs."""
    totals = [test.smallest for test in scores if test.figure.startswith("total")]
    others = [test.smallest for test in scores if not test.figure.startswith("total")]
    return f"{max(others):.4f}" + (f", of the total {max(totals):.4f}," if totals else "")


def _of_default(tests: list[Tested], when: str) -> str:
    share = _shares(tests, when)
    verdicts = ", ".join(f"{test.mixture}: {test.verdict}" for test in share)
    return f"{when} by {_reach(share)} ({verdicts})"


def _more_rows(tests: list[Tested]) -> list[str]:
    drawn = [test for test in tests if test.figure == "rows_drawn" and test.found]
    share = {
        block: [test.found.difference / test.mean for test in drawn if test.block == block]
        for block in dict.fromkeys(test.block for test in drawn)
    }
    return [f"{span(each, '+.0%')} with blocks of {block}" for block, each in share.items()]


def _reach(tests: list[Tested]) -> str:
    values = [test.found.difference for test in tests if test.found]
    return f"{min(values):+.4f} to {max(values):+.4f}"


def _largest(tests: list[Tested]) -> str:
    most = max((test for test in tests if test.found),
               key=lambda test: abs(test.found.difference / test.margin))  # fmt: skip
    digits = ".1f" if most.figure.startswith(("rows", "hit")) else ".3f"
    return (
        f"{most.name.split(', ')[0]} with blocks of {most.block} ({most.mixture}): "
        f"{most.mean + most.found.difference:{digits}} instead of {most.mean:{digits}}"
    )
