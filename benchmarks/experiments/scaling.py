"""Experiment 1: time, landmarks, recovery and scores of mixtures as their rows grow."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.stats import linregress

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture, write_mixture
from benchmarks.harness.arrays import Floats, Ints, Texts
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.measured_process import balans
from benchmarks.harness.mixtures import BATCH, SPREADS, TINY_ROWS, TREATMENT
from benchmarks.harness.pictures import panels, spread_line
from benchmarks.harness.plain_affinities import (
    Landmarks,
    affinity_blocks,
    landmarks_at,
    landmarks_of,
)
from benchmarks.harness.scoring import rows_of_every_label, scored_rows, scores
from benchmarks.harness.tables import lines

OPERATORS = ("smooth", "displace")
SIDES = {"batch": 0.4, "biology": 0.6}
"""Weights of the total."""
N_COLUMNS = 50_000
"""Rows, drawn at random, that stand for all where weights of the operator are summed."""
Corrected = tuple[float, Floats, Balans]
STYLES = {"separated": "o-", "overlapping": "s--"}
COLOUR_OF = {"uncorrected": "#000000", "smooth": "#0072B2", "displace": "#D55E00"}


def mean_errors(values: Floats, cluster: Ints, batch: Ints, true_means: Floats) -> dict[str, float]:
    """Compare the mean of every cluster in every batch with the cluster's true mean.

    Let m_cb be the mean of cluster c in batch b, t_c the true mean, and both without their own mean
    over all c and b, as no method can know where the batch-free origin lies. Distances are in units
    of s, the root mean square of |t_c|: 0 is perfect, and 1 is as far off as one point for all.
    ``mean_error`` is the root mean square of |m_cb - t_c| / s; the squares of its two parts add up
    to its own: ``between_batches``, of |m_cb - m_c| / s with m_c the mean over b, and
    ``of_centres``, of |m_c - t_c| / s. ``spread_kept`` is the root mean square of |m_c| / s:
    below 1 the clusters have moved together.
    """
    n_clusters, n_batches = len(true_means), int(batch.max()) + 1
    cell = cluster * n_batches + batch
    size = n_clusters * n_batches
    counts = np.bincount(cell, minlength=size)
    sums = [np.bincount(cell, column, minlength=size) for column in np.asarray(values).T]
    means = np.stack(sums, axis=1) / counts[:, None]
    means = (means - means.mean(axis=0)).reshape(n_clusters, n_batches, -1)
    true = true_means - true_means.mean(axis=0)
    unit = _size(true)
    centres = means.mean(axis=1)
    return {
        "mean_error": _size(means - true[:, None]) / unit,
        "between_batches": _size(means - centres[:, None]) / unit,
        "of_centres": _size(centres - true) / unit,
        "spread_kept": _size(centres) / unit,
    }


def _size(vectors: Floats) -> float:
    """Root mean square of the lengths."""
    return float(np.sqrt((vectors**2).sum(axis=-1).mean()))


def cluster_weights(
    values: Floats, batch: Texts, cluster: Ints, landmarks: Landmarks, rows: Ints, columns: Ints
) -> Floats:
    """Weight that some rows of D^-1 A_S^T A_S put on every cluster; (len(rows), n_clusters).

    Weights are summed over ``columns``: all rows, or a random part that stands for them. Each row
    sums to one; NaN where no landmark covers it.
    """
    n_clusters = int(cluster.max()) + 1
    member = np.eye(n_clusters)[cluster[columns]]
    weights = np.zeros((len(rows), n_clusters))
    sums = affinity_blocks(values, batch, landmarks, columns)
    heads = affinity_blocks(values, batch, landmarks, rows)
    of_clusters = np.concatenate([kept @ member for _, kept in sums])
    for of_block, kept in heads:
        weights += kept.T @ of_clusters[of_block]
    with np.errstate(invalid="ignore"):
        return weights / weights.sum(axis=1, keepdims=True)


def mass_elsewhere(weights: Floats, cluster: Ints) -> float:
    """Mean weight on other clusters than the row's own, over covered rows; 0 is perfect."""
    covered = ~np.isnan(weights[:, 0])
    own = weights[np.arange(len(cluster)), cluster]
    return float(1.0 - own[covered].mean())


class Power(NamedTuple):
    """Of the rows, with its standard error."""

    slope: float
    stderr: float


