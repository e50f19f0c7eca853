"""The results page of the documentation: readings, beside the pictures and tables that were read.

python -m benchmarks.experiments.results_page
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.experiment import READINGS, REPOSITORY, RESULTS, Reading

PAGE = REPOSITORY / "docs" / "results.md"
NAMES = (
    "scaling",
    "coverage_validation",
    "scale_ablation",
    "tiny_clusters",
    "severity",
    "dimension",
    "pseudo_inverse",
    "stopping_rules",
    "noise_model",
    "sampler_blocks",
    "baselines",
)
"""All experiments, in the order of the page."""
CLOSED = ("pseudo_inverse",)
"""Of these only readings and results are kept."""
SIZES = ("full", "small")
"""The first that was run is shown."""


def page(results: Path, names: Sequence[str] = NAMES) -> str:
    """Put the page together, of results in a folder of every size."""
    readings = {name: Reading.of(name) for name in names}
    short = [f"- [{one.title}](#{anchor(one.title)}): {one.answer}" for one in readings.values()]
    parts = [(READINGS / "opening.md").read_text(), "## In short\n", "\n".join(short) + "\n"]
    for name, reading in readings.items():
        parts += [f"## {reading.title}\n", f"**{reading.answer}**\n", f"{reading.explained}\n"]
        parts += _shown(results, name, reading)
    return "\n".join(parts)


def _shown(results: Path, name: str, reading: Reading) -> list[str]:
    """Picture, tables and circumstances; a reading of other tables is told."""
    size = next((size for size in SIZES if _complete(results / size / f"{name}.json")), None)
    if size is None:
        return []
    record = json.loads((results / size / f"{name}.json").read_text())
    if reading.tables != (there := f"{size}, {record['date']}"):
        print(f"{name}: read of {reading.tables}, now {there}: read again", file=sys.stderr)
    machine, place = record["machine"], f"../benchmarks/experiments/results/{size}/{name}"
    where = f"{machine['cpus']} x {machine['processor']}, {machine['memory_bytes'] / 2**30:.0f} GiB"
    return [
        f"![{reading.title}]({place}.png)\n",
        f"[Tables and method]({place}.md). Size `{size}`, {record['date']}, {where}, "
        f"{record['seconds']:.0f} s.\n",
    ]


def _complete(path: Path) -> bool:
    """Whether an experiment came to its end: a file of one that broke off has no title."""
    return path.exists() and "title" in json.loads(path.read_text())


def anchor(title: str) -> str:
    """Name the place of a heading as GitHub and MyST do."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(RESULTS))


if __name__ == "__main__":
    main()
