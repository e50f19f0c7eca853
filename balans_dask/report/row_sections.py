"""What happened to the rows: displacement, coverage, maps, batches against labels."""

from collections.abc import Iterator

import numpy as np
import zarr
from numpy.typing import NDArray

from balans_dask.evaluate.stores import corrected_scores
from balans_dask.io.in_place import ELEMENTS
from balans_dask.report.maps import (
    has_umap,
    map_figure,
    principal_plane,
    read_rows,
    stratified_rows,
    umap_plane,
)
from balans_dask.report.page import Picture, Section, Table, drawn, painted
from balans_dask.report.run_figures import CELLS, contingency_figure, displacement_figure
from balans_dask.report.source import Reported
from balans_dask.workflows.confounding import (
    LABEL_COLUMNS,
    RULE,
    Contingency,
    Factor,
    contingency,
)
from balans_dask.workflows.request import OURS

__all__ = ["confounding", "confounding_section", "displacement_section", "map_section"]

MAP_ROWS = 5000
UMAP_ROWS = 2500
SEED = 0
NAMED = 10


def displacement_section(asked: Reported) -> Section:
    """Show how far rows moved, and which were not covered."""
    batch = asked.batch
    displacement = asked.store.column("balans_displacement").to_numpy()
    uncovered = ~asked.store.column("balans_covered").to_numpy(dtype=bool)
    n_uncovered = np.bincount(batch.codes[uncovered], minlength=batch.n_batches)
    fate = (
        "stayed as they were"
        if asked.record["parameters"].get("uncovered") == "keep"
        else ("followed the nearest landmark")
    )
    text = [
        f"Half of all rows moved by {np.median(displacement):.3g} or more, in units of the "
        "distances of the run.",
        f"{int(uncovered.sum()):,} of {len(uncovered):,} rows ({uncovered.mean():.2%}) were "
        f"covered by no landmark and {fate}.",
    ]
    worst = [i for i in np.argsort(-n_uncovered / batch.sizes, kind="stable") if n_uncovered[i]]
    rows = [
        (batch.names[i], f"{n_uncovered[i]:,}", f"{n_uncovered[i] / batch.sizes[i]:.2%}")
        for i in worst[:NAMED]
    ]
    header = ("batch", "uncovered rows", "of the batch")
    picture = drawn(
        displacement_figure(displacement, batch.codes, batch.names),
        "Quantiles of the displacement of the rows of every batch.",
        "Displacement by batch: 5 % to 95 % (line), quartiles (bar), median (dot).",
    )
    tables = [Table("Batches with most uncovered rows", header, rows)] if rows else []
    return Section("Displacement and uncovered rows", text, [picture], tables)


def confounding(asked: Reported) -> list[tuple[Factor, Contingency]]:
    """Count rows by batch and label, for every column of labels.

    Controls do not count: they are in every batch on purpose, and would hide that the rest is not.
    """
    batch = asked.batch
    counted = np.ones(len(batch.codes), dtype=bool) if asked.control is None else ~asked.control
    return [
        (
            label,
            contingency(batch.codes[counted], batch.names, label.codes[counted], label.names),
        )
        for label in asked.labels
    ]


def confounding_section(tables: list[tuple[Factor, Contingency]]) -> Section:
    """Show which labels lie in which batches, and say by which rule they are confounded.

    Parameters
    ----------
    tables : list
        By ``confounding``.
    """
    title = "Batches against labels"
    if not tables:
        return Section(title, [f"No label column: give --label-key, or name a column as usual "
                               f"({', '.join(LABEL_COLUMNS)})."])  # fmt: skip
    # The label, and what the warnings are about.
    shown = [tables[0], *(pair for pair in tables[1:] if pair[1].is_confounded)]
    rows = [
        (each.column, f"{len(table.labels):,}", f"{int(table.single.sum()):,}",
         f"{int(table.repeated.sum()):,}", f"{table.cramers_v:.2f}",
         "yes" if table.is_confounded else "no")
        for each, table in tables
    ]  # fmt: skip
    header = ("column", "labels", "in one batch only", "of those of 2+ rows", "V", "confounded")
    pictures = [_contingency_picture(*pair) for pair in shown if len(pair[1].n_rows)]
    text = [*(_verdict(*pair) for pair in shown), RULE]
    return Section(title, text, pictures, [Table("Columns of labels", header, rows)])


