"""A sweep over the settings of a correction of a store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.rows import labelled_rows
from balans_dask.evaluate.scib import library
from balans_dask.evaluate.scoring import SCORES
from balans_dask.evaluate.sweep import EVAL_ROWS, Grid
from balans_dask.evaluate.sweep.embeddings import Embeddings
from balans_dask.evaluate.sweep.result import Point, SweepResult
from balans_dask.io.store import open_store
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.model.inputs import check_input
from balans_dask.model.plan import plan_run
from balans_dask.parameters import ALIGN, ALL, DISPLACE, Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.threads import embedded_engine
from balans_dask.passes.workers import Workers
from balans_dask.workflows.request import CorrectionRequest, correction_request

__all__ = ["SweepRun", "run_sweep", "sweep_run", "sweep_store"]


@dataclass(frozen=True)
class SweepRun:
    """A sweep asked of a store, checked as far as it can be without reading profiles.

    Attributes
    ----------
    run : CorrectionRequest
        Of the settings that are not varied.
    settings : list of Parameters
    label : ndarray of shape (n_rows,)
    rows : ndarray of shape (n,), int64
        Rows that are scored, in increasing order.
    scores : {"neighbours", "scib"}
    """

    run: CorrectionRequest
    settings: list[Parameters]
    label: NDArray[np.object_]
    rows: NDArray[np.int64]
    scores: str


def sweep_run(
    path: str,
    batch_keys: Sequence[str],
    label_key: str,
    grid: Grid | None = None,
    base: Parameters | None = None,
    basis: str | None = None,
    anchor: str | None = None,
    eval_rows: int = EVAL_ROWS,
    scores: str = "neighbours",
) -> SweepRun:
    """Check a sweep; reads no profile. The parameters are those of ``sweep_store``.

    Raises
    ------
    InvalidInputError
        If a column, label or value cannot be used, or a library is missing.
    """
    grid, base = grid or Grid(), base or Parameters()
    if scores not in SCORES:
        raise InvalidInputError(f"scores must be one of {', '.join(SCORES)}, got {scores!r}")
    if base.sphering is not None:
        raise InvalidInputError(
            f"a sweep scores corrections without sphering, got {base.sphering!r}: leave it out, "
            "and add it to the chosen command"
        )
    if scores == "scib":
        library("scib_metrics")
    settings = grid.settings(base)
    store = open_store(path)
    # Anchors do not suit all operators: the check must see one of the others, if there is one.
    strictest = min(settings, key=lambda setting: setting.operator in (ALIGN, DISPLACE))
    run = correction_request(store, batch_keys, strictest, basis, anchor)
    label = store.column(label_key).to_numpy(dtype=object, na_value=None)
    codes = run.inputs.labels.codes
    rows = labelled_rows(codes, pd.factorize(label)[0], eval_rows, base.seed)
    if not len(rows):
        raise InvalidInputError(
            f"obs column {label_key!r} of {path} is missing in all {store.n_rows} rows: choose a "
            "column with labels"
        )
    n_labels = pd.Series(label[rows]).nunique()
    if n_labels < 2:
        raise InvalidInputError(
            f"obs column {label_key!r} of {path} has {n_labels} label(s) in {len(rows)} rows that "
            "would be scored: choose a column that tells treatments or mechanisms apart"
        )
    return SweepRun(run, settings, label, rows, scores)


def sweep_store(
    path: str,
    batch_keys: Sequence[str],
    label_key: str,
    grid: Grid | None = None,
    base: Parameters | None = None,
    basis: str | None = None,
    anchor: str | None = None,
    eval_rows: int = EVAL_ROWS,
    scores: str = "neighbours",
    engine: Engine | None = None,
) -> SweepResult:
    """Score many settings of a correction of a store; writes nothing that stays.

    Parameters
    ----------
    path : str
    batch_keys : sequence of str
        Columns of ``obs``; several make joint batches.
    label_key : str
        Column of ``obs`` with what should be found again: treatments or mechanisms.
    grid : Grid or None
        What is varied.
    base : Parameters or None
        What is the same in all settings.
    basis, anchor : str or None
        As ``balans correct`` takes them.
    eval_rows : int
        Rows that are scored; of more, a sample stratified by batch and label.
    scores : {"neighbours", "scib"}
        Pair of scores, by ``evaluate.scoring.SCORES``; ``scib`` needs scib-metrics.
    engine : Engine or None
        ``None`` for one in this process.

    Returns
    -------
    result : SweepResult

    Raises
    ------
    InvalidInputError
        If a column, label, value or profile cannot be used.
    """
    asked = sweep_run(path, batch_keys, label_key, grid, base, basis, anchor, eval_rows, scores)
    if engine is not None:
        return run_sweep(engine, asked)
    with embedded_engine() as own:
        return run_sweep(own, asked)


def run_sweep(
    engine: Engine,
    asked: SweepRun,
    limit_bytes: int | None = None,
    scratch: str | None = None,
) -> SweepResult:
    """Make and score all settings.

    Parameters
    ----------
    engine : Engine
    asked : SweepRun
    limit_bytes : int or None
        Memory that a worker may use.
    scratch : str or None
        Folder, seen by all workers, for profiles between two passes; ``None``: the system's.
    """
    inputs, rows, scores = asked.run.inputs, asked.rows, SCORES[asked.scores]
    plan = _plan(asked, engine.workers(limit_bytes))
    engine.task_bytes = plan.task_bytes
    with single_threaded_blas():
        examined = check_input(engine, inputs, asked.settings[0], plan.tiling)
        inputs = examined.held(inputs)
        embeddings = Embeddings(engine, inputs, plan, examined, rows, scratch)
        batch, label = inputs.labels.codes[rows], asked.label[rows].astype(str)
        points, before = {}, None
        for found in embeddings.of(asked.settings):
            before = found.values if before is None else before
            signal, mixing = scores.measure(found.values, before, batch, label)
            points[found.parameters] = Point(
                found.parameters,
                signal,
                mixing,
                found.n_landmarks,
                found.n_uncovered,
                found.n_capped,
            )
    return SweepResult(
        store=asked.run.store.path,
        points=[points[setting] for setting in (None, *asked.settings)],
        signal=scores.signal,
        mixing=scores.mixing,
        n_scored=len(rows),
        n_rows=inputs.n_rows,
        n_fits=embeddings.n_fits,
        n_unshared=sum(len(setting.steps) for setting in asked.settings),
        options=_options(asked.run),
    )


def _plan(asked: SweepRun, workers: Workers) -> MemoryPlan:
    """Plan for the largest setting, and for a later pass beside the first one's landmarks."""
    if any(len(setting.steps) > 1 for setting in asked.settings):
        workers = replace(workers, limit_bytes=workers.limit_bytes // 2)
    # All settings are fitted on all rows.
    settings = [replace(setting, fit_rows=ALL) for setting in asked.settings]
    plans = [plan_run(asked.run.inputs, setting, workers) for setting in settings]
    return min(plans, key=lambda plan: (plan.tiling.rows_per_partition, plan.piece_bytes))


def _options(run: CorrectionRequest) -> list[str]:
    """Say as options of ``balans correct`` what no parameter holds."""
    options = [part for key in run.batch_keys for part in ("--batch-key", key)]
    for name, value in (("--basis", run.basis), ("--anchor", run.anchor)):
        options += [] if value is None else [name, value]
    return options
