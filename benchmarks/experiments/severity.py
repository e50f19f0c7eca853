"""Batch effects from none to overwhelming: where every operator stops helping, and does harm."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.severity_reading import reading
from benchmarks.experiments.severity_report import (
    AXES,
    NO_EFFECT,
    PEER,
    UNCORRECTED,
    picture,
    tables,
)
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.profile_sets import ProfileSet, generated
from benchmarks.harness.scoring import scores

__all__ = ["EXPERIMENT"]

OPERATORS: dict[str, dict[str, Any]] = {
    "smooth": {"operator": "smooth"},
    "nystrom": {"operator": "nystrom"},
    "displace": {"operator": "displace"},
    "displace, 2 passes": {"operator": "displace", "n_passes": 2},
    "smooth, no guard": {"operator": "smooth", "max_scale_ratio": None},
    "displace, 2 passes, no guard": {
        "operator": "displace",
        "n_passes": 2,
        "max_scale_ratio": None,
    },
}
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
ABOUT = """From which severity of a batch effect on does a correction help, up to which, and what
harm does it do where there is nothing to correct? Gaussian mixtures of 20 clusters in 5 batches and
50 features, with the batch effect along one axis at a time, all else without batch effect:

- *offset*: every batch adds its own vector, whose features have this standard deviation. The noise
  within a cluster has 1, cluster means have 1.0 (*separated*) or 0.5 (*overlapping*).
- *stretch*: every batch multiplies every feature by its own factor, whose logarithm has this
  standard deviation: .6 is a factor of 1.8 either way.
- *rotation*: every batch turns all profiles about the origin by this angle, in random planes of its
  own; at 90 degrees no profile is nearer to where it was than to any other direction.

Methods: the operators of the package with all else at its defaults, the guard against forced
matching among them (`nystrom`, and two without that guard, at the full size only); and harmonypy
with its own defaults, where an environment for it is given. Embeddings are the mixtures' features.
As many rows of every cluster are scored. *total*: 0.4 batch + 0.6 biology; *same-label share* of
the 30 nearest neighbours; *mixing*: their share from other batches, over that expected in the row's
label. The score that readings and plots look at is the total, or the same-label share where scib-
metrics is missing. *gain*: score of a method minus that of the uncorrected profiles of the same
seed. *better from, to*: where the mean gain over seeds crosses .005, less being called none (our
choice), by straight lines between the severities that were measured; *single seeds*: range of where
the gains of single seeds do so for the last time. *half given back, up to*: where the mean of the
score, less the middle between the uncorrected score here and without any batch effect, falls
below zero for the last time: beyond it
less than half of what the batch effect took is given back. Severities, and that one axis changes at
a time, are our choice. *gain at no effect*: where there is nothing to correct; below zero it is
harm. Mind the PCR part of the total: it compares with the uncorrected profiles, for which it is 0
by definition, also where no batch effect can be removed, so it raises a gain by up to .08;
*biology* alone, of the total, is free of it."""


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
    def profiles(self) -> ProfileSet:
        """Its rows."""
        return generated("", self._mixture, self._each)


def _methods(
    screen: Screen, setting: Setting, seed: int
) -> Mapping[str, Callable[[], NDArray[np.float64]]]:
    def ours(options: dict[str, Any]) -> NDArray[np.float64]:
        model = Balans(n_components=None, random_state=seed, **options)
        return model.fit_transform(screen.profiles.values, batch=screen.profiles.batch)

    def peer() -> NDArray[np.float64]:
        profiles = screen.profiles
        return setting.peers.correct(PEER, profiles.values, profiles.batch, seed)

    methods = {UNCORRECTED: lambda: screen.profiles.values}
    chosen = {name: OPERATORS[name] for name in setting.sizes["methods"]}
    methods |= {name: functools.partial(ours, options) for name, options in chosen.items()}
    return methods | ({PEER: peer} if PEER in setting.peers.versions() else {})


def _scored(screen: Screen, corrected: Callable[[], NDArray[np.float64]]) -> dict[str, float]:
    profiles, rows = screen.profiles, screen.profiles.scored
    values, before = corrected()[rows], profiles.values[rows]
    return scores(values, before, profiles.batch[rows], profiles.label[rows])


EXPERIMENT = Experiment(
    name="severity",
    title="Batch effects from none to overwhelming",
    about=ABOUT,
    sizes=SIZES,
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
    beside_peers=True,
)

if __name__ == "__main__":
    EXPERIMENT.main()
