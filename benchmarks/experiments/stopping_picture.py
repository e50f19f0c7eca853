"""The plot of the experiment on stopping."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.experiments.stopping_settings import DEFAULT, KINDS, chosen_of, ratio
from benchmarks.harness.findings import Findings, median
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.scoring import main_score

__all__ = ["picture"]


def picture(findings: Findings) -> Figure:
    """Draw score and time over the rows drawn, a column a data set."""
    names = list(dict.fromkeys(run["data"] for run in findings.record["runs"]))
    key, score = main_score(findings)
    figure, axes = grid(2 * len(names), len(names))
    for number, data in enumerate(names):
        above, below = axes[number], axes[len(names) + number]
        for axis, values in ((above, lambda runs: [run[key] for run in runs]),
                             (below, lambda runs: ratio(findings, runs, "seconds"))):  # fmt: skip
            _settings_panel(axis, findings, data, values)
            axis.set_xscale("log")
            axis.set_xlabel("rows drawn")
            _plain(axis.xaxis)
        above.set_title(data, fontsize=10)
        above.set_ylabel(f"{score}, smooth")
        below.set_ylabel("time / time of the default")
        below.set_yscale("log")
        _plain(below.yaxis)
        below.axhline(1, color="0.6", lw=0.8, ls="--")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(5, 2 * len(names)), frameon=False
    )
    n_seeds = len(findings.record["options"]["sizes"]["seeds"])
    figure.suptitle(
        f"When to stop: one setting changed at a time\n(median and range over {n_seeds} seeds)",
        fontsize=11,
    )
    return figure


def _plain(axis: Any) -> None:
    """Label a logarithmic axis at 1, 2 and 5, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _settings_panel(axis: Any, findings: Findings, data: str, values: Any) -> None:
    chosen = chosen_of(findings, data, "smooth")
    for number, (name, text) in enumerate(KINDS.items()):
        others = {other: value for other, value in DEFAULT.items() if other != name}
        here = [each for each in chosen if others.items() <= each.items()]
        here.sort(key=lambda each: str(each[name]) if name == "stopping" else float(each[name]))
        if name == "stopping":
            here = [each for each in here if each[name] != DEFAULT[name]]
        groups = [findings.of(data=data, operator="smooth", **each) for each in here]
        x = np.array([median([run["n_sampled"] for run in runs]) for runs in groups])
        y = np.array([median(values(runs)) for runs in groups])
        low = np.array([min(values(runs)) for runs in groups])
        high = np.array([max(values(runs)) for runs in groups])
        style = "*" if name == "stopping" else ("o-", "s--", "^:")[number]
        axis.errorbar(x, y, [y - low, high - y], fmt=style, ms=9 if style == "*" else 5, lw=1,
                      capsize=2, color=COLOURS[number], label=_reach(text, here, name))  # fmt: skip
    runs = findings.of(data=data, operator="smooth", **DEFAULT)
    place = median([run["n_sampled"] for run in runs]), median(values(runs))
    axis.plot(*place, "o", ms=10, mfc="none", color="black", label="default")


def _reach(text: str, here: list[dict[str, Any]], name: str) -> str:
    values = [each[name] for each in here]
    if name == "stopping":
        return "rule auto"
    return f"{text} {min(values):g} to {max(values):g}"
