"""The table of scores, where the libraries that compute them are installed."""

from balans_dask.errors import BalansError
from balans_dask.evaluate.cautions import cautions
from balans_dask.evaluate.definitions import BLOCKS
from balans_dask.evaluate.table import evaluate_stores
from balans_dask.report.page import Section, Table
from balans_dask.report.source import Reported

__all__ = ["score_section"]

TITLE = "Scores"
MAX_ROWS = 5000
QUICK_ROWS = 100_000


def score_section(asked: Reported, wanted: bool | None) -> tuple[Section, list[str]]:
    """Score the store beside its input and null models, or say in one line why not.

    Parameters
    ----------
    asked : Reported
    wanted : bool or None
        ``None``: unless it takes minutes, as all profiles are read twice.

    Returns
    -------
    section : Section
    warnings : list of str
    """
    if wanted is None and asked.store.n_rows > QUICK_ROWS:
        reason = (
            f"Not computed for more than {QUICK_ROWS:,} rows: add --evaluate, which takes minutes."
        )
        return Section(TITLE, [reason]), []
    if wanted is False:
        return Section(TITLE, ["Not asked for (--no-evaluate)."]), []
    if not asked.labels:
        return Section(TITLE, ["Not computed: there is no label column; give --label-key."]), []
    # A model's query for anchors may name no row of new plates.
    has_controls = asked.control is not None and bool(asked.control.any())
    try:
        table = evaluate_stores(
            [asked.store.path],
            asked.batch_keys,
            asked.labels[0].column,
            control=asked.control_query if has_controls else None,
            max_rows=MAX_ROWS,
        )
    except BalansError as error:
        return Section(TITLE, [f"Not computed: {error}"]), []
    text = [
        "Signal and mixing side by side; the null models say what a score is worth. "
        f"{table.summary()}.",
    ]
    tables = []
    for block in BLOCKS:
        (_, *headings), lines = table.cells(block)
        tables.append(Table(block, ("store", *headings), lines))
    definitions = Table("Definitions", (), [*table.footnotes().items()])
    return Section(TITLE, text, (), tables, [definitions]), cautions(table.rows)