def sizes_of(findings: Findings) -> list[int]:
    """Numbers of rows that were measured, in order."""
    return sorted({run["n_rows"] for run in findings.of(part="run")})


def start_up(findings: Findings, operator: str) -> float:
    """Seconds of a run that has hardly any rows."""
    return median(findings.values("seconds", part="start", operator=operator))


def exponent(findings: Findings, figure: str, kind: str, operator: str) -> Power | None:
    """Slope of log(figure) over log(rows) by least squares."""
    runs = findings.of(part="run", kind=kind, operator=operator)
    if len({run["n_rows"] for run in runs}) < 2:
        return None
    rows = np.log([run["n_rows"] for run in runs])
    fit = linregress(rows, np.log([run[figure] for run in runs]))
    return Power(fit.slope, fit.stderr)


def growth(findings: Findings, kind: str, operator: str) -> Power | None:
    """Power b of seconds = start-up + a rows^b, fitted to the logarithms of all runs at once.

    The runs of hardly any rows tell start-up; a difference to them, run by run, would weigh those
    most that are hardly longer.
    """
    runs = findings.of(part="run", kind=kind, operator=operator)
    starts = findings.values("seconds", part="start", operator=operator)
    if not starts or len({run["n_rows"] for run in runs}) < 3:
        return None
    rows = np.log([TINY_ROWS] * len(starts) + [run["n_rows"] for run in runs])
    seconds = np.log(starts + [run["seconds"] for run in runs])
    first = (np.log(median(starts)), seconds.max() - rows.max(), 1.0)
    found, covariance = curve_fit(_start_and_power, rows, seconds, first, maxfev=20_000)
    return Power(float(found[2]), float(np.sqrt(covariance[2, 2])))


def _start_and_power(rows: Any, start: float, factor: float, power: float) -> Any:
    return np.logaddexp(start, factor + power * rows)


def last_exponent(
    findings: Findings, figure: str, kind: str, operator: str, less: float = 0.0
) -> float | None:
    """Slope between the medians of the two largest sizes, where costs of few rows weigh least."""
    sizes = sizes_of(findings)[-2:]
    case = {"part": "run", "kind": kind, "operator": operator}
    at_size = [median(findings.values(figure, n_rows=n, **case)) - less for n in sizes]
    if len(sizes) < 2 or not min(at_size) > 0:
        return None
    return math.log(at_size[1] / at_size[0]) / math.log(sizes[1] / sizes[0])


def paired(findings: Findings, figure: str, **case: Any) -> list[tuple[float, float]]:
    """Pair a figure of corrected runs with that of uncorrected ones of the same mixture."""
    before = {
        (run["n_rows"], run["seed"]): run[figure]
        for run in findings.of(part="run", **(case | {"operator": "uncorrected"}))
        if figure in run
    }
    return [
        (run[figure], before[run["n_rows"], run["seed"]])
        for run in findings.of(part="run", **case)
        if figure in run
    ]


def differences(findings: Findings, figure: str, **case: Any) -> list[float]:
    """Return a figure of corrected runs minus that of uncorrected ones, by seed."""
    return [after - before for after, before in paired(findings, figure, **case)]


def gains(findings: Findings, **case: Any) -> list[float]:
    """Total over that of uncorrected minus 1, by seed; empty without scib-metrics."""
    return [after / before - 1 for after, before in paired(findings, "total", **case)]


def with_all_rows(findings: Findings) -> list[dict[str, Any]]:
    """Return the runs in which the operator of all rows was looked at."""
    return [run for run in findings.of(part="run") if "dense_elsewhere" in run]


def fitted(fit: Power | None) -> str:
    """Write a power and its standard error."""
    if fit is None:
        return "-"
    # Two runs have a slope, and no error of it.
    return f"{fit.slope:.2f}" + (f" +- {fit.stderr:.2f}" if np.isfinite(fit.stderr) else "")


class Screen:
    """A generated mixture, whose rows and store are made when they are first needed.

    Its store is made in ``place``; ``n_each`` rows of every cluster are scored.
    """

    def __init__(self, mixture: Mixture, place: Path, n_each: int) -> None:
        self.mixture, self.n_each = mixture, n_each
        self._place = place

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """All rows."""
        return np.concatenate([rows for _, rows in self.mixture.slabs(65_536)])

    @cached_property
    def codes(self) -> dict[str, Ints]:
        """Numbers of batches and clusters."""
        obs = self.mixture.annotations()
        return {name: obs[name].cat.codes.to_numpy().astype(np.int64) for name in obs}

    @cached_property
    def batch(self) -> Texts:
        """Label of every row's batch."""
        return np.array([f"batch{i}" for i in range(self.mixture.n_batches)])[self.codes[BATCH]]

    @cached_property
    def store(self) -> Path:
        """The mixture on disk."""
        path = self._place / "mixture.zarr"
        write_mixture(self.mixture, str(path))
        return path


