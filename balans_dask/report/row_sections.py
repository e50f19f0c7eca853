"""What happened to the rows: displacement, coverage, maps, batches against labels."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from balans_dask.parameters import KEEP, NEAREST, OFFSET
from balans_dask.report.maps import frame_of, map_figure, principal_plane
from balans_dask.report.page import Picture, Section, Table, drawn, painted
from balans_dask.report.run_figures import CELLS, contingency_figure, displacement_figure
from balans_dask.report.sample import MET, Sample
from balans_dask.report.source import Reported
from balans_dask.workflows.confounding import (
    LABEL_COLUMNS,
    RULE,
    Contingency,
    Factor,
    contingency,
)

__all__ = [
    "confounding",
    "confounding_section",
    "displacement_section",
    "map_section",
    "uncovered_tables",
]

MAP_ROWS = 5000
SEED = 0
NAMED = 10
FATES = {
    OFFSET: "moved with their batch",
    NEAREST: "followed the nearest landmark",
    KEEP: "stayed as they were",
}
"""Of uncovered rows."""


def displacement_section(asked: Reported, sample: Sample) -> Section:
    """Show how far rows moved, in units of the distance of any two, and which were not covered."""
    batch, typical = asked.batch, sample.typical_distance
    unit = typical if typical > 0 else 1.0
    displacement = asked.store.column("balans_displacement").to_numpy() / unit
    uncovered = ~asked.store.column("balans_covered").to_numpy(dtype=bool)
    fate = FATES[asked.parameters.uncovered]
    text = [f"Half of all rows moved by {np.median(displacement):.2f} typical distances or more."]
    if uncovered.any():
        text.append(
            f"{int(uncovered.sum()):,} of {len(uncovered):,} rows ({uncovered.mean():.2%}) were "
            f"covered by no landmark and {fate}."
        )
    largest = f" of the {MET} largest batches" if batch.n_batches > MET else ""
    figure = displacement_figure(
        displacement, batch.codes, batch.names, "displacement / typical distance", MET
    )
    picture = drawn(
        figure,
        "Quantiles of the displacement of the rows of every batch.",
        f"Displacement{largest}: 5 % to 95 % of rows (line), quartiles (bar), median (dot). The "
        f"typical distance, {typical:.3g}, is the median of that of two rows chosen at random"
        f"{'' if sample.before is None else ' before'}.",
    )
    return Section("How far rows moved", text, [picture], span=1)


def uncovered_tables(asked: Reported) -> list[Table]:
    """List the batches with most uncovered rows, if there are any."""
    batch = asked.batch
    uncovered = ~asked.store.column("balans_covered").to_numpy(dtype=bool)
    n_uncovered = np.bincount(batch.codes[uncovered], minlength=batch.n_batches)
    worst = [i for i in np.argsort(-n_uncovered / batch.sizes, kind="stable") if n_uncovered[i]]
    rows = [
        (batch.names[i], f"{n_uncovered[i]:,}", f"{n_uncovered[i] / batch.sizes[i]:.2%}")
        for i in worst[:NAMED]
    ]
    header = ("batch", "uncovered rows", "of the batch")
    return [Table("Batches with most uncovered rows", header, rows)] if rows else []


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
    shown = [pair for pair in tables if pair[1].is_confounded]
    if not shown:
        return Section(title, [_verdict(*tables[0])])
    pictures = [_contingency_picture(*pair) for pair in shown if len(pair[1].n_rows)]
    text = [_verdict(*pair) for pair in shown]
    rule = Table("When they count as confounded", (), [("rule", RULE)])
    return Section(title, text, pictures, folded=[rule])


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


def map_section(asked: Reported, sample: Sample) -> Section:
    """Show rows before and after in one plane, by batch and by label."""
    some = np.random.default_rng(SEED).permutation(len(sample.rows))[:MAP_ROWS]
    rows = sample.rows[some]
    sides = [("before", sample.before), ("after", sample.after)]
    known = [(when, scores[some]) for when, scores in sides if scores is not None]
    planes, axes = principal_plane(*(scores for _, scores in known))
    basis = "those before" if sample.before is not None else "those after"
    text = [
        f"{len(rows):,} of {asked.store.n_rows:,} rows, drawn at random by batch and label, all on "
        f"the first two principal components of {basis}, which explain the shares of their "
        "variance that the axes name. The most frequent groups have a colour, the others are grey; "
        "rows far from all others lie at the edge."
    ]
    if asked.is_sphered:
        text.append("Sphering gives rows another unit: compare which are near, not how far apart.")
    if asked.missing_source:
        text.append(f"There are no maps from before: {asked.missing_source}.")
    frame = frame_of(planes)
    pictures = [
        painted(
            map_figure(points, groups.of(rows), axes, frame),
            f"Map of {len(rows):,} rows {when}, by {what}.",
            f"{when.capitalize()}, by {what} ({groups.column}).",
        )
        for what, groups in _groupings(asked)
        for (when, _), points in zip(known, planes, strict=True)
    ]
    return Section("Maps before and after", text, pictures, across=4)


def _groupings(asked: Reported) -> Iterator[tuple[str, Factor]]:
    batch = asked.batch
    codes: NDArray[np.integer] = batch.codes.astype(np.int64)
    yield "batch", Factor(" + ".join(asked.batch_keys), codes, list(batch.names))
    if asked.labels:
        yield "label", asked.labels[0]
