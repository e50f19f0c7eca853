"""``balans sweep``."""

from typing import Any

from rich.console import Console

from balans_dask.cli_engine import open_engine
from balans_dask.cli_grid import grid_of, require_outputs
from balans_dask.events import Events
from balans_dask.progress import Progress
from balans_dask.sweep.store import run_sweep, sweep_run
from balans_dask.sweep.table import save_sweep, sweep_lines

__all__ = ["run_sweep_command"]


def run_sweep_command(
    out: Console,
    source: str,
    label_key: str,
    eval_rows: int,
    scores: str,
    scratch: str | None,
    json: str | None,
    plot: str | None,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Score a grid of settings, and say which to take."""
    require_outputs(json, plot, scratch, overwrite)
    grid, base = grid_of(options)
    keys, basis, anchor = options["batch_keys"], options["basis"], options["anchor"]
    asked = sweep_run(source, keys, label_key, grid, base, basis, anchor, eval_rows, scores)
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    watched = Progress(console, verbose)
    with open_engine(options["cluster"]) as (engine, limit_bytes), watched as progress:
        result = run_sweep(engine, asked, limit_bytes, scratch, Events(progress))
    for line in sweep_lines(result):
        out.print(line, soft_wrap=isinstance(line, str), markup=False, highlight=False)
    save_sweep(result, json, plot)
