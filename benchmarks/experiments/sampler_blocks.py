"""Does it matter that rows are drawn in blocks: clusters of the landmarks, and final scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.dense_operators import (
    DenseRows,
    affinity_rows,
    batch_scales,
    smooth,
    squared_distances,
)
from benchmarks.harness.embedded import Embedded, generated
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, spread
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.scoring import scores
from benchmarks.harness.tables import lines

EPS = 1e-3
LEVEL = 0.05
POWER = 0.8
N_PERMUTATIONS = 5000
ALONE = 1
FIGURES = {
    "small": ("landmarks in small clusters", 0.02),
    "hit": ("clusters with a landmark", 0.5),
    "uncovered": ("rows not covered", 0.02),
    "same_label": ("same-label share", 0.01),
    "mixing": ("batch mixing", 0.01),
    "total": ("total score", 0.01),
    "rows_drawn": ("rows drawn", 0.05),
}
"""Name and margin; of the rows drawn as a share of those drawn one at a time."""
N_NEIGHBORS = 5
PER_BLOCK = 1_000_000
"""Seeds of one block size are apart from those of all others, so that runs are independent."""
TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30)


@dataclass(frozen=True)
class Drawn:
    """Rows in draw order; with the first ``n_stop`` of them patience ends."""

    rows: Ints
    n_stop: int


def draw_landmarks(
    kept: Floats, block_rows: int, seed: int, patience: int = 50, least: int = 0
) -> Drawn:
    """Draw rows as `Balans` does with this seed, but from affinities that are all there.

    ``kept`` has shape (n, n), 0 from the elbow of each row on. ``least`` rows are drawn even after
    patience has ended.
    """
    n_rows = len(kept)
    coverage, covered = np.zeros(n_rows), np.zeros(n_rows, dtype=bool)
    rows: list[int] = []
    n_new: list[int] = []
    n_stop = 0
    while len(rows) < n_rows and (len(rows) < least or not n_stop):
        keys = _exponentials(seed, len(rows) // block_rows, n_rows) * (EPS + coverage)
        keys[rows] = np.inf
        block = np.argsort(keys)[: min(block_rows, n_rows - len(rows))]
        for row in block:
            reached = kept[row] > 0
            rows.append(int(row))
            n_new.append(int((reached & ~covered).sum()))
            covered |= reached
            if not n_stop and len(rows) >= patience and not any(n_new[-patience:]):
                n_stop = len(rows)
        coverage += kept[block].sum(axis=0)
    return Drawn(np.array(rows), n_stop or n_rows)


def _exponentials(seed: int, n_round: int, n_rows: int) -> Floats:
    key = np.array([seed, n_round], dtype=np.uint64)
    return -np.log1p(-np.random.Generator(np.random.Philox(key=key)).random(n_rows))


@dataclass(frozen=True)
class Comparison:
    """One figure of two groups of independent runs: the difference of means and its error.

    ``low`` to ``high`` is its 95 % interval (Welch), ``inner`` that of 90 %: inside a margin, the
    two one-sided tests say equivalent at 5 %. ``p_mean`` is of Welch's t-test, ``p_shape`` of
    Kolmogorov and Smirnov's of the whole distribution.
    """

    difference: float
    low: float
    high: float
    inner: tuple[float, float]
    p_mean: float
    p_shape: float
    error: float

    def equivalent(self, margin: float) -> bool:
        """Both one-sided tests reject a difference of the margin."""
        return -margin < self.inner[0] and self.inner[1] < margin


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare the second group with the first."""
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    difference = float(other.mean() - one.mean())
    error = float(np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)))
    p_shape = float(scipy.stats.ks_2samp(one, other).pvalue)
    if error == 0.0:
        same = float(difference == 0.0)
        sides = (difference, difference)
        return Comparison(difference, *sides, sides, same, p_shape, error)
    test = scipy.stats.ttest_ind(other, one, equal_var=False)
    wide, narrow = test.confidence_interval(0.95), test.confidence_interval(0.90)
    inner = (float(narrow.low), float(narrow.high))
    return Comparison(
        difference, float(wide.low), float(wide.high), inner, float(test.pvalue), p_shape, error
    )


def counts_differ(first: Floats, second: Floats, seed: int = 0) -> float:
    """P-value that two groups of runs draw from clusters alike.

    Landmarks of a run depend on each other, so runs are permuted, not landmarks: the statistic is
    the sum over clusters of the squared difference of mean counts over their variance.
    Counts have shape (n_runs, n_clusters).
    """
    counts = np.concatenate([first, second]).astype(float)
    spread = counts.std(axis=0)
    scaled = counts[:, spread > 0] / spread[spread > 0]
    n_first, n_runs = len(first), len(counts)
    rng = np.random.default_rng(seed)
    orders = np.array(
        [np.arange(n_runs), *(rng.permutation(n_runs) for _ in range(N_PERMUTATIONS))]
    )
    weights = np.where(orders < n_first, 1 / n_first, -1 / (n_runs - n_first))
    statistics = ((weights @ scaled) ** 2).sum(axis=1)
    return float((statistics >= statistics[0] * (1 - 1e-12)).mean())


