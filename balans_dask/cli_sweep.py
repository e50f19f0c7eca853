"""``balans sweep``."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from balans_dask.cli_engine import open_engine
from balans_dask.cli_grid import grid_of
from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.sweep.result import save_sweep, sweep_lines
from balans_dask.evaluate.sweep.store import run_sweep, sweep_run
from balans_dask.events import Events
from balans_dask.io.paths import require_free_files
from balans_dask.progress import Progress

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
    _require_outputs(source, json, plot, scratch, overwrite)
    grid, base = grid_of(options)
    keys, basis, anchor = options["batch_keys"], options["basis"], options["anchor"]
    asked = sweep_run(source, keys, label_key, grid, base, basis, anchor, eval_rows, scores)
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    watched = Progress(console, verbose)
    with open_engine(options["cluster"]) as (engine, limit_bytes), watched as progress:
        result = run_sweep(engine, asked, limit_bytes, scratch, Events(progress))
    save_sweep(result, json, plot)
    for line in sweep_lines(result):
        out.print(line, soft_wrap=isinstance(line, str), markup=False, highlight=False)


def _require_outputs(
    source: str, json: str | None, plot: str | None, scratch: str | None, overwrite: bool
) -> None:
    """Refuse, before any work, places that could not be written to after it.

    Raises
    ------
    InvalidInputError
        If matplotlib is missing, or a folder.
    StoreExistsError
        If a file is there that is not to be replaced.
    """
    if plot is not None and find_spec("matplotlib") is None:
        raise InvalidInputError('--plot needs matplotlib: pip install "balans-dask[plot]"')
    if scratch is not None and not Path(scratch).is_dir():
        raise InvalidInputError(f"{scratch} is no folder: make it, or leave out --scratch")
    require_free_files([json, plot], overwrite, (source,))
