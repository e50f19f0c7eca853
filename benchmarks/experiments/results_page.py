"""The results page of the documentation, made from the files of the experiments."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
SIZES = ("full", "small")
"""The first that was run is shown."""
HEAD = """# Results of the experiments

The paper's experiments, and the questions that it leaves open, each by
[one command](../benchmarks/README.md), with fixed seeds; `make experiments` runs all of them at the
small size and `make experiments-full` at the full one. This page is written from their JSON files:
sentences take their figures from there, also where a goal was missed.
"""


def page(results: Path, names: Sequence[str]) -> str:
    """Write the page of all experiments that have results, and name those that have none.

    Parameters
    ----------
    results : Path
        Folder with a folder of every size.
    names : sequence of str
        Experiments, in order.
    """
    missing = [name for name in names if _size(results, name) is None]
    parts = [HEAD, *(_section(results, name) for name in names if name not in missing)]
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing)
        parts.append(f"## Without results\n\nNot run at these sizes: {listed}.\n")
    return "\n".join(parts)


def _size(results: Path, name: str) -> str | None:
    return next((size for size in SIZES if (results / size / f"{name}.json").exists()), None)


def _section(results: Path, name: str) -> str:
    size = _size(results, name)
    record = json.loads((results / f"{size}" / f"{name}.json").read_text())
    place = f"../benchmarks/experiments/results/{size}/{name}"
    return "\n".join(
        [
            f"## {record['title']}\n",
            f"{record['reading']}\n",
            f"![{record['title']}]({place}.svg)\n",
            f"[Tables and method]({place}.md). {_circumstances(record, f'{size}')}\n",
        ]
    )


def _circumstances(record: dict[str, Any], size: str) -> str:
    machine = record["machine"]
    memory = machine["memory_bytes"] / 2**30
    where = f"{machine['cpus']} x {machine['processor']}, {memory:.0f} GiB"
    return f"Size `{size}`, {record['date']}, {where}, {record['seconds']:.0f} s."
