"""Experiment 1: time, landmarks, recovery and scores of mixtures as their rows grow."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture, write_mixture
from benchmarks.experiments.mean_recovery import mean_errors
from benchmarks.experiments.operator_mass import cluster_weights, mass_elsewhere
from benchmarks.experiments.scaling_reading import reading
from benchmarks.experiments.scaling_tables import picture, tables
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.measured_process import balans
from benchmarks.harness.mixtures import BATCH, SPREADS, TINY_ROWS, TREATMENT
from benchmarks.harness.plain_affinities import Landmarks, landmarks_at, landmarks_of
from benchmarks.harness.scoring import rows_of_every_label, scored_rows, scores

OPERATORS = ("smooth", "displace")
N_COLUMNS = 50_000
"""Rows, drawn at random, that stand for all where weights of the operator are summed."""
ABOUT = f"""Does time grow nearly linearly with the rows, and are scores over 30 % above those of
uncorrected profiles at every size? Gaussian mixtures of 20 clusters in 5 batches with known offsets
and 50 columns, the ones of our other benchmarks: noise of deviation 1, batch offsets of deviation
0.5 a column (a typical distance of two batches is half the noise's distance of two rows), a stretch
of every column by 10 %; cluster means of deviation {SPREADS["separated"]} (*separated*) or
{SPREADS["overlapping"]} (*overlapping*). The paper does not say how strong its offsets are, and a
gain beside uncorrected depends on that more than on anything: these strengths are our choice, and
were fixed before this experiment. Default settings, but distances in the given columns
(`n_components=None`); every seed is another mixture and other draws. Medians (range) of the seeds.

- *Seconds*: a whole run. At the full size the installed `balans correct` by threads, from store to
  store, imports included; else `Balans.fit_transform` in this process, kernels compiled before.
  *Start-up*: median time of runs of {TINY_ROWS:,} rows.
- *Exponent*: slope of log(seconds) over log(rows) by least squares, with its standard error.
  *Without start-up*: b of seconds = start-up + a rows^b, fitted to the logarithms of all runs,
  those of {TINY_ROWS:,} rows among them. *Of the two largest*: slope between their medians less
  start-up, as costs of few rows weigh least there.
- *Mean error*: distance of each cluster's mean in each batch to the cluster's true mean, root mean
  square, in units of the true means' own spread, after the common shift that no method can know is
  taken out. 0 is perfect; 1 is what a collapse into one point has. Its squares are the sum of
  *between batches* (a cluster's batches lie apart) and *of centres* (the cluster as a whole lies
  wrong; shrinkage is part of it). *Spread kept*: spread of the corrected clusters' means over the
  true one.
- *Mass elsewhere*: of the row-normalised operator D^-1 A_S^T A_S of `smooth`, the weight that a row
  puts on rows of other clusters, mean of the rows that are scored; 0 is the ideal block operator.
  Recomputed in plain numpy from the landmarks, scales and thresholds of the fit; weights are summed
  over at most {N_COLUMNS:,} rows drawn at random. *All rows*: the same with every row a landmark,
  from plain numpy alone, where that was affordable, with seed 0. *Difference*: total variation
  between the two rows of weights on clusters, mean.
- *Total*: 0.6 biology + 0.4 batch by scib-metrics, on as many rows of every cluster drawn
  at random (150 at the full size, else 50), the same before and after; that is our reading of the
  paper's average score. *Gain*: over uncorrected, in per cent, paired by seed."""


class Screen:
    """A generated mixture, whose rows and store are made when they are first needed.

    Parameters
    ----------
    mixture : Mixture
    place : Path
        Where its store is made.
    n_each : int
        Rows of every cluster that are scored.
    """

    def __init__(self, mixture: Mixture, place: Path, n_each: int) -> None:
        self.mixture, self.n_each = mixture, n_each
        self._place = place

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """All rows."""
        return np.concatenate([rows for _, rows in self.mixture.slabs(65_536)])

    @cached_property
    def codes(self) -> dict[str, NDArray[np.int64]]:
        """Numbers of batches and clusters."""
        obs = self.mixture.annotations()
        return {name: obs[name].cat.codes.to_numpy().astype(np.int64) for name in obs}

    @cached_property
    def batch(self) -> NDArray[np.str_]:
        """Label of every row's batch."""
        return np.array([f"batch{i}" for i in range(self.mixture.n_batches)])[self.codes[BATCH]]

    @cached_property
    def store(self) -> Path:
        """The mixture on disk."""
        path = self._place / "mixture.zarr"
        write_mixture(self.mixture, str(path))
        return path


Corrected = tuple[float, NDArray[np.floating], Balans]


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


def _mass(screen: Screen, landmarks: Landmarks) -> tuple[float, NDArray[np.float64]]:
    cluster, n_rows, seed = screen.codes[TREATMENT], screen.mixture.n_rows, screen.mixture.seed
    rows = rows_of_every_label(cluster, screen.n_each, seed)
    columns = scored_rows(n_rows, seed, N_COLUMNS)
    weights = cluster_weights(screen.values, screen.batch, cluster, landmarks, rows, columns)
    return mass_elsewhere(weights, cluster[rows]), weights


def _quality(screen: Screen, rows: NDArray[np.floating]) -> dict[str, Any]:
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


EXPERIMENT = Experiment(
    name="scaling",
    title="Growth of time, and recovery, from thousands to millions of rows",
    about=ABOUT,
    sizes={
        "tiny": {
            "kinds": ("overlapping",),
            "rows": (1000, 1500),
            "scored_each": 50,
            "seeds": (0,),
            "seeds_beyond": {},
            "starts": 0,
            "dense_rows": 1000,
            "by_command": False,
        },
        "small": {
            "kinds": tuple(SPREADS),
            "rows": (5_000, 25_000, 120_000),
            "scored_each": 50,
            "seeds": (0, 1),
            "seeds_beyond": {},
            "starts": 3,
            "dense_rows": 5_000,
            "by_command": False,
        },
        "full": {
            "kinds": tuple(SPREADS),
            "rows": (10_000, 100_000, 1_000_000, 5_000_000),
            "scored_each": 150,
            "seeds": (0, 1, 2),
            "seeds_beyond": {"1000000": 2, "5000000": 1},
            "starts": 3,
            "dense_rows": 10_000,
            "by_command": True,
        },
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)

if __name__ == "__main__":
    EXPERIMENT.main()