def detectable(error: float, n_tests: int) -> float:
    """Smallest difference that a two-sided test finds with the stated power.

    At the level that Bonferroni's correction for so many tests leaves, which Holm's at least has.
    """
    normal = scipy.stats.norm
    return float((normal.ppf(1 - LEVEL / (2 * n_tests)) + normal.ppf(POWER)) * error)


def corrected(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of p-values of one family."""
    order = np.argsort(p_values)
    n_left = len(p_values) - np.arange(len(p_values))
    climbing = np.maximum.accumulate(np.asarray(p_values)[order] * n_left)
    found = np.empty(len(p_values))
    found[order] = np.minimum(climbing, 1.0)
    return [float(each) for each in found]


@dataclass(frozen=True)
class Tested:
    """One figure of one block size beside one row at a time, whose ``mean`` it has.

    ``found`` is ``None`` for the clusters, of which there is a p-value only; p-values are
    corrected. ``smallest`` is the difference that could be detected.
    """

    mixture: str
    block: int
    figure: str
    name: str
    mean: float
    found: Comparison | None
    margin: float
    p_values: tuple[float, ...]
    smallest: float

    @property
    def differs(self) -> bool:
        """A test rejects equality."""
        return min(self.p_values) < LEVEL

    @property
    def verdict(self) -> str:
        """What tests and margin say together."""
        equivalent = self.found is not None and self.found.equivalent(self.margin)
        if self.differs:
            return "differs, but within the margin" if equivalent else "differs"
        return "equivalent" if equivalent else "no difference found"


def tested(findings: Findings) -> list[Tested]:
    """Compare every figure of every block size, and correct all p-values together."""
    raw = []
    for one in findings.of(block_rows=ALONE):
        for other in findings.of(mixture=one["mixture"]):
            if other["block_rows"] != ALONE:
                raw += [(one, other, figure) for figure in _figures(findings) if figure in one]
    compared = [_compared(*case) for case in raw]
    p_values = [p for _, ps in compared for p in ps]
    remaining = iter(corrected(p_values))
    done = []
    for (one, other, figure), (found, ps) in zip(raw, compared, strict=True):
        mean = float(np.mean(one[figure]))
        stem, _, rows = figure.rpartition("_") if figure[-1].isdigit() else (figure, "", "")
        when = f"after {rows} rows" if rows else "at the stop"
        if found is None:
            name, margin, smallest = f"clusters, {when}", np.nan, np.nan
        else:
            name, margin = f"{FIGURES[stem][0]}, {when}", FIGURES[stem][1]
            margin = margin * mean if stem == "rows_drawn" else margin
            smallest = detectable(found.error, len(p_values))
        final = tuple(next(remaining) for _ in ps)
        done.append(
            Tested(one["mixture"], other["block_rows"], figure, name, mean, found, margin, final,
                   smallest)
        )  # fmt: skip
    return done


def _figures(findings: Findings) -> list[str]:
    at = findings.record["options"]["sizes"]["after"]
    stems = ("clusters", "small", "hit", "uncovered", "same_label", "mixing")
    return [*(f"{stem}_{n}" for n in at for stem in stems),
            "rows_drawn", "same_label", "mixing", "total"]  # fmt: skip


def _compared(
    one: dict[str, Any], other: dict[str, Any], figure: str
) -> tuple[Comparison | None, tuple[float, ...]]:
    if figure.startswith("clusters"):
        return None, (counts_differ(np.array(one[figure]), np.array(other[figure])),)
    found = compare(one[figure], other[figure])
    return found, (found.p_mean, found.p_shape)


def measure(findings: Findings, setting: Setting) -> None:
    """Run all seeds of every block size; those of one take seconds, so they are one case."""
    sizes = setting.sizes
    for kind, apart in SPREADS.items():
        mixture = Mixture(sizes["rows"], cluster_spread=apart, size_ratio=sizes["size_ratio"])
        given = generated(mixture)
        everywhere = np.arange(len(given.rows))
        squared = squared_distances(given.rows, everywhere)
        scales = batch_scales(squared, everywhere, given.batch, N_NEIGHBORS)
        dense = affinity_rows(squared, everywhere, scales)
        for block in sizes["blocks"]:
            findings.measure(
                {"mixture": kind, "block_rows": block},
                lambda block=block, dense=dense, given=given: _group(dense, given, block, sizes),
            )


def _group(dense: DenseRows, given: Embedded, block: int, sizes: Any) -> dict[str, Any]:
    runs = []
    for number, seed in enumerate(sizes["seeds"]):
        with_total = number < sizes["n_totals"]
        runs.append(_run(dense, given, block, PER_BLOCK * block + seed, sizes, with_total))
    found = {name: [run[name] for run in runs if name in run] for name in runs[0]}
    sizes_of = np.unique(given.label, return_counts=True)[1]
    return found | {
        "cluster_sizes": sizes_of.tolist(),
        "as_package": _as_package(dense, given, block, sizes),
    }


def _run(
    dense: DenseRows, given: Embedded, block: int, seed: int, sizes: Any, with_total: bool
) -> dict[str, Any]:
    drawn = draw_landmarks(dense.kept, block, seed, least=max(sizes["after"]))
    label = np.unique(given.label, return_inverse=True)[1]
    counts = np.bincount(label)
    small = np.argsort(counts)[: len(counts) // 4]
    found: dict[str, Any] = {"rows_drawn": drawn.n_stop}
    for n_rows in sizes["after"]:
        first = drawn.rows[:n_rows]
        of_cluster = np.bincount(label[first], minlength=len(counts))
        found[f"clusters_{n_rows}"] = of_cluster.tolist()
        found[f"small_{n_rows}"] = float(of_cluster[small].sum() / n_rows)
        found[f"hit_{n_rows}"] = int((of_cluster > 0).sum())
        found[f"uncovered_{n_rows}"] = float((dense.kept[first].sum(axis=0) == 0).mean())
        found |= _scores(dense, first, given, sizes, f"_{n_rows}")
    return found | _scores(dense, drawn.rows[: drawn.n_stop], given, sizes, "", with_total)


def _scores(
    dense: DenseRows, rows: Ints, given: Embedded, sizes: Any, when: str, with_total: bool = False
) -> dict[str, float]:
    corrected = smooth(DenseRows(rows, dense.u[rows], dense.kept[rows]), given.rows)
    if with_total:
        every = scores(corrected, given.rows, given.batch, given.label)
        total = {"total": every["total"]} if "total" in every else {}
    else:
        total = {}
    shares = neighbour_shares(corrected, given.label, given.batch, max_rows=sizes["scored"])
    return {
        f"same_label{when}": round(shares.same_label, 5),
        f"mixing{when}": round(shares.batch_mixing, 5),
    } | total


def _as_package(dense: DenseRows, given: Embedded, block: int, sizes: Any) -> float:
    """Share of the first rows that `Balans` draws, too, in the same order."""
    seed, n_rows = PER_BLOCK * block + sizes["seeds"][0], sizes["compared"]
    model = Balans.paper(
        n_neighbors=N_NEIGHBORS,
        n_components=None,
        block_rows=block,
        max_rows=n_rows,
        random_state=seed,
    ).fit(given.rows, batch=given.batch)
    theirs: Sequence[int] = model.sampled_rows_
    ours = draw_landmarks(dense.kept, block, seed, least=n_rows).rows[: len(theirs)]
    return float(np.mean(ours == theirs))


def tables(findings: Findings) -> list[str]:
    """Write every test, and how the sampler compares with the package."""
    head = ["mixture, figure", "block", "one at a time", "difference", "95 % interval",
            "p, mean", "p, distribution", "detectable", "margin", "verdict"]  # fmt: skip
    rows = [_row(test) for test in tested(findings)]
    head_runs = ["mixture", "block", "runs", "rows drawn", "same-label share", "batch mixing",
                 "first rows as Balans draws them"]  # fmt: skip
    runs = [
        [run["mixture"], f"{run['block_rows']}", f"{len(run['rows_drawn'])}",
         spread(run["rows_drawn"], 0), spread(run["same_label"], 3), spread(run["mixing"], 3),
         f"{run['as_package']:.0%}"]
        for run in findings.record["runs"]
    ]  # fmt: skip
    n_tests = sum(len(test.p_values) for test in tested(findings))
    return [
        "## At the stop: median (range) over runs\n",
        lines(head_runs, runs),
        f"## Beside one row at a time: p-values corrected for {n_tests} tests\n",
        lines(head, rows),
    ]


def _row(test: Tested) -> list[str]:
    place = [f"{test.mixture}: {test.name}", f"{test.block}"]
    if test.found is None:
        return [*place, "-", "-", "-", "-", f"{test.p_values[0]:.3f}", "-", "-", test.verdict]
    digits = ".1f" if test.figure == "rows_drawn" else ".4f"
    interval = f"[{test.found.low:+{digits}}, {test.found.high:+{digits}}]"
    numbers = (test.smallest, test.margin)
    return [
        *place,
        f"{test.mean:{digits}}",
        f"{test.found.difference:+{digits}}",
        interval,
        *(f"{p:.3f}" for p in test.p_values),
        *(f"{number:{digits}}" for number in numbers),
        test.verdict,
    ]


def picture(findings: Findings) -> Figure:
    """Draw differences in units of their margin, and the landmarks of clusters by size."""
    kinds = findings.each("mixture")
    figure, axes = grid(2 * len(kinds), 2)
    figure.set_size_inches(11, 4.6 * len(kinds))
    tests = tested(findings)
    for number, kind in enumerate(kinds):
        here = [test for test in tests if test.mixture == kind and test.found is not None]
        _differences_panel(axes[2 * number], here, kind)
        _clusters_panel(axes[2 * number + 1], findings, kind)
    known = dict(zip(*axes[1].get_legend_handles_labels()[::-1], strict=True))
    margin = axes[0].patches[0]
    figure.legend(
        [*known.values(), margin], [*known, margin.get_label()],
        loc="outside lower center", ncols=6, frameon=False, fontsize=9,
    )  # fmt: skip
    n_seeds = len(findings.record["options"]["sizes"]["seeds"])
    figure.suptitle(f"Rows drawn in blocks beside one row at a time ({n_seeds} runs a group)")
    return figure


def _differences_panel(axis: Any, tests: list[Tested], kind: str) -> None:
    names = list(dict.fromkeys(test.name for test in tests))
    blocks = list(dict.fromkeys(test.block for test in tests))
    for number, block in enumerate(blocks):
        here = [test for test in tests if test.block == block]
        places = np.arange(len(here)) + 0.22 * (number - (len(blocks) - 1) / 2)
        middle = np.array([test.found.difference / test.margin for test in here])
        low = np.array([test.found.low / test.margin for test in here])
        high = np.array([test.found.high / test.margin for test in here])
        axis.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o", ms=4, capsize=2,
                      color=COLOURS[number + 1], label=f"blocks of {block}")  # fmt: skip
    axis.axvspan(-1, 1, color="0.92", zorder=0, label="within the margin")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(np.arange(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axis.set_xticks([], minor=True)
    reach = max(1.6, 1.3 * max(abs(side) / test.margin for test in tests
                               for side in (test.found.low, test.found.high)))  # fmt: skip
    axis.set_xlim(-reach, reach)
    axis.set_xlabel("difference of means / margin (bars: 95 % interval)")
    axis.set_title(f"{kind} clusters", fontsize=10)


def _clusters_panel(axis: Any, findings: Findings, kind: str) -> None:
    first = min(findings.record["options"]["sizes"]["after"])
    for number, run in enumerate(findings.of(mixture=kind)):
        order = np.argsort(run["cluster_sizes"])
        counts = np.array(run[f"clusters_{first}"], dtype=float)[:, order]
        error = counts.std(axis=0, ddof=1) / np.sqrt(len(counts))
        block = run["block_rows"]
        label = "one at a time" if block == ALONE else f"blocks of {block}"
        sizes = np.array(run["cluster_sizes"])[order] * (1 + 0.012 * (number - 1.5))
        axis.errorbar(sizes, counts.mean(axis=0), yerr=1.96 * error, fmt="o-", ms=3, lw=0.8,
                      capsize=2, color=COLOURS[number], label=label)  # fmt: skip
    known = np.sort(findings.of(mixture=kind)[0]["cluster_sizes"])
    axis.plot(known, first * known / known.sum(), "k--", lw=1, label="in proportion to size")
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("rows of the cluster")
    axis.set_ylabel(f"landmarks of the first {first}\n(mean, bars: 95 % interval)")
    axis.set_title(f"{kind} clusters", fontsize=10)


EXPERIMENT = Experiment(
    name="sampler_blocks",
    sizes={
        "tiny": {
            "rows": 300, "size_ratio": 20.0, "blocks": [1, 64], "seeds": list(range(8)),
            "after": [64], "scored": 100, "n_totals": 0, "compared": 10,
        },
        "small": {
            "rows": 2000, "size_ratio": 20.0, "blocks": [1, 16, 64, 256],
            "seeds": list(range(60)), "after": [64, 256], "scored": 500, "n_totals": 0,
            "compared": 100,
        },
        "full": {
            "rows": 5000, "size_ratio": 20.0, "blocks": [1, 16, 64, 256],
            "seeds": list(range(120)), "after": [64, 256], "scored": 1000, "n_totals": 10,
            "compared": 300,
        },
    },
    measure=measure, tables=tables, picture=picture,
)  # fmt: skip
