"""The table of scores, where the libraries that compute them are installed."""

from importlib import import_module
from typing import Any

from balans_dask.errors import BalansError
from balans_dask.report.asked import Reported
from balans_dask.report.page import Section, Table

__all__ = ["score_section"]

TITLE = "Scores"
MAX_ROWS = 5000
HOW = "install balans-dask[evaluate]"


def score_section(asked: Reported, wanted: bool) -> Section:
    """Score the store beside its input, or say in one line how to.

    Parameters
    ----------
    asked : Reported
    wanted : bool
    """
    if not wanted:
        return Section(TITLE, ["Not asked for (--no-evaluate)."])
    if not asked.labels:
        return Section(TITLE, ["Not computed: there is no label column; give --label-key."])
    try:
        for library in ("scib_metrics", "copairs"):
            import_module(library)
        evaluate = import_module("balans_dask.evaluate.table").evaluate_stores
    except ImportError as error:
        return Section(TITLE, [f"Not computed ({error}): {HOW}, then make the report again."])
    try:
        table = evaluate(
            [asked.store.path],
            asked.batch_keys,
            asked.labels[0].column,
            control=asked.control_query or None,
            max_rows=MAX_ROWS,
        )
    except BalansError as error:
        return Section(TITLE, [f"Not computed: {error}"])
    header = list(dict.fromkeys(name for row in table.rows for name in row))
    rows = [[_cell(row.get(name)) for name in header] for row in table.rows]
    facts = [(str(name), _cell(value)) for name, value in table.facts.items()]
    definitions = [(str(name), str(text)) for name, text in table.definitions.items()]
    return Section(
        TITLE,
        [f"Signal and mixing side by side, on at most {MAX_ROWS:,} rows. A null model says what a "
         "score is worth without any signal."],
        tables=[Table("Scores", header, rows)],
        folded=[Table("Definitions", (), definitions), Table("How it was scored", (), facts)],
    )  # fmt: skip


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "\N{EN DASH}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
