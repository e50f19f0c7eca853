"""The default compared with no correction and with what people use today: the table of the pages.

    python -m benchmarks.quality.comparison --data FOLDER --peers PYTHON

Three real sets, each by `balans correct` and what `balans evaluate --peers` does. A minute or two.
Needs `pip install "balans-dask[evaluate]"`; `make peers` makes the environment of other methods.
"""

import argparse
import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from balans_dask.evaluate.table import evaluate_stores
from benchmarks.harness.findings import LIBRARIES, commit, made_by, processor, versions
from benchmarks.harness.real_sets import SETS, RealSet, command
from benchmarks.harness.tables import lines

COMPARED = dict(
    zip(("CPJUMP1 by plate", "BBBC021 by week", "BBBC021 by plate"), SETS, strict=False)
)
METHODS = {
    "raw": "raw",
    "balans": "balans",
    "sphered": "balans, sphered",
    "harmony": "harmonypy",
    "combat": "ComBat",
    "sphering": "sphering",
}
"""Rows of `balans evaluate`, and what the pages call them."""
FIGURES = {
    "cross_batch_map": "mAP across batches",
    "batch": "mixing",
    "total": "total",
}
CONTROLS = "Metadata_pert_type == 'negcon'"
SEED = 0
RESULTS = Path(__file__).parent / "results" / "comparison"
METHOD = Path(__file__).parent / "methods" / "comparison.md"


def compared(one: RealSet, data: Path, peers: str | None) -> dict[str, Any]:
    """Correct a set and score it beside the others; the facts, and the scores by method."""
    with tempfile.TemporaryDirectory() as work:
        given, out = Path(work) / "given.zarr", Path(work) / "balans.zarr"
        command("convert", str(data / f"{one.file}.parquet"), str(given))
        always = ("--batch-key", one.batch, "--seed", str(SEED), "--quiet")
        command("correct", str(given), str(out), *always)
        stores, others = [str(out)], ["harmony", "combat"]
        # Only where there are controls beside what is scored can rows be sphered on them.
        control = CONTROLS if one.treated_only else None
        if control is not None:
            stores.append(str(Path(work) / "sphered.zarr"))
            others.append("sphering")
            command("correct", str(given), stores[-1], *always, "--sphering", control)
        table = evaluate_stores(
            stores, [one.batch], one.label, control=control, seed=SEED, nulls=False,
            peers=others, peers_python=peers,
        )  # fmt: skip
    scores = {
        row.pop("name"): {name: round(value, 6) for name, value in row.items() if value == value}
        for row in table.rows
    }
    return {"facts": table.facts, "scores": scores}


def markdown(record: Mapping[str, Any]) -> str:
    """Write the table, how it was made, and by what."""
    rows = []
    for title, found in record["sets"].items():
        for place, (figure, words) in enumerate(FIGURES.items()):
            cells = [_cell(found["scores"].get(name, {}), figure) for name in METHODS]
            rows.append([title if place == 0 else "", words, *cells])
    return "\n".join(
        [METHOD.read_text(), lines(["", "", *METHODS.values()], rows), made_by(record), ""]
    )


def _cell(scores: Mapping[str, float], figure: str) -> str:
    return f"{scores[figure]:.3f}" if figure in scores else "-"


def main() -> None:
    """Measure, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("BALANS_DATA"))
    parser.add_argument("--peers", default=os.environ.get("BALANS_PEERS"), help="Python of others")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="both files, but for suffixes"
    )
    given = parser.parse_args()
    if given.data is None:
        parser.error("give --data, the folder of real profiles, or set BALANS_DATA")
    # The commands warn of what the table shows.
    warnings.simplefilter("ignore")
    sets = {title: compared(one, given.data, given.peers) for title, one in COMPARED.items()}
    scored = {
        name: text for one in sets.values() for name, text in one["facts"]["versions"].items()
    }
    record = {
        "processor": processor(),
        "versions": versions((*LIBRARIES, "jax")) | scored,
        "date": str(date.today()),
        "commit": commit(),
        "sets": sets,
    }
    given.results.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(record)
    given.results.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
