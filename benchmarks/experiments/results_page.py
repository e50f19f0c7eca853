"""The results page of the documentation, made from the files of the experiments."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiments.wording import bullets

__all__ = ["PAGE", "anchor", "page"]

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
    sizes = {name: _size(results, name) for name in names}
    records = {
        name: json.loads((results / size / f"{name}.json").read_text())
        for name, size in sizes.items()
        if size
    }
    parts = [HEAD, _in_short(list(records.values()))]
    parts += [_section(record, f"{sizes[name]}", name) for name, record in records.items()]
    missing = [name for name in names if name not in records]
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing)
        parts.append(f"## Without results\n\nNot run at these sizes: {listed}.\n")
    return "\n".join(parts)


def _size(results: Path, name: str) -> str | None:
    return next((size for size in SIZES if _is_published(results / size / f"{name}.json")), None)


def _is_published(path: Path) -> bool:
    """Whether an experiment came to its end: a file of one that broke off has runs alone."""
    return path.exists() and "reading" in json.loads(path.read_text())


def _in_short(records: Sequence[dict[str, Any]]) -> str:
    answers = []
    for record in records:
        title = record["title"]
        colon = "" if title.endswith("?") else ":"
        answers.append(f"[{title}](#{anchor(title)}){colon} {record['reading'][0]}")
    return f"## In short\n\n{bullets(answers)}\n"


def anchor(title: str) -> str:
    """Name the place of a heading as GitHub and MyST do."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _section(record: dict[str, Any], size: str, name: str) -> str:
    place = f"../benchmarks/experiments/results/{size}/{name}"
    answer, *others = record["reading"]
    parts = [
        f"## {record['title']}",
        f"**{answer}**",
        *others,
        f"![{record['title']}]({place}.svg)",
        f"[Tables and method]({place}.md). {_circumstances(record, size)}",
    ]
    return "\n".join(f"{part}\n" for part in parts)


def _circumstances(record: dict[str, Any], size: str) -> str:
    machine = record["machine"]
    memory = machine["memory_bytes"] / 2**30
    where = f"{machine['cpus']} x {machine['processor']}, {memory:.0f} GiB"
    return f"Size `{size}`, {record['date']}, {where}, {record['seconds']:.0f} s."
