"""Batch effects from none to overwhelming: where every operator stops helping, and does harm."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.embedded import Embedded, generated
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, spread
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.scoring import main_score, rows_of_every_label, scores
from benchmarks.harness.tables import lines

NO_EFFECT, UNCORRECTED = "none", "uncorrected"
MARGIN = 0.005
"""A smaller gain is none: our choice."""
OPERATORS: dict[str, dict[str, Any]] = {
    "smooth": {"operator": "smooth"},
    "nystrom": {"operator": "nystrom"},
    "displace": {"operator": "displace"},
    "displace, 2 passes": {"operator": "displace", "n_passes": 2},
    "smooth, no guard": {"operator": "smooth", "max_scale_ratio": None},
    "displace, 2 passes, no guard": {"operator": "displace", "n_passes": 2,
                                     "max_scale_ratio": None},
}  # fmt: skip
METHODS = tuple(OPERATORS)
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"seeds": [0, 1], "rows": 300, "each": 10, "kinds": ("overlapping",),
             "offset": (2.0,), "stretch": (), "rotation": (),
             "methods": METHODS[:3]},
    "small": {"seeds": [0, 1], "rows": 1500, "each": 50, "kinds": ("overlapping",),
              "offset": (0.5, 1.0, 3.0), "stretch": (0.4, 1.2), "rotation": (30.0, 90.0),
              "methods": ("smooth", "displace", "displace, 2 passes")},
    "full": {"seeds": [0, 1, 2], "rows": 5000, "each": 50, "kinds": tuple(SPREADS),
             "offset": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
             "stretch": (0.1, 0.4, 0.8, 1.6), "rotation": (10.0, 30.0, 60.0, 90.0),
             "methods": METHODS},
}  # fmt: skip
PEER = "harmonypy"
AXES = {
    "offset": "standard deviation of batch offsets\n(noise within a cluster = 1)",
    "stretch": "standard deviation of the logarithm\nof batches' factors for features",
    "rotation": "angle by which a batch turns profiles\n(degrees)",
}
STYLES = {
    UNCORRECTED: ("#888888", "X--"),
    "smooth": (COLOURS[0], "o-"),
    "nystrom": (COLOURS[1], "s-"),
    "displace": (COLOURS[2], "D-"),
    "displace, 2 passes": (COLOURS[3], "^-"),
    "smooth, no guard": (COLOURS[4], "o:"),
    "displace, 2 passes, no guard": (COLOURS[5], "^:"),
    PEER: (COLOURS[6], "P-"),
}


@dataclass(frozen=True)
class Stretch:
    """A part of the curve above zero.

    Attributes
    ----------
    start, end : float
        Where the curve crosses zero; the first or last measured point if it does not.
    opens, closes : bool
        Whether it crosses zero there, or was above it from the first or to the last point.
    """

    start: float
    end: float
    opens: bool
    closes: bool


def stretches_above(places: Sequence[float], values: Sequence[float]) -> list[Stretch]:
    """Find every part of a curve above zero, from left to right.

    Places increase; a value of exactly 0 is not above.
    """
    above = np.asarray(values) > 0
    found = []
    start, opens = places[0], False
    for i in range(1, len(places)):
        if above[i] == above[i - 1]:
            continue
        share = values[i - 1] / (values[i - 1] - values[i])
        place = float(places[i - 1] + share * (places[i] - places[i - 1]))
        if above[i]:
            start, opens = place, True
        else:
            found.append(Stretch(float(start), place, opens, closes=True))
    if above[-1]:
        found.append(Stretch(float(start), float(places[-1]), opens, closes=False))
    return found


def levels(findings: Findings, kind: str, axis: str) -> list[float]:
    """Severities that were measured, 0 first."""
    return [0.0, *sorted({run["level"] for run in findings.of(kind=kind, axis=axis)})]


def scores_of(findings: Findings, figure: str, kind: str, axis: str, method: str) -> Floats:
    """One figure of a method: a line a seed, a column a severity."""
    places = [(NO_EFFECT, 0.0)] + [(axis, level) for level in levels(findings, kind, axis)[1:]]
    columns = [
        findings.values(figure, kind=kind, axis=where, level=level, method=method)
        for where, level in places
    ]
    return np.array(columns, dtype=np.float64).T


@dataclass(frozen=True)
class Curve:
    """What a method gains along an axis.

    Attributes
    ----------
    places : list of float
        Severities.
    gains : ndarray of shape (n_seeds, n_severities)
        Score minus that of uncorrected, paired by seed.
    regained : ndarray of shape (n_severities,)
        Mean score less the middle between the uncorrected score here and without batch effect.
    """

    places: list[float]
    gains: Floats
    regained: Floats

    @property
    def mean(self) -> Floats:
        """Mean gain over seeds."""
        return self.gains.mean(axis=0)

    @property
    def helps(self) -> list[Stretch]:
        """Severities with a mean gain above the margin."""
        return stretches_above(self.places, self.mean - MARGIN)

    @property
    def ends(self) -> list[float]:
        """Where the gain of a seed falls below the margin for the last time, of those that do."""
        found = [stretches_above(self.places, gains - MARGIN) for gains in self.gains]
        return [one[-1].end for one in found if one and one[-1].closes]

    @property
    def half(self) -> Stretch | None:
        """Last severities at which half of the loss is given back; without batch effect excluded.

        Where nothing is lost, as without batch effect, there is nothing to give back.
        """
        found = stretches_above(self.places[1:], self.regained[1:])
        return found[-1] if found else None


def curve(findings: Findings, kind: str, axis: str, method: str) -> Curve:
    """Compare the main score of a method along an axis with that of the uncorrected profiles."""
    figure = main_score(findings)[0]
    own, raw = (scores_of(findings, figure, kind, axis, name) for name in (method, UNCORRECTED))
    middle = (raw + raw[:, :1]) / 2
    return Curve(levels(findings, kind, axis), own - raw, (own - middle).mean(axis=0))


def measure(findings: Findings, setting: Setting) -> None:
    """Correct every mixture by every method."""
    for seed in setting.sizes["seeds"]:
        for kind in setting.sizes["kinds"]:
            for axis, level in _levels(setting):
                screen = Screen(setting, kind, axis, level, seed)
                for method, corrected in _methods(screen, setting, seed).items():
                    case = {"kind": kind, "axis": axis, "level": level, "method": method}
                    run = functools.partial(_scored, screen, corrected)
                    findings.measure(case | {"seed": seed}, run)


def _levels(setting: Setting) -> Iterator[tuple[str, float]]:
    yield NO_EFFECT, 0.0
    for axis in AXES:
        yield from ((axis, level) for level in setting.sizes[axis])


class Screen:
    """A mixture that is generated when it is asked for."""

    def __init__(self, setting: Setting, kind: str, axis: str, level: float, seed: int) -> None:
        effect = {"batch_offset": 0.0, "batch_stretch": 0.0, "batch_rotation": 0.0}
        if axis != NO_EFFECT:
            effect[f"batch_{axis}"] = np.radians(level) if axis == "rotation" else level
        rows = setting.sizes["rows"]
        self._mixture = Mixture(rows, cluster_spread=SPREADS[kind], seed=seed, **effect)
        self._each = setting.sizes["each"]

    @functools.cached_property
    def profiles(self) -> Embedded:
        """All rows."""
        return generated(self._mixture)

    @functools.cached_property
    def scored(self) -> Ints:
        """As many rows of every cluster."""
        return rows_of_every_label(self.profiles.label, self._each, self._mixture.seed)


def _methods(screen: Screen, setting: Setting, seed: int) -> Mapping[str, Callable[[], Floats]]:
    def ours(options: dict[str, Any]) -> Floats:
        model = Balans(n_components=None, random_state=seed, **options)
        return model.fit_transform(screen.profiles.rows, batch=screen.profiles.batch)

    def peer() -> Floats:
        profiles = screen.profiles
        return setting.peers.correct(PEER, profiles.rows, profiles.batch, seed)

    methods = {UNCORRECTED: lambda: screen.profiles.rows}
    chosen = {name: OPERATORS[name] for name in setting.sizes["methods"]}
    methods |= {name: functools.partial(ours, options) for name, options in chosen.items()}
    return methods | ({PEER: peer} if PEER in setting.peers.versions() else {})


def _scored(screen: Screen, corrected: Callable[[], Floats]) -> dict[str, float]:
    profiles, rows = screen.profiles, screen.scored
    values, before = corrected()[rows], profiles.rows[rows]
    return scores(values, before, profiles.batch[rows], profiles.label[rows])


def axes_of(findings: Findings) -> list[str]:
    """Return the kinds of batch effects that were measured, in order."""
    return [axis for axis in AXES if axis in findings.each("axis")]


def corrections_of(findings: Findings) -> list[str]:
    """Return all methods but none."""
    return [method for method in findings.each("method") if method != UNCORRECTED]


def tables(findings: Findings) -> list[str]:
    """Scores along every axis, and where gains begin and end."""
    found = []
    methods = findings.each("method")
    figures = [main_score(findings), ("same_label", "same-label share"), ("batch_mixing", "mixing")]
    for kind in findings.each("kind"):
        for axis in axes_of(findings):
            found.append(f"## {kind} clusters, {axis}\n")
            for figure, name in dict(figures).items():
                columns = [scores_of(findings, figure, kind, axis, m).T for m in methods]
                rows = [
                    [f"{level:g}", *(spread(list(column[i]), 3) for column in columns)]
                    for i, level in enumerate(levels(findings, kind, axis))
                ]
                found.append(lines([f"{axis}: {name}", *methods], rows))
            found.append(_points(findings, kind, axis))
    return found


def _points(findings: Findings, kind: str, axis: str) -> str:
    head = ["method", "gain at no effect", "better", "until, single seeds", "half given back",
            "greatest gain, at", "least gain, at"]  # fmt: skip
    rows = []
    for method in corrections_of(findings):
        one = curve(findings, kind, axis, method)
        rows.append(
            [method, f"{one.mean[0]:+.3f} ({_range(list(one.gains[:, 0]), '+.3f')})", helped(one),
             _range(one.ends, ".2g"), half_given_back(one),
             *(f"{one.mean[i]:+.3f}, {one.places[i]:g}" for i in _extremes(one))]
        )  # fmt: skip
    return lines(head, rows)


def _range(values: list[float], form: str) -> str:
    ends = dict.fromkeys(format(end(values), form) for end in (min, max)) if values else "-"
    return " to ".join(ends)


def _extremes(one: Curve) -> tuple[int, int]:
    return int(one.mean.argmax()), int(one.mean.argmin())


def half_given_back(one: Curve) -> str:
    """Say in words up to where half of the loss is given back."""
    if one.half is None:
        return "nowhere"
    return f"up to {one.half.end:.2g}" if one.half.closes else "to the last"


def helped(one: Curve) -> str:
    """Say in words where the mean gain is above zero."""
    if not one.helps:
        return "nowhere"
    parts = []
    for each in one.helps:
        if not each.opens and not each.closes:
            return "everywhere"
        start = f"from {each.start:.2g}" if each.opens else "from no effect"
        parts.append(f"{start} {f'to {each.end:.2g}' if each.closes else 'on'}")
    return " and ".join(parts)


def picture(findings: Findings) -> Figure:
    """Scores above, gains below; a column an axis, for the last kind of clusters."""
    figure_name, name = main_score(findings)
    kinds, ways = findings.each("kind"), axes_of(findings)
    n_seeds = len(findings.each("seed"))
    figure, axes = grid(2 * len(ways) * len(kinds), len(ways))
    for number, (kind, axis) in enumerate((kind, axis) for kind in kinds for axis in ways):
        line, column = divmod(number, len(ways))
        upper = axes[2 * line * len(ways) + column]
        lower = axes[(2 * line + 1) * len(ways) + column]
        for method in findings.each("method"):
            scored = scores_of(findings, figure_name, kind, axis, method)
            _line(upper, levels(findings, kind, axis), scored, method)
            if method != UNCORRECTED:
                one = curve(findings, kind, axis, method)
                _line(lower, one.places, one.gains, method)
        lower.axhline(0, color="#888888", lw=1.2, ls="--", zorder=0)
        lower.annotate("uncorrected", (1, 0), xycoords=("axes fraction", "data"), ha="left",
                       va="center", rotation=90, color="#666666", fontsize=8)  # fmt: skip
        lower.set_xlabel(AXES[axis])
        for each in (upper, lower) if axis == "offset" else ():
            _doubling(each, levels(findings, kind, axis))
        upper.set_title(f"{axis}, {kind} clusters", fontsize=10)
        if column == 0:
            upper.set_ylabel(f"{name}\n(higher is better)")
            lower.set_ylabel(f"gain in {name}\nover uncorrected")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"One kind of batch effect at a time: means and ranges of {n_seeds} seeds")
    return figure


def _line(axis: Any, places: list[float], values: np.ndarray, method: str) -> None:
    colour, form = STYLES[method]
    middle = values.mean(axis=0)
    bars = [middle - values.min(axis=0), values.max(axis=0) - middle]
    axis.errorbar(places, middle, bars, fmt=form, ms=4, lw=1.2, capsize=2, color=colour,
                  label=method)  # fmt: skip


def _doubling(axis: Any, places: list[float]) -> None:
    """Severities that double, from 0 on, at about equal distances."""
    axis.set_xscale("symlog", linthresh=places[1], linscale=0.5)
    axis.set_xticks(places, [f"{place:g}" for place in places])
    axis.minorticks_off()
    axis.set_xlim(-0.2 * places[1], 1.15 * places[-1])


EXPERIMENT = Experiment(
    name="severity", sizes=SIZES, measure=measure, tables=tables, picture=picture, beside_peers=True
)
