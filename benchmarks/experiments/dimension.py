"""Many features and a signal of low or high rank: what principal components lose."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.embedded import Embedded, generated
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.pictures import COLOURS, grid, spread_line
from benchmarks.harness.scoring import rows_of_every_label, scores
from benchmarks.harness.tables import lines

N_NEIGHBORS = 5
BASE_FEATURES = 50
SPREAD, OFFSET = 0.6, 0.5
"""At that many features; larger means would be told apart by whatever is kept of them."""
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"seeds": [0, 1], "clusters": 25, "batches": 2, "components": [10],
             "operators": ["displace"], "labels": 10, "each": 10,
             "cases": [{"features": 60, "ranks": [3, 20], "rows": 250, "seeds": 2}]},
    "small": {"seeds": [0, 1], "clusters": 210, "batches": 2, "components": [10, 50, 200],
              "operators": ["displace"], "labels": 20, "each": 10,
              "cases": [{"features": 50, "ranks": [5, 40], "rows": 3150, "seeds": 2},
                        {"features": 500, "ranks": [5, 200], "rows": 3150, "seeds": 2},
                        {"features": 5000, "ranks": [50], "rows": 2100, "seeds": 1}]},
    "full": {"seeds": [0, 1, 2], "clusters": 250, "batches": 4,
             "components": [10, 50, 100, 200], "operators": ["smooth", "displace"],
             "labels": 50, "each": 20,
             "cases": [{"features": 50, "ranks": [5, 20, 50], "rows": 10_000, "seeds": 3},
                       {"features": 500, "ranks": [5, 50, 200], "rows": 10_000, "seeds": 2},
                       {"features": 5000, "ranks": [5, 50, 200], "rows": 5000, "seeds": 2}]},
}  # fmt: skip
ALL, SIGNAL, RAW = "all features", "signal alone", "uncorrected"
DEFAULT = "50"
COLUMNS = {
    "signal_kept": "signal kept",
    "could_be_kept": "could be kept",
    "same_label": "same-label share",
    "batch_mixing": "mixing",
    "batch": "batch side",
    "biology": "biology side",
    "total": "total",
}
STYLES = {ALL: ("#888888", "s--"), SIGNAL: (COLOURS[6], "X:")}
MARKERS = ("v-", "o-", "^-", "D-", "P-")


def measure(findings: Findings, setting: Setting) -> None:
    """Correct every case by components of every number."""
    for case in setting.sizes["cases"]:
        for seed in setting.sizes["seeds"][: case["seeds"]]:
            for rank in case["ranks"]:
                screen = Screen(setting, case, rank, seed)
                for components, method in screen.corrections():
                    run = {"features": case["features"], "rank": rank, "components": components,
                           "method": method, "seed": seed}  # fmt: skip
                    findings.measure(run, functools.partial(screen.scored, components, method))


class Screen:
    """A mixture, its embeddings and what keeps how much of the signal; made when asked for."""

    def __init__(self, setting: Setting, case: dict[str, Any], rank: int, seed: int) -> None:
        self._sizes, self._seed, self._n_features = setting.sizes, seed, case["features"]
        smaller = (self._n_features / BASE_FEATURES) ** -0.25
        self.mixture = Mixture(
            case["rows"],
            self._n_features,
            n_clusters=setting.sizes["clusters"],
            n_batches=setting.sizes["batches"],
            cluster_spread=SPREAD * smaller,
            batch_offset=OFFSET * smaller,
            signal_rank=rank,
            seed=seed,
        )

    def corrections(self) -> Iterator[tuple[str, str]]:
        """Name every embedding and method."""
        few = [f"{n}" for n in self._sizes["components"] if n < self._n_features]
        for components in (*few, ALL, SIGNAL):
            yield from ((components, method) for method in (RAW, *self._sizes["operators"]))

    @functools.cached_property
    def profiles(self) -> Embedded:
        """Rows of the mixture."""
        return generated(self.mixture)

    @functools.cached_property
    def _scored_rows(self) -> Ints:
        label = self.profiles.label
        some = np.unique(label)[: self._sizes["labels"]]
        rows = rows_of_every_label(label, self._sizes["each"], self._seed)
        return rows[np.isin(label[rows], some)]

    @functools.cached_property
    def _scaler(self) -> StandardScaler:
        return StandardScaler().fit(self.profiles.rows)

    @functools.cached_property
    def _features(self) -> Floats:
        return self._scaler.transform(self.profiles.rows)

    @functools.cached_property
    def _means(self) -> Floats:
        """Standardised cluster means, as deviations from their mean."""
        means = self.mixture.means()
        return (means - means.mean(axis=0)) / self._scaler.scale_

    @functools.cached_property
    def _axes(self) -> Floats:
        n_components = max(n for n in self._sizes["components"] if n < self._n_features)
        solver = "covariance_eigh" if self._n_features < len(self._features) else "arpack"
        return PCA(n_components, svd_solver=solver, random_state=0).fit(self._features).components_

    @functools.cached_property
    def _of_means(self) -> tuple[Floats, Floats]:
        _, values, axes = np.linalg.svd(self._means, full_matrices=False)
        return values**2 / (values**2).sum(), axes[: self.mixture.signal_rank]

    def embedding(self, components: str) -> Floats:
        """Rows in so many components, in all features or in the space of the means."""
        if components == ALL:
            return self._features
        if components == SIGNAL:
            return self._features @ self._of_means[1].T
        return self._features @ self._axes[: int(components)].T

    def _kept(self, components: str) -> dict[str, float]:
        if components in (ALL, SIGNAL):
            return {"signal_kept": 1.0, "could_be_kept": 1.0}
        within = self._means @ self._axes[: int(components)].T
        return {
            "signal_kept": float((within**2).sum() / (self._means**2).sum()),
            "could_be_kept": float(self._of_means[0][: int(components)].sum()),
        }

    def scored(self, components: str, method: str) -> dict[str, float]:
        """Correct in an embedding, and score there."""
        before = self.embedding(components)
        batch, label = self.profiles.batch, self.profiles.label
        after = before
        if method != RAW:
            model = Balans(n_components=None, operator=method, random_state=self._seed)
            after = model.fit_transform(before, batch=batch)
        rows = self._scored_rows
        found = scores(after[rows], before[rows], batch[rows], label[rows])
        # Of all rows and labels, and of no more neighbours than a label has in a batch.
        shares = vars(neighbour_shares(after, label, batch, N_NEIGHBORS))
        return (
            found
            | {name: round(value, 5) for name, value in shares.items()}
            | self._kept(components)
        )


def tables(findings: Findings) -> list[str]:
    """Signal kept and scores of every number of components."""
    found = []
    for features in findings.each("features"):
        for rank in sorted(findings.each("rank", features=features)):
            found.append(f"## {features:,} features, signal of rank {rank}\n")
            case = {"features": features, "rank": rank}
            there = [c for c in COLUMNS if c in findings.of(**case)[0]]
            rows = [
                [components, method, *(_cell(findings, c, case, components, method) for c in there)]
                for components in findings.each("components", **case)
                for method in findings.each("method", **case)
            ]
            found.append(lines(["components", "method", *(COLUMNS[c] for c in there)], rows))
    return found


def _cell(
    findings: Findings, figure: str, case: dict[str, Any], components: str, method: str
) -> str:
    return spread(findings.values(figure, components=components, method=method, **case), 3)


def corrected_of(findings: Findings) -> str:
    """Name the method that corrects."""
    return findings.each("method")[-1]


def named(components: str) -> str:
    """Say what distances are taken in."""
    default = " (the default)" if components == DEFAULT else ""
    return f"{components} components{default}" if components.isdigit() else components


def picture(findings: Findings) -> Figure:
    """Signal kept above, same-label share below; a column a number of features."""
    widths, method = findings.each("features"), corrected_of(findings)
    figure, axes = grid(2 * len(widths), len(widths))
    every = [c for c in findings.each("components") if c.isdigit()]
    for column, features in enumerate(widths):
        upper, lower = axes[column], axes[len(widths) + column]
        ranks = sorted(findings.each("rank", features=features))
        there = sorted(findings.each("components", features=features), key=_order)
        for components in there:
            colour, form = STYLES.get(components) or (
                COLOURS[every.index(components)], MARKERS[every.index(components)],
            )  # fmt: skip
            drawn = {"color": colour, "fmt": form, "label": named(components)}
            case = {"features": features, "components": components, "method": method}
            if components.isdigit():
                _points(upper, findings, "signal_kept", ranks, case, drawn)
                could = [median(findings.values("could_be_kept", rank=r, **case)) for r in ranks]
                upper.plot(ranks, could, "_", ms=14, mew=1.5, color=colour)
            _points(lower, findings, "same_label", ranks, case, drawn)
        for axis in (upper, lower):
            axis.set_xscale("log")
            axis.set_xticks(ranks, [f"{rank}" for rank in ranks])
            axis.minorticks_off()
            axis.set_ylim(0, 1.04)
            axis.margins(x=0.2)
        upper.set_title(f"{features:,} features")
        lower.set_xlabel("rank of the signal")
    axes[0].set_ylabel("share of the signal's variance kept\n(bar: the most that could be)")
    axes[len(widths)].set_ylabel(f"same-label share of 5 neighbours\nafter {method}")
    handles: dict[str, Any] = {}
    for axis in axes[len(widths) :]:
        found, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    handles = {name: handles[name] for name in sorted(handles, key=lambda n: _order(n.split()[0]))}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center",
                  ncols=len(widths), frameon=False, fontsize=9)  # fmt: skip
    n_seeds = max(len(findings.each("seed", features=features)) for features in widths)
    figure.suptitle(
        f"What principal components lose\n(medians and ranges of up to {n_seeds} seeds)",
        fontsize=11,
    )
    return figure


def _order(components: str) -> int:
    return int(components) if components.isdigit() else 10**9


def _points(
    axis: Any, findings: Findings, figure: str, ranks: list[int], case: Any, drawn: Any
) -> None:
    values = [findings.values(figure, rank=rank, **case) for rank in ranks]
    spread_line(axis, ranks, values, ms=5, capsize=2, **drawn)


EXPERIMENT = Experiment(
    name="dimension", sizes=SIZES, measure=measure, tables=tables, picture=picture
)
