"""``balans report``: one HTML file about one corrected store."""

from pathlib import Path

from balans_dask.errors import BalansError, public
from balans_dask.evaluate.table import BLOCKS, cautions, evaluate_stores
from balans_dask.io.atomic import replace_file
from balans_dask.io.paths import require_free_file
from balans_dask.io.run_folder import taken_by
from balans_dask.model.fit import UNCOVERED_SHARE, limited_landmarks
from balans_dask.report.page import Section, Table, passes_text, rendered
from balans_dask.report.row_sections import (
    confounding,
    confounding_section,
    displacement_section,
    map_section,
)
from balans_dask.report.run_sections import run_section, sampling_section
from balans_dask.report.source import Reported, reported
from balans_dask.workflows.confounding import Contingency, Factor, NegativeControls
from balans_dask.workflows.sharing import said_of_unshared

__all__ = [
    "score_section",
    "write_report",
]

TITLE = "Scores"
MAX_ROWS = 5000
QUICK_ROWS = 100_000
ALL_ROWS = "A correction over all rows cannot tell them apart and may remove biology"
NAMELESS = "if every batch has negative controls, sphere on them (--sphering)"
TIED = {
    "anchor": "The correction was estimated on anchors alone, which this does not harm: they are "
    "in every batch.",
    "sphering": "Rows were sphered on controls, which brings batches together without their labels "
    "if every batch has some.",
}
"""By the parameter that names controls."""


def score_section(asked: Reported, wanted: bool | None) -> tuple[Section, list[str]]:
    """Score the store beside its input and null models, or say in one line why not.

    Parameters
    ----------
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


def write_report(
    path: str,
    html: str,
    label_key: str | None = None,
    control: str | None = None,
    evaluate: bool | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write a report of a corrected store: a single file that needs no network.

    Parameters
    ----------
    path : str
        Of a corrected store.
    html : str
        Path of the report.
    label_key : str or None
        Column of ``obs``; ``None`` for the first usual name that is there.
    control : str or None
        Query for the control rows.
    evaluate : bool or None
        Compute scores, where the libraries are installed; ``None``: unless the store is large.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    warnings : list of str
        What the report warns of.

    Raises
    ------
    InvalidInputError
        If the store is not the output of a correction, or lacks a column.
    StoreExistsError
        If there is something at the path of the report that may not be replaced.
    """
    require_free_file(html, overwrite, taken_by(path))
    asked = reported(path, label_key, control)
    tables = confounding(asked)
    scores, cautions = score_section(asked, evaluate)
    warnings = _warnings(asked, tables) + cautions
    sections = [
        run_section(asked),
        confounding_section(tables),
        map_section(asked),
        scores,
        displacement_section(asked),
        sampling_section(asked),
    ]
    title = f"Batch correction of {Path(public(path)).resolve().name}"
    page = rendered(title, _facts(asked), warnings, sections)
    require_free_file(html, overwrite, taken_by(path))
    # Lone surrogates, which a label may hold, are no UTF-8.
    replace_file(Path(html), page.encode("utf-8", "replace"))
    return warnings


def _facts(asked: Reported) -> list[tuple[str, str]]:
    record, parameters = asked.record, asked.record["parameters"]
    n_rows, n_features = asked.store.features.shape
    n_uncovered = int(record["n_uncovered"])
    label = asked.labels[0] if asked.labels else None
    operator = str(parameters.get("operator"))
    return [
        ("rows", f"{n_rows:,}"),
        ("features", f"{n_features:,}"),
        ("batches", f"{asked.batch.n_batches:,}"),
        ("labels", "none" if label is None else f"{len(label.names):,}"),
        ("operator", passes_text(operator, int(parameters.get("n_passes", 1)))),
        ("landmarks", f"{int(record['n_sampled']):,}"),
        ("stopped by", str(record["stop_reason"])),
        ("rows uncovered", f"{n_uncovered:,}"),
    ]


def _controls(asked: Reported) -> NegativeControls | None:
    if asked.control is None or not asked.control.any():
        return None
    return NegativeControls(asked.control_query, asked.control)


def _warnings(asked: Reported, tables: list[tuple[Factor, Contingency]]) -> list[str]:
    record = asked.record
    n_rows, n_uncovered = asked.store.n_rows, int(record["n_uncovered"])
    n_capped, n_sampled = int(record.get("n_capped", 0)), int(record["n_sampled"])
    tied = [said for name, said in TIED.items() if name in record["parameters"]]
    controls = None if tied else _controls(asked)
    how = NAMELESS if controls is None else controls.advice(asked.batch)
    advice = tied[0] if tied else f"{ALL_ROWS}: {how}."
    found = [
        f"Batch and {label.column} are confounded: {table.summary}. {advice}"
        for label, table in tables
        if table.is_confounded
    ]
    # Uncovered in some pass: a fit warns of a pass that leaves more than the share.
    n_passes = 1 + len(record.get("earlier_passes", {}))
    if n_uncovered > UNCOVERED_SHARE * n_passes * n_rows:
        found.append(f"{n_uncovered:,} of {n_rows:,} rows are covered by no landmark.")
    if limited := limited_landmarks(n_capped, n_sampled):
        found.append(f"{limited}.")
    told = "anchor" in record["parameters"] or "model" in record
    told |= any(table.is_confounded for _, table in tables)
    unshared = "" if told else said_of_unshared(record, asked.batch, lambda: controls)
    found += [f"{unshared}."] if unshared else []
    clamped = list(record.get("clamped_batches", []))
    if clamped:
        found.append(f"{len(clamped):,} batches have too few rows for their nearest neighbours.")
    return found