def in_process(screen: Screen, operator: str) -> Corrected:
    """Correct arrays; seconds, corrected rows and the model."""
    values, batch = screen.values, screen.batch
    model = Balans(operator=operator, n_components=None, random_state=screen.mixture.seed)
    began = time.perf_counter()
    corrected = model.fit_transform(values, batch=batch)
    return time.perf_counter() - began, corrected, model


def by_command(screen: Screen, operator: str) -> Corrected:
    """Correct a store by the installed command."""
    store = screen.store
    with tempfile.TemporaryDirectory(dir=store.parent) as place:
        out, frozen = Path(place) / "out.zarr", Path(place) / "model.zarr"
        options = ("--n-components", 0, "--operator", operator, "--seed", screen.mixture.seed)
        run = balans("correct", store, out, "--batch-key", BATCH, "--model", frozen, *options)
        return run.seconds, anndata.read_zarr(out).X, Balans.load(str(frozen))


def uncorrected(screen: Screen) -> dict[str, Any]:
    """Score the mixture as it is."""
    return _quality(screen, screen.values)


def corrected_by(
    screen: Screen, correct: Callable[[Screen, str], Corrected], operator: str, dense: bool
) -> dict[str, Any]:
    """Correct and score; ``dense``: look at the operator of all rows, too."""
    seconds, rows, model = correct(screen, operator)
    found = {"seconds": round(seconds, 3), "n_landmarks": len(model.sampled_rows_)}
    if operator == "smooth":
        found |= _operator(screen, landmarks_of(model), dense)
    return found | {"stopped_by": model.stop_reason_} | _quality(screen, rows)


def _operator(screen: Screen, sampled: Landmarks, dense: bool) -> dict[str, Any]:
    """Where the sampled operator takes its weights from, and how far that of all rows is."""
    mass, weights = _mass(screen, sampled)
    found = {"mass_elsewhere": round(mass, 5)}
    if not dense:
        return found
    every = landmarks_at(screen.values, screen.batch, np.arange(screen.mixture.n_rows))
    dense_mass, dense_weights = _mass(screen, every)
    apart = 0.5 * np.abs(weights - dense_weights).sum(axis=1)
    return found | {
        "dense_elsewhere": round(dense_mass, 5),
        "difference": round(float(np.nanmean(apart)), 5),
        "n_uncovered": int(np.isnan(apart).sum()),
    }


def _mass(screen: Screen, landmarks: Landmarks) -> tuple[float, Floats]:
    cluster, n_rows, seed = screen.codes[TREATMENT], screen.mixture.n_rows, screen.mixture.seed
    rows = rows_of_every_label(cluster, screen.n_each, seed)
    columns = scored_rows(n_rows, seed, N_COLUMNS)
    weights = cluster_weights(screen.values, screen.batch, cluster, landmarks, rows, columns)
    return mass_elsewhere(weights, cluster[rows]), weights


def _quality(screen: Screen, rows: Floats) -> dict[str, Any]:
    mixture, batch, cluster = screen.mixture, screen.codes[BATCH], screen.codes[TREATMENT]
    chosen = rows_of_every_label(cluster, screen.n_each, mixture.seed)
    errors = mean_errors(rows, cluster, batch, mixture.means())
    found = scores(rows[chosen], screen.values[chosen], batch[chosen], cluster[chosen])
    return {name: round(value, 5) for name, value in errors.items()} | found


def screens(sizes: Mapping[str, Any], place: Path) -> Iterator[tuple[dict[str, Any], Screen]]:
    """Case and mixture of every kind, size and seed."""
    for n_rows in sizes["rows"]:
        seeds = sizes["seeds"][: sizes["seeds_beyond"].get(str(n_rows))]
        for kind in sizes["kinds"]:
            for seed in seeds:
                case = {"kind": kind, "n_rows": n_rows, "seed": seed}
                with tempfile.TemporaryDirectory(dir=place) as folder:
                    mixture = Mixture(n_rows, cluster_spread=SPREADS[kind], seed=seed)
                    yield case, Screen(mixture, Path(folder), sizes["scored_each"])


