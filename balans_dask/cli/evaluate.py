"""``balans evaluate``: the table on the terminal, and in files."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from balans_dask.cluster.open import silence_dask
from balans_dask.errors import printable
from balans_dask.evaluate.definitions import BLOCKS, NULL, cautions
from balans_dask.evaluate.table import EvaluationTable, evaluate_stores
from balans_dask.io.atomic import replace_file
from balans_dask.io.paths import require_free_files
from balans_dask.io.run_folder import taken_by

__all__ = ["print_table", "run_evaluate", "write_csv", "write_json"]


def run_evaluate(
    console: Console,
    stores: Sequence[str],
    json_path: str | None,
    csv_path: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Score, print and write.

    Parameters
    ----------
    console : Console
    stores : sequence of str
    json_path, csv_path : str or None
        Files to write, too.
    overwrite : bool
        Replace them.
    **options
        As ``evaluate_stores`` takes them.
    """
    silence_dask()
    taken = [path for store in stores for path in taken_by(store)]
    require_free_files([json_path, csv_path], overwrite, taken)
    found = evaluate_stores(stores, **options)
    if json_path is not None:
        write_json(json_path, found)
    if csv_path is not None:
        write_csv(csv_path, found)
    print_table(console, found)


def print_table(console: Console, found: EvaluationTable) -> None:
    """Print the scores of each side, and below them what they mean."""
    console.print(Text(printable(found.summary())))
    for block in BLOCKS:
        headings, lines = found.cells(block)
        table = Table(padding=(0, 0, 0, 1), box=None, header_style="bold")
        for place, heading in enumerate(headings):
            justify: Any = "right" if place else "left"
            table.add_column(heading, justify=justify, overflow="fold", no_wrap=False)
        for line in lines:
            is_null = line[0].startswith(NULL)
            table.add_row(
                *(Text(printable(cell)) for cell in line), style="dim" if is_null else None
            )
        console.print()
        console.print(table)
    console.print()
    for caution in cautions(found.rows):
        console.print(Text(f"caution: {printable(caution)}", style="bold"))
    for heading, text in found.footnotes().items():
        console.print(Text.assemble((heading, "bold"), f": {text}"))


def write_json(path: str, found: EvaluationTable) -> None:
    """Write facts, scores (null where undefined) and definitions."""
    record = {"facts": found.facts, "rows": _plain(found), "definitions": found.definitions}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    replace_file(Path(path), text.encode("utf-8", "backslashreplace"))


def write_csv(path: str, found: EvaluationTable) -> None:
    """Write one line for each row of the table; undefined scores are empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(found.rows[0]))
    writer.writeheader()
    writer.writerows(_plain(found))
    replace_file(Path(path), text.getvalue().encode("utf-8", "backslashreplace"))


def _plain(found: EvaluationTable) -> list[dict[str, Any]]:
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in found.rows
    ]
