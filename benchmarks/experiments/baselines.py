"""Other methods that install from Python packages, beside ours.

python -m benchmarks.experiments.baselines [--size tiny|small|full] [--resume]
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask import Balans
from balans_dask.evaluate.retrieval import cross_batch_precision
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.baselines_reading import reading
from benchmarks.experiments.baselines_tables import picture, tables
from benchmarks.harness.embedded import Embedded, generated, real
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.real_sets import SETS, RealSet
from benchmarks.harness.scoring import rows_of_every_label, scores

OURS: dict[str, dict[str, Any]] = {
    "smooth": {"operator": "smooth"},
    "displace": {"operator": "displace"},
    "displace, 2 passes": {"operator": "displace", "n_passes": 2},
}
PEERS = ("harmonypy", "scanorama", "bbknn", "combat", "sphering")
DRAWS_NOTHING = ("raw", "scanorama", "bbknn", "combat", "sphering")
"""On a real set these give the same for every seed, so they run once there."""
MIXTURE = "mixture"
REAL = {
    "CPJUMP1 by plate": SETS[0],
    "BBBC021 by week": SETS[1],
    "BBBC021 by plate": SETS[2],
    "BBBC021 cells": SETS[3],
}


@dataclass(frozen=True)
class DataSet:
    """An embedding, and what its scores look at."""

    embedded: Embedded
    control: NDArray[np.bool_]
    across: NDArray[np.str_]
    scored: NDArray[np.int64]


def _generated(rows: int, n_each: int, seed: int) -> DataSet:
    made = generated(Mixture(rows, cluster_spread=SPREADS["overlapping"], seed=seed))
    scored = rows_of_every_label(made.label, n_each, seed)
    return DataSet(made, np.zeros(rows, dtype=bool), made.batch, scored)


def _read(which: RealSet, setting: Setting) -> DataSet:
    assert setting.data is not None
    described = which.annotations(setting.data)
    return DataSet(
        embedded=real(which, setting.data),
        control=(described["Metadata_pert_type"] == "negcon").to_numpy(),
        across=described[which.across].to_numpy(dtype=str),
        scored=np.flatnonzero(which.scored(described)),
    )


def measure(findings: Findings, setting: Setting) -> None:
    """Correct every set by every method and seed."""
    _ours(_generated(200, 1, 0), "displace", 0)  # Compiles.
    for seed in setting.sizes["seeds"]:
        data = _generated(setting.sizes["mixture_rows"], setting.sizes["scored_each"], seed)
        _methods(findings, setting, MIXTURE, data, seed)
    for name in setting.sizes["real"] if setting.data else ():
        data = _read(REAL[name], setting)
        for seed in setting.sizes["seeds"]:
            _methods(findings, setting, name, data, seed)


def _methods(findings: Findings, setting: Setting, name: str, data: DataSet, seed: int) -> None:
    there = setting.peers.versions()
    peers = [peer for peer in setting.sizes["peers"] if peer in there]
    if not data.control.any():
        peers = [peer for peer in peers if peer != "sphering"]
    for method in ("raw", *OURS, *peers):
        if name != MIXTURE and method in DRAWS_NOTHING and seed != setting.sizes["seeds"][0]:
            continue
        case = {"set": name, "method": method, "seed": seed}
        findings.measure(case, partial(_run, setting, data, method, seed))


def _run(setting: Setting, data: DataSet, method: str, seed: int) -> Mapping[str, float]:
    given = data.embedded
    if method == "raw":
        corrected, seconds = given.rows, 0.0
    elif method in OURS:
        corrected, seconds = _ours(data, method, seed)
    else:
        answer = setting.peers.answer(method, given.rows, given.batch, seed, data.control)
        corrected, seconds = answer.embedding, answer.seconds
    rows = data.scored
    found = scores(corrected[rows], given.rows[rows], given.batch[rows], given.label[rows])
    if find_spec("copairs"):
        ranked = cross_batch_precision(corrected[rows], given.label[rows], data.across[rows])
        found["cross_batch_map"] = round(float(np.nanmean(ranked["average_precision"])), 5)
    return {"seconds": round(seconds, 3), **found}


def _ours(data: DataSet, method: str, seed: int) -> tuple[NDArray[np.floating], float]:
    model = Balans(n_components=None, random_state=seed, **OURS[method])
    began = time.perf_counter()
    corrected = model.fit_transform(data.embedded.rows, batch=data.embedded.batch)
    return corrected, time.perf_counter() - began


EXPERIMENT = Experiment(
    name="baselines",
    title="Beside other methods",
    about="""How do the paper's other baselines do that install from Python packages? fastMNN and
Seurat do not: they are packages of R, and are left out. scVI is measured at the full size only,
where it is installed; it models counts, which profiles are not.

Every method is given the same embedding: at most 50 principal components of the standardised
features, and the 50 features themselves of the mixture (20 overlapping clusters in 5 batches, of
which as many rows are scored).
Settings are the defaults of each package, ours too; so none is tuned to a set, except that two
passes of `displace` were once chosen on CPJUMP1. Where a method gives something else than corrected
profiles, it is scored on this: of BBKNN, which gives a graph, the mean of a row's neighbours,
weighted by the graph; of Scanorama the profiles scaled to length 1, as it does itself; of scVI the
latents. Sphering whitens by the covariance of negative controls, shrunk as Ledoit and Wolf do, and
not tuned by the score; where there are none (the mixture, and this file of CPJUMP1), it is left
out. ComBat and sphering are more often used on features than on components.

*total* = 0.4 batch side + 0.6 biology side, of scib-metrics as in `balans evaluate`; *same label*:
share of the 30 nearest neighbours with the row's own label; *batch mixing*: share of them from
other batches, over that in perfectly mixed data; *cross-batch mAP*: mean average precision with
which a row ranks the rows of its label in other batches (of BBBC021 wells: other weeks) above other
rows. Medians over seeds (range); on real sets a seed is that of the method, on the mixture that of
the data too, and what draws no random numbers has one run on a real set; below .005 nothing is
called a difference, since totals move by as much with kBET, which has no seed. *seconds*: of the
correction alone, by one thread as `run_all.py` runs it; other methods run in a process of their
own, so BBKNN's contain what it compiles at its first call, and ours have been compiled before.""",
    sizes={
        "tiny": {
            "seeds": (0, 1),
            "mixture_rows": 600,
            "scored_each": 20,
            "real": (),
            "peers": PEERS,
        },
        "small": {
            "seeds": (0, 1),
            "mixture_rows": 3000,
            "scored_each": 50,
            "real": ("CPJUMP1 by plate", "BBBC021 by week"),
            "peers": PEERS,
        },
        "full": {
            "seeds": (0, 1, 2),
            "mixture_rows": 10_000,
            "scored_each": 100,
            "real": tuple(REAL),
            "peers": (*PEERS, "scvi"),
        },
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
    beside_peers=True,
)

if __name__ == "__main__":
    EXPERIMENT.main()