def measure(findings: Findings, setting: Setting) -> None:
    """Measure start-up, then every mixture without and with correction."""
    correct = by_command if setting.sizes["by_command"] else in_process
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        little = Screen(Mixture(TINY_ROWS), place, setting.sizes["scored_each"])
        for operator in OPERATORS if setting.sizes["starts"] else ():
            # Kernels are compiled before anything is measured.
            correct(little, operator)
            for repeat in range(setting.sizes["starts"]):
                case = {"part": "start", "operator": operator, "repeat": repeat}
                findings.measure(
                    case, lambda name=operator: {"seconds": round(correct(little, name)[0], 3)}
                )
        for case, screen in screens(setting.sizes, place):
            given = {"part": "run", **case}
            findings.measure(given | {"operator": "uncorrected"}, partial(uncorrected, screen))
            for operator in OPERATORS:
                dense = case["n_rows"] <= setting.sizes["dense_rows"] and case["seed"] == 0
                run = partial(corrected_by, screen, correct, operator, dense)
                findings.measure(given | {"operator": operator}, run)


def tables(findings: Findings) -> list[str]:
    """Time, exponents, recovery and scores."""
    found = ["## Time\n", _times(findings), _exponents(findings)]
    found += ["## Recovery\n", _recovery(findings)]
    if with_all_rows(findings):
        found += ["## The operator of all rows\n", _all_rows(findings)]
    return [*found, "## Scores\n", _scores(findings)]


def _cases(findings: Findings, operators: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "n_rows": n_rows, "operator": operator}
        for kind in findings.each("kind", part="run")
        for n_rows in sizes_of(findings)
        for operator in operators
    ]


def _named(case: dict[str, Any]) -> list[str]:
    return [case["kind"], f"{case['n_rows']:,}", case["operator"]]


def _times(findings: Findings) -> str:
    head = ["clusters", "rows", "operator", "seconds", "a row, us", "landmarks", "runs"]
    rows = []
    for case in _cases(findings, OPERATORS):
        seconds = findings.values("seconds", part="run", **case)
        landmarks = findings.values("n_landmarks", part="run", **case)
        a_row = f"{1e6 * median(seconds) / case['n_rows']:.1f}"
        rows.append(
            [*_named(case), spread(seconds), a_row, spread(landmarks, 0), f"{len(seconds)}"]
        )
    return lines(head, rows)


def _exponents(findings: Findings) -> str:
    head = ["clusters", "operator", "start-up, s", "exponent of seconds", "without start-up",
            "of the two largest", "exponent of landmarks"]  # fmt: skip
    rows = []
    for kind in findings.each("kind", part="run"):
        for operator in OPERATORS:
            start = start_up(findings, operator)
            last = last_exponent(findings, "seconds", kind, operator, start)
            rows.append([kind, operator, "-" if math.isnan(start) else f"{start:.2f}",
                         fitted(exponent(findings, "seconds", kind, operator)),
                         fitted(growth(findings, kind, operator)),
                         "-" if last is None else f"{last:.2f}",
                         fitted(exponent(findings, "n_landmarks", kind, operator))])  # fmt: skip
    return lines(head, rows)


def _recovery(findings: Findings) -> str:
    figures = {"mean_error": "mean error", "between_batches": "between batches",
               "of_centres": "of centres", "spread_kept": "spread kept",
               "mass_elsewhere": "mass elsewhere"}  # fmt: skip
    rows = [
        [*_named(case), *(_median(findings, name, case) for name in figures)]
        for case in _cases(findings, ("uncorrected", *OPERATORS))
    ]
    return lines(["clusters", "rows", "operator", *figures.values()], rows)


def _median(findings: Findings, figure: str, case: dict[str, Any]) -> str:
    return spread([run[figure] for run in findings.of(part="run", **case) if figure in run], 3)


def _all_rows(findings: Findings) -> str:
    figures = ("mass_elsewhere", "dense_elsewhere", "difference")
    rows = [
        [run["kind"], f"{run['n_rows']:,}", *(f"{run[name]:.3f}" for name in figures),
         f"{run['n_uncovered']:,}"]
        for run in with_all_rows(findings)
    ]  # fmt: skip
    head = ["clusters", "rows", "mass elsewhere, landmarks", "all rows", "difference", "uncovered"]
    return lines(head, rows)


