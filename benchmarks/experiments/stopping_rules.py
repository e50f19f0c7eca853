"""What patience, block size, tolerance and the automatic rule cost and bring."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.experiments.stopping_picture import picture
from benchmarks.experiments.stopping_reading import reading, tables
from benchmarks.experiments.stopping_settings import DEFAULT, REAL
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings
from benchmarks.harness.mixtures import N_RARE, SPREADS
from benchmarks.harness.scoring import scores
from benchmarks.quality.stop_rule import (
    Profiles,
    embeddings,
    generated_profiles,
    reach,
    read_profiles,
)

N_SHOWN = 30
ABOUT = f"""When should the draws stop? One parameter at a time is changed from the defaults
(`patience` 50, `block_rows` 64, `coverage_tol` 0, `stopping="patience"`), and at the full size
patience and blocks together; on mixtures of 20 clusters in 5 batches with ten rare clusters more
(separated and overlapping), and on the compounds of `cpjump1_compound_csn` by plate.

- *Rows drawn*, and *of default*: over those of the default with the same seed. *Uncovered*: rows
  without a kept affinity. *Rare covered*: rare clusters of which at least half of the rows are.
- *Time*: of `fit_transform`, over that of the default with the same seed; settings of a seed run
  one after the other, so that a busy machine slows both.
- *Same label*: share of the nearest neighbours with the same label among the scored rows (of
  mixtures a sample of the common clusters); {N_SHOWN} neighbours, or as many as half of the labels
  have other rows; *mixing*: neighbours from other batches over what is
  expected; *total*: 0.6 biology and 0.4 batch side, where scib-metrics computed it. *Minus default*
  is paired by seed.
- Settings of one seed and block size draw the same rows and stop at different ones. The seed of a
  mixture's draws is that of its rows too. That one factor is changed at a time, and the values, is
  our choice; one row at a time, which is slow, runs with the first seed and `smooth` only, and at
  the small size on real profiles alone."""


def measure(findings: Findings, setting: Setting) -> None:
    """Run every setting of every data set, seed after seed."""
    sizes = setting.sizes
    _warm(sizes["operators"])
    for number, seed in enumerate(sizes["seeds"]):
        for name, data in _data(setting, seed):
            for operator in sizes["operators"]:
                slowly = number == 0 and operator == "smooth" and name in sizes["slow_on"]
                settings = _settings(sizes, sizes["slow_blocks"] if slowly else [], operator)
                # In another order with every seed: what comes first is slower.
                for place in np.random.default_rng(seed).permutation(len(settings)):
                    chosen = settings[place]
                    case = {"data": name, "seed": seed, "operator": operator, **chosen}
                    findings.measure(
                        case,
                        lambda data=data, seed=seed, operator=operator, chosen=chosen: _run(
                            data, seed, operator, chosen, sizes["totals"]
                        ),
                    )


def _warm(operators: list[str]) -> None:
    """Load kernels before anything is timed."""
    data = generated_profiles("", Mixture(300), n_scored=100)
    for operator in operators:
        model = Balans(n_components=None, max_rows=64, operator=operator)
        model.fit_transform(data.values, batch=data.batch)


def _data(setting: Setting, seed: int) -> Iterator[tuple[str, Profiles]]:
    sizes = setting.sizes
    for kind in sizes["kinds"]:
        mixture = Mixture(
            sizes["rows"],
            cluster_spread=SPREADS[kind],
            n_rare=N_RARE,
            rare_share=sizes["rare_share"],
            seed=seed,
        )
        yield f"mixture, {kind}", generated_profiles(kind, mixture, sizes["scored"])
    if setting.data is not None and sizes["real"]:
        yield "cpjump1", read_profiles(REAL, setting.data)


def _settings(sizes: Any, slow: list[int], operator: str) -> list[dict[str, Any]]:
    alone = [
        {},
        *({"patience": each} for each in sizes["patience"]),
        *({"block_rows": each} for each in [*sizes["blocks"], *slow]),
        *({"coverage_tol": each} for each in sizes["tolerances"]),
        {"stopping": "auto"},
        *({"patience": p, "block_rows": b} for p, b in sizes["together"]),
    ]
    if operator != "smooth":
        ends = (min(sizes["patience"]), max(sizes["patience"]))
        alone = [each for each in alone if each.get("patience") in ends or "stopping" in each]
        alone = [{}, *(each for each in alone if "block_rows" not in each)]
    return [DEFAULT | each for each in alone]


def _run(
    data: Profiles, seed: int, operator: str, chosen: dict[str, Any], totals: bool
) -> dict[str, Any]:
    model = Balans(**data.options, **chosen, operator=operator, random_state=seed)
    began = time.perf_counter()
    corrected = model.fit_transform(data.values, batch=data.batch)
    seconds = time.perf_counter() - began
    before, after = embeddings(model, corrected, data)
    batch, label = data.batch[data.scored], data.label[data.scored]
    # Of a compound there are few rows: neighbours of the same label cannot be more.
    n_neighbors = min(N_SHOWN, int(np.median(np.unique(label, return_counts=True)[1])) - 1)
    shares = neighbour_shares(after, label, batch, n_neighbors, max_rows=1000)
    found = {name: round(value, 5) for name, value in vars(shares).items()}
    if totals:
        every = scores(after, before, batch, label)
        found |= {name: every[name] for name in ("total",) if name in every}
    return {"seconds": round(seconds, 3), **reach(model, data), **found}


EXPERIMENT = Experiment(
    name="stopping_rules",
    title="When to stop drawing rows",
    about=ABOUT,
    sizes={
        "tiny": {
            "rows": 400, "rare_share": 0.02, "scored": 150, "kinds": ["overlapping"],
            "seeds": [0], "operators": ["smooth"], "patience": [5], "blocks": [256],
            "slow_blocks": [], "slow_on": [], "tolerances": [0.01], "together": [], "real": False,
            "totals": False,
        },
        "small": {
            "rows": 22_000, "rare_share": 6e-4, "scored": 2000, "kinds": list(SPREADS),
            "seeds": [0, 1], "operators": ["smooth", "displace"], "patience": [5, 20, 200],
            "blocks": [16, 256], "slow_blocks": [1], "slow_on": ["cpjump1"],
            "tolerances": [1e-2], "together": [], "real": True, "totals": False,
        },
        "full": {
            "rows": 50_000, "rare_share": 4e-4, "scored": 2000, "kinds": list(SPREADS),
            "seeds": [0, 1], "operators": ["smooth", "displace"],
            "patience": [5, 10, 20, 100, 200], "blocks": [4, 16, 256], "slow_blocks": [1],
            "slow_on": ["mixture, separated", "mixture, overlapping", "cpjump1"],
            "tolerances": [1e-5, 1e-4, 1e-3, 1e-2],
            "together": [[5, 16], [5, 256], [200, 16], [200, 256]], "real": True, "totals": True,
        },
    },
    measure=measure,
    tables=tables,
    picture=picture,
    reading=reading,
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