def _verdict(label: Factor, counts: Contingency) -> str:
    n_missing = int((label.codes < 0).sum())
    missing = f" {n_missing:,} rows have no label and do not count." if n_missing else ""
    verdict = "confounded with batch" if counts.is_confounded else "not confounded with batch"
    return f"{label.column}: {verdict}. {counts.summary}.{missing}"


def _contingency_picture(label: Factor, counts: Contingency) -> Picture:
    many = max(len(counts.batches), len(counts.labels)) > CELLS
    largest = f", the {CELLS} largest of each" if many else ""
    return drawn(
        contingency_figure(counts),
        f"Heat map of {label.column} by batch. {counts.summary}.",
        f"Share of every label's rows by batch ({label.column}{largest}). One dark cell in a row: "
        "the label lies in a single batch.",
    )


def map_section(asked: Reported) -> Section:
    """Show rows before and after, by batch, label and control."""
    rows = stratified_rows(asked.batch.codes, MAP_ROWS, SEED)
    parameters = asked.record["parameters"]
    basis = str(parameters.get("basis", "X"))
    standardise = basis == "X" and "n_components" in parameters
    text = [
        f"{len(rows):,} of {asked.store.n_rows:,} rows, drawn at random from every batch by its "
        f"size (seed {SEED}), on their own principal components before and after"
        + (", features standardised. " if standardise else ". ")
        + "Colours stand for the most frequent groups; the others are grey. Rows far from all "
        "others lie at the edge."
    ]
    if asked.missing_source:
        text.append(f"There are no maps from before: {asked.missing_source}.")
    if not has_umap():
        text.append("UMAP is not installed (umap-learn), so it is not drawn.")
    pictures: list[Picture] = []
    planes = []
    for when, matrix in _matrices(asked, basis):
        scaled = standardise and not matrix.path.startswith("obsm/")
        points, components = principal_plane(read_rows(matrix, rows), scaled)
        planes.append(("PC", when, rows, points))
        if has_umap() and len(rows) > 15:
            some = components[:UMAP_ROWS]
            planes.append(("UMAP", when, rows[:UMAP_ROWS], umap_plane(some, SEED)))
    planes.sort(key=lambda plane: plane[0])
    for axis_name in dict.fromkeys(plane[0] for plane in planes):
        for what, groups in _groupings(asked):
            for name, when, drawn_rows, points in planes:
                if name == axis_name:
                    pictures.append(
                        painted(
                            map_figure(points, groups.of(drawn_rows), name),
                            f"{name} map of {len(points):,} rows {when}, by {what}.",
                            f"{when.capitalize()}, by {what} ({groups.column}).",
                        )
                    )
    return Section("Maps before and after", text, pictures)


def _matrices(asked: Reported, basis: str) -> Iterator[tuple[str, zarr.Array]]:
    """Matrices in which distances were taken, before and after."""
    if asked.source is not None:
        source = asked.source
        yield "before", source.features if basis == "X" else source.embedding(basis)
    store = asked.store
    if f"layers/{OURS}" in np.atleast_1d(asked.record.get(ELEMENTS, [])) and basis == "X":
        yield "after", store.root[f"layers/{OURS}"]
    elif basis != "X" or ELEMENTS in asked.record:
        yield "after", corrected_scores(store, asked.record)
    else:
        yield "after", store.features


def _groupings(asked: Reported) -> Iterator[tuple[str, Factor]]:
    batch = asked.batch
    codes: NDArray[np.integer] = batch.codes.astype(np.int64)
    yield "batch", Factor(" + ".join(asked.batch_keys), codes, list(batch.names))
    if asked.labels:
        yield "label", asked.labels[0]
    if asked.control is not None:
        control = asked.control.astype(np.int64)
        yield "control", Factor(asked.control_query, control, ["other rows", "control"])