def _scores(findings: Findings) -> str:
    figures = {"same_label": "same label", "batch_mixing": "batch mixing", "batch": "batch side",
               "biology": "biology side", "total": "total"}  # fmt: skip
    there = [name for name in figures if any(name in run for run in findings.of(part="run"))]
    head = ["clusters", "rows", "operator", *(figures[name] for name in there)]
    scored = "total" in there
    rows = []
    for case in _cases(findings, ("uncorrected", *OPERATORS)):
        row = [*_named(case), *(_median(findings, name, case) for name in there)]
        if scored:
            corrected = case["operator"] != "uncorrected"
            more = [100 * gain for gain in gains(findings, **case)] if corrected else []
            row += [spread(more), *(_part(findings, side, case) for side in SIDES)]
        rows.append(row)
    if scored:
        head += ["gain, %", "from batch side", "from biology side"]
    return lines(head, rows)


def _part(findings: Findings, side: str, case: dict[str, Any]) -> str:
    if case["operator"] == "uncorrected":
        return "-"
    return f"{SIDES[side] * median(differences(findings, side, **case)):+.3f}"


def picture(findings: Findings) -> Figure:
    """Draw time, landmarks, mean error and total over rows."""
    figure, axes = panels(4)
    time, landmarks, error, score = axes
    rows = sizes_of(findings)
    scored = any("total" in run for run in findings.of(part="run"))
    shown = "total" if scored else "same_label"
    for kind in findings.each("kind", part="run"):
        _line(findings, time, "seconds", kind, "smooth")
        _line(findings, landmarks, "n_landmarks", kind, "smooth")
        for operator in ("uncorrected", *OPERATORS):
            _line(findings, error, "mean_error", kind, operator)
            _line(findings, score, shown, kind, operator)
    _line_of_one(time, rows, findings)
    for axis in axes:
        axis.set(xscale="log", xlabel="rows")
    time.set(yscale="log", ylabel="seconds of a whole run", title="time, smooth")
    landmarks.set(yscale="log", ylabel="landmarks", title="rows drawn until the stop")
    error.set(ylim=(0, None), ylabel="mean error (1: a collapse)", title="recovery of the means")
    score.set(ylabel="total" if scored else "same-label share", title="scores", ylim=(0, 1))
    time.legend(frameon=False, fontsize=8)
    landmarks.legend(frameon=False, fontsize=8)
    handles, labels = score.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8,
                  title="recovery and scores")  # fmt: skip
    return figure


def _line(findings: Findings, axis: Any, figure: str, kind: str, operator: str) -> None:
    rows = sizes_of(findings)
    case = {"part": "run", "kind": kind, "operator": operator}
    values = [findings.values(figure, **case, n_rows=n) for n in rows]
    label = kind if figure in ("seconds", "n_landmarks") else f"{operator}, {kind}"
    spread_line(axis, rows, values, label, color=COLOUR_OF[operator], fmt=STYLES[kind])


def _line_of_one(axis: Any, rows: Sequence[int], findings: Findings) -> None:
    """Draw what an exponent of one would be, through the largest size."""
    case = {"part": "run", "operator": "smooth", "kind": findings.each("kind", part="run")[0]}
    last = median(findings.values("seconds", **case, n_rows=rows[-1]))
    through = [last * n / rows[-1] for n in rows]
    axis.plot(rows, through, ":", color="0.5", lw=1.2, label="exponent 1")


EXPERIMENT = Experiment(
    name="scaling",
    sizes={
        "tiny": {"kinds": ("overlapping",), "rows": (1000, 1500), "scored_each": 50,
                 "seeds": (0,), "seeds_beyond": {}, "starts": 0, "dense_rows": 1000,
                 "by_command": False},
        "small": {"kinds": tuple(SPREADS), "rows": (5_000, 25_000, 120_000), "scored_each": 50,
                  "seeds": (0, 1), "seeds_beyond": {}, "starts": 3, "dense_rows": 5_000,
                  "by_command": False},
        "full": {"kinds": tuple(SPREADS), "rows": (10_000, 100_000, 1_000_000, 5_000_000),
                 "scored_each": 150, "seeds": (0, 1, 2),
                 "seeds_beyond": {"1000000": 2, "5000000": 1}, "starts": 3,
                 "dense_rows": 10_000, "by_command": True},
    },
    measure=measure, tables=tables, picture=picture,
)  # fmt: skip
