"""What a sweep says: a table on the terminal, JSON, and a picture."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from balans_dask.evaluate.choice import RULE, Point
from balans_dask.evaluate.sweep.result import SweepResult
from balans_dask.io.atomic import replace_file

__all__ = ["save_sweep", "sweep_lines"]

COLUMNS = ("operator", "k", "cap", "patience", "max rows", "passes", "strength")


def sweep_lines(result: SweepResult) -> Iterator[Any]:
    """Yield the table of all points and the choice.

    Parameters
    ----------
    result : SweepResult

    Yields
    ------
    line : object
        What to print.
    """
    yield _table(result)
    yield f"signal: {result.signal}"
    yield f"mixing: {result.mixing}"
    yield (
        f"scored {result.n_scored:,} of {result.n_rows:,} rows; {result.n_fits} fits instead of "
        f"{result.n_unshared} for {len(result.points) - 1} settings"
    )
    yield f"rule: {RULE}"
    if result.command is None:
        yield "choice: raw, do not correct"
    else:
        yield f"choice: {result.command}"
    yield f"why: {result.reason}"
    for caution in result.cautions:
        yield f"caution: {caution}"


def save_sweep(result: SweepResult, json_path: str | None, plot_path: str | None) -> None:
    """Write the files that were asked for.

    Parameters
    ----------
    result : SweepResult
    json_path : str or None
        For all that was found.
    plot_path : str or None
        For the picture, as a PNG.
    """
    if json_path is not None:
        text = json.dumps(result.as_dict(), indent=1) + "\n"
        replace_file(Path(json_path), text.encode())
    if plot_path is not None:
        from balans_dask.report.pareto import save_pareto  # noqa: PLC0415  (an optional extra)

        picture = io.BytesIO()
        save_pareto(picture, result)
        replace_file(Path(plot_path), picture.getvalue())


def _table(result: SweepResult) -> Table:
    points, front, chosen = result.points, result.front, result.chosen
    settings = [_setting(point) for point in points]
    # Columns in which nothing is varied say nothing.
    varied = [i for i, _ in enumerate(COLUMNS) if len({s[i] for s in settings[1:]}) > 1 or i == 0]
    title = "signal against mixing; * on the Pareto front"
    # On a narrow terminal a value goes on in the next line: none is cut off.
    table = Table(title=title, title_justify="left", box=None, padding=(0, 0, 0, 1))
    for i in varied:
        table.add_column(COLUMNS[i], justify="right" if i else "left", overflow="fold")
    for name in ("landmarks", "signal", "mixing", "total", ""):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for point, setting in zip(points, settings, strict=True):
        mark = ("*" if point in front else "") + (" chosen" if point is chosen else "")
        scores = (f"{value:.3f}" for value in (point.signal, point.mixing, point.total))
        n_landmarks = f"{point.n_landmarks:,}" if point.parameters else ""
        table.add_row(*(setting[i] for i in varied), n_landmarks, *scores, mark)
    return table


def _setting(point: Point) -> tuple[str, ...]:
    p = point.parameters
    if p is None:
        return ("raw", *[""] * (len(COLUMNS) - 1))
    values = (p.n_neighbors, p.max_scale_ratio, p.patience, p.max_rows, p.n_passes)
    return (p.operator, *map(_plain, values), f"{p.strength:g}")


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
