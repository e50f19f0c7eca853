"""``balans report``: one HTML file about one corrected store."""

from pathlib import Path

from balans_dask.errors import public, setting
from balans_dask.io.atomic import replace_file
from balans_dask.io.paths import require_free_file
from balans_dask.io.run_folder import taken_by
from balans_dask.model.fit import UNCOVERED_SHARE, limited_landmarks, to_cover_more
from balans_dask.report.page import passes_text, rendered
from balans_dask.report.row_sections import (
    confounding,
    confounding_section,
    displacement_section,
    map_section,
)
from balans_dask.report.run_sections import command_section, run_section, sampling_section
from balans_dask.report.sample import sampled
from balans_dask.report.source import Reported, reported
from balans_dask.report.verdict_sections import (
    label_section,
    meeting_section,
    remedy_of,
    score_section,
    table_section,
    verdict_card,
)
from balans_dask.workflows.confounding import Contingency, Factor, NegativeControls
from balans_dask.workflows.sharing import said_of_unshared

__all__ = ["write_report"]

ALL_ROWS = "A correction over all rows cannot tell them apart and may remove biology"
NAMELESS = "if every batch has negative controls, sphere on them (--sphering)"
TIED = {
    "anchor": "The correction was estimated on anchors alone, which this does not harm: they are "
    "in every batch.",
    "sphering": "Rows were sphered on controls, which brings batches together without their labels "
    "if every batch has some.",
}
"""By the parameter that names controls."""


def write_report(
    path: str,
    html: str,
    label_key: str | None = None,
    control: str | None = None,
    evaluate: bool = False,
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
    evaluate : bool
        Add the scores of scib-metrics and copairs, which take minutes.
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
    sample = sampled(asked)
    tables = confounding(asked)
    warnings = remedy_of(sample.change) + _warnings(asked, tables)
    scores = [score_section(asked, sample)]
    if evaluate:
        section, found = table_section(asked)
        scores.append(section)
        warnings += found
    sections = [
        *scores,
        map_section(asked, sample),
        confounding_section(tables),
        displacement_section(asked, sample),
        *meeting_section(asked, sample),
        *label_section(asked, sample),
        command_section(asked),
    ]
    details = [run_section(asked), sampling_section(asked)]
    title = f"Batch correction of {Path(public(path)).resolve().name}"
    card = verdict_card(asked, sample)
    page = rendered(title, _facts(asked), card, warnings, sections, details)
    require_free_file(html, overwrite, taken_by(path))
    # Lone surrogates, which a label may hold, are no UTF-8.
    replace_file(Path(html), page.encode("utf-8", "replace"))
    return warnings


def _facts(asked: Reported) -> str:
    parameters = asked.parameters
    n_rows, n_features = asked.store.features.shape
    label = asked.labels[0] if asked.labels else None
    labels = "no labels" if label is None else f"{len(label.names):,} labels of {label.column}"
    return (
        f"{n_rows:,} rows, {n_features:,} features; {asked.batch.n_batches:,} batches of "
        f"{' + '.join(asked.batch_keys)}; {labels}. "
        f"{passes_text(parameters.operator, parameters.n_passes).capitalize()}; "
        f"{int(asked.record['n_sampled']):,} landmarks."
    )


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
    found = []
    if confounded := [pair for pair in tables if pair[1].is_confounded]:
        (label, table), *others = confounded
        so = "; ".join(f"{other.column}, {counts.summary}" for other, counts in others)
        also = f" So are batch and {so}." if others else ""
        found.append(f"Batch and {label.column} are confounded: {table.summary}.{also} {advice}")
    # Uncovered in some pass: a fit warns of a pass that leaves more than the share.
    n_passes = 1 + len(record.get("earlier_passes", {}))
    if n_uncovered > UNCOVERED_SHARE * n_passes * n_rows:
        remedy = to_cover_more(str(record["stop_reason"]), asked.parameters)
        found.append(f"{n_uncovered:,} of {n_rows:,} rows are covered by no landmark: {remedy}.")
    if limited := limited_landmarks(n_capped, n_sampled):
        found.append(f"{limited}.")
    told = "anchor" in record["parameters"] or "model" in record
    told |= bool(confounded)
    unshared = "" if told else said_of_unshared(record, asked.batch, lambda: controls)
    found += [f"{unshared}."] if unshared else []
    clamped = list(record.get("clamped_batches", []))
    if clamped:
        found.append(
            f"{len(clamped):,} batches have too few rows for their nearest neighbours: lower "
            f"{setting('n_neighbors')}, or join them with others."
        )
    return found
