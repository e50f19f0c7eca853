"""What patience, block size, tolerance and the automatic rule cost and bring."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from balans_dask import Balans
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Ints, Texts
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.mixtures import N_RARE, SPREADS
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.real_sets import SETS, RealSet
from benchmarks.harness.scoring import main_score, scores
from benchmarks.harness.tables import lines

REAL = SETS[0]
DEFAULT: dict[str, Any] = {"patience": 50, "block_rows": 64, "coverage_tol": 0.0,
                           "stopping": "patience"}  # fmt: skip
KINDS = {"patience": "patience", "block_rows": "rows a block", "coverage_tol": "tolerance",
         "stopping": "rule"}  # fmt: skip
N_SCORED = 3000
N_SHOWN = 30
HALF = 0.5


def _beside(findings: Findings, run: dict[str, Any]) -> dict[str, Any]:
    same = {name: run[name] for name in ("data", "operator", "seed")}
    return findings.of(**same, **DEFAULT)[0]


def ratio(findings: Findings, runs: list[dict[str, Any]], key: str) -> list[float]:
    """One figure over that of the default with the same seed."""
    return [run[key] / _beside(findings, run)[key] for run in runs]


def paired(findings: Findings, runs: list[dict[str, Any]], key: str) -> list[float]:
    """One figure minus that of the default with the same seed."""
    return [run[key] - _beside(findings, run)[key] for run in runs]


def chosen_of(findings: Findings, data: str, operator: str) -> list[dict[str, Any]]:
    """List the settings that were run, in order."""
    runs = findings.of(data=data, operator=operator)
    every = [{name: run[name] for name in DEFAULT} for run in runs]
    chosen = [each for place, each in enumerate(every) if each not in every[:place]]
    return sorted(chosen, key=_place)


def _place(chosen: dict[str, Any]) -> list[Any]:
    """Order of a setting: the default, then one parameter after the other."""
    changed = [name for name in DEFAULT if chosen[name] != DEFAULT[name]]
    places = [list(DEFAULT).index(name) for name in changed]
    return [len(changed), places, [chosen[name] for name in changed]]


@dataclass(frozen=True)
class Profiles:
    """One data set; ``rare`` numbers the rare clusters of its rows, -1 elsewhere."""

    name: str
    values: Floats
    batch: Texts
    label: Texts
    rare: Ints
    scored: Ints
    options: dict[str, Any]


def read_profiles(real: RealSet, folder: Path) -> Profiles:
    """Read a real set."""
    table = pd.read_parquet(folder / f"{real.file}.parquet")
    rows = real.annotations(folder)
    return Profiles(
        name=real.name,
        values=table[[name for name in table if name not in rows]].to_numpy(),
        batch=rows[real.batch].to_numpy(dtype=str),
        label=rows[real.label].to_numpy(dtype=str),
        rare=np.full(len(rows), -1),
        scored=np.flatnonzero(real.scored(rows)),
        options={},
    )


def generated_profiles(name: str, mixture: Mixture, n_scored: int = N_SCORED) -> Profiles:
    """Generate a mixture, of which rows of the common clusters are scored."""
    rows = mixture.annotations()
    cluster = rows["Metadata_treatment"].cat.codes.to_numpy().astype(np.int64)
    rare = np.where(cluster < mixture.n_clusters, -1, cluster - mixture.n_clusters)
    # A few rows of rare clusters would be labels of their own: coverage tells of them.
    common = np.flatnonzero(rare < 0)
    scored = np.random.default_rng(0).choice(common, min(n_scored, len(common)), replace=False)
    return Profiles(
        name=name,
        values=np.concatenate([values for _, values in mixture.slabs(65_536)]),
        batch=rows["Metadata_batch"].to_numpy(dtype=str),
        label=rows["Metadata_treatment"].to_numpy(dtype=str),
        rare=rare,
        scored=np.sort(scored),
        options={"n_components": None},
    )


def reach(model: Balans, data: Profiles) -> dict[str, Any]:
    """Say where the draws stopped, and what they cover."""
    covered = model.coverage_ > 0
    shares = [covered[data.rare == number].mean() for number in range(data.rare.max() + 1)]
    return {
        "stopped_by": model.stop_reason_,
        "n_rows": len(covered),
        "n_sampled": len(model.sampled_rows_),
        "n_uncovered": int(np.count_nonzero(~covered)),
        "rare_covered": [round(float(share), 3) for share in shares],
    }


def embeddings(model: Balans, corrected: Floats, data: Profiles) -> tuple[Floats, Floats]:
    """Embed the scored rows, before and after; of a mixture that is what was corrected."""
    before, after = (data.values[data.scored], corrected[data.scored])
    if data.options.get("n_components", 0) is not None:
        project = model.model_.preprocessor.projection.scores
        before, after = project(before), project(after)
    return before.astype(np.float64), after.astype(np.float64)


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


def tables(findings: Findings) -> list[str]:
    """Write a table of every data set and operator."""
    key, name = main_score(findings)
    head = ["setting", "rows drawn", "of default", "time of default", "stopped by", "uncovered",
            "rare covered", "same label", "mixing", f"{name}, minus default"]  # fmt: skip
    parts = []
    for data, operator in _sections(findings):
        rows = [
            _row(findings, data, operator, chosen, key)
            for chosen in chosen_of(findings, data, operator)
        ]
        parts += [f"## {data}, `{operator}`: median (range) over seeds\n", lines(head, rows)]
    return parts


def _row(
    findings: Findings, data: str, operator: str, chosen: dict[str, Any], key: str
) -> list[str]:
    runs = findings.of(data=data, operator=operator, **chosen)
    rare = [run["rare_covered"] for run in runs]
    n_covered = sum(share >= HALF for one in rare for share in one)
    n_rare = sum(map(len, rare))
    difference = paired(findings, runs, key)
    return [
        label_of(chosen),
        spread([run["n_sampled"] for run in runs], 0),
        spread(ratio(findings, runs, "n_sampled"), 2),
        spread(ratio(findings, runs, "seconds"), 2),
        "/".join(dict.fromkeys(run["stopped_by"] for run in runs)),
        f"{median([run['n_uncovered'] / run['n_rows'] for run in runs]):.2%}",
        f"{n_covered} of {n_rare}" if n_rare else "-",
        spread([run["same_label"] for run in runs], 3),
        spread([run["batch_mixing"] for run in runs], 3),
        f"{median(difference):+.4f} ({min(difference):+.4f} to {max(difference):+.4f})",
    ]


def label_of(chosen: dict[str, Any]) -> str:
    """Name a setting by what is not default."""
    other = {name: value for name, value in chosen.items() if value != DEFAULT[name]}
    return ", ".join(f"{KINDS[name]} {value}" for name, value in other.items()) or "default"


def _sections(findings: Findings) -> list[tuple[str, str]]:
    runs = findings.record["runs"]
    return list(dict.fromkeys((run["data"], run["operator"]) for run in runs))


def picture(findings: Findings) -> Figure:
    """Draw score and time over the rows drawn, a column a data set."""
    names = findings.each("data")
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


EXPERIMENT = Experiment(
    name="stopping_rules",
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
    measure=measure, tables=tables, picture=picture,
)  # fmt: skip
