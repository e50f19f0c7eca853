"""What the command line says of stores, models and plans: tables of names and values."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from balans_dask.errors import first_names, format_bytes, printable
from balans_dask.io.store import ProfileStore
from balans_dask.model.frozen import Model
from balans_dask.model.inputs import CheckedInput, Inputs
from balans_dask.parameters import Parameters
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.confounding import CONFOUNDED, treated
from balans_dask.workflows.records import said_of_sphering
from balans_dask.workflows.request import CorrectionRequest, earlier_steps
from balans_dask.workflows.sharing import sharing_facts

if TYPE_CHECKING:
    from balans_dask.evaluate.ending import Ending

__all__ = [
    "correction_facts",
    "ending_facts",
    "facts_table",
    "input_facts",
    "label_facts",
    "model_facts",
    "plan_facts",
    "store_facts",
]


def facts_table(title: str, facts: Mapping[str, Any]) -> Table:
    """Lay out names and values in two columns; text of the user's is shown as it is."""
    # Text, not markup: a name such as [red] or :smile: is shown as it is.
    table = Table(title=Text(printable(title)), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(printable(name)), Text(printable(value)))
    return table


def input_facts(inputs: Inputs, parameters: Parameters, examined: CheckedInput) -> dict[str, str]:
    """Say what a run would correct."""
    labels = inputs.labels
    sizes = sorted(zip(labels.sizes, labels.names, strict=True))
    n_features = inputs.features.shape[1]
    controls = {}
    if inputs.controls is not None:
        controls["controls"] = f"{int(inputs.controls.sum()):,} rows, by which all are sphered"
    return {
        "profiles": f"{inputs.n_rows:,} rows x {n_features:,} features, {inputs.features.dtype}",
        "constant features": f"{int(examined.features.constant.sum())}",
        "batches": f"{labels.n_batches}, from {sizes[0][0]:,} rows ({sizes[0][1]}) to "
        f"{sizes[-1][0]:,} ({sizes[-1][1]})",
        "batches of at most k rows": f"{len(labels.clamped(parameters.n_neighbors))}",
    } | controls


def label_facts(asked: CorrectionRequest) -> dict[str, str]:
    """Say how labels and batches go together, if a column of labels is named."""
    if asked.label is None:
        return {}
    counts = treated(asked.inputs.labels, asked.label, asked.negative_controls())
    verdict = "" if counts.is_confounded else "not "
    return {
        "labels": f"{len(asked.label.names):,} of {asked.label.column}, {verdict}{CONFOUNDED} with "
        f"batches: {counts.summary}"
    }


def store_facts(store: ProfileStore) -> dict[str, str]:
    """Say what a store holds."""
    features = store.features
    layout = f"chunks {features.chunks}"
    if features.shards is not None:
        layout += f" in shards {features.shards}"
    return {
        "profiles": f"{store.n_rows:,} rows x {features.shape[1]:,} features, {features.dtype}",
        "stored as": f"Zarr v{features.metadata.zarr_format}, {layout}",
        "obs": first_names([str(name) for name in store.obs.columns], 12),
        "features": first_names([str(name) for name in store.var.index]),
        "obsm": first_names(store.embeddings) or "none",
    } | {
        name.removeprefix("uns/balans_"): _steps(record)
        for name, record in earlier_steps(store).items()
    }


def _steps(record: Mapping[str, Any]) -> str:
    """Say in a line what was done before a correction."""
    done = record.get("parameters", record)
    return ", ".join(f"{name}={_plain(value)}" for name, value in done.items())


def correction_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Say how a store was corrected."""
    parameters = record["parameters"]
    by = {"by the model": record["model"]} if "model" in record else {}
    if "sphering" in record:
        by["sphered by"] = said_of_sphering(record["sphering"])
    return by | {
        "input": str(record.get("input", "not recorded")),
        "parameters": ", ".join(f"{name}={_plain(value)}" for name, value in parameters.items()),
        "batches": f"{len(record['batches'])} ({first_names(list(record['batches']))})",
        "learned from": f"{int(record['n_fit_rows']):,} rows"
        if "n_fit_rows" in record
        else "all rows",
        "landmarks": f"{int(record['n_sampled']):,} in "
        f"{len(record['coverage_curve']['n_sampled'])} rounds",
        "limited by the guard": f"{int(record.get('n_capped', 0)):,} landmarks",
        **sharing_facts(record),
        "stopped by": record["stop_reason"],
        "uncovered rows": f"{int(record['n_uncovered']):,}",
        "clamped batches": f"{len(record['clamped_batches'])}",
        "constant features": f"{len(record['constant_features'])}",
        "fingerprint": record["fingerprint"],
        "versions": ", ".join(f"{name} {value}" for name, value in record["versions"].items()),
    }


def ending_facts(found: "Ending", label: str | None, n_rows: int) -> dict[str, str]:
    """Say what a correction changed.

    Parameters
    ----------
    label : str or None
        Column with what should stay.
    n_rows : int
        That were corrected.
    """
    change, n_scored = found
    own = change.own_batch
    facts = {
        "own-batch neighbours": f"{own.before:.0%} before, {own.after:.0%} after "
        f"({own.mixed:.0%} if batches were mixed)"
    }
    if change.signal is not None:
        facts[f"cross-batch neighbours of the same {label}"] = (
            f"{change.signal.before:.1%} before, {change.signal.after:.1%} after"
        )
    if not math.isnan(change.variance_kept):
        facts["variance kept"] = f"{change.variance_kept:.0%}"
    if n_scored < n_rows:
        facts["scored"] = f"a sample of {n_scored:,} rows"
    return facts


def model_facts(model: Model, n_bytes: int) -> dict[str, str]:
    """Say what a frozen model holds.

    Parameters
    ----------
    n_bytes : int
        Size on disk.
    """
    given = {k: v for k, v in model.parameters.as_dict().items() if v is not None}
    names, projection = model.feature_names, model.preprocessor.projection
    facts = {
        "kind": "frozen model of balans_dask",
        "size": f"{format_bytes(n_bytes)}: grows with landmarks, batches and features, not rows",
        "parameters": ", ".join(f"{name}={value}" for name, value in given.items()),
        "features": f"{len(names):,} ({first_names(list(names))})",
        "batches": f"{len(model.batches):,} ({first_names(list(model.batches))})",
        "batch key": "+".join(model.record["batch_key"]) or "none",
        "anchors": model.record.get("anchor") or "all rows",
        "distances in": f"{projection.n_components} columns of "
        + ("principal components" if projection.weights is not None else "the embedding"),
    }
    for number, each in enumerate(model.passes):
        n_rounds, _ = each.curve.shape
        facts[f"pass {number + 1}"] = (
            f"{each.n_landmarks:,} landmarks in {n_rounds} rounds from {int(each.curve[-1, 2]):,} "
            f"rows, stopped by {each.stop_reason}"
        )
    if model.sphering is not None:
        facts["sphered by"] = said_of_sphering(model.sphering.facts)
    facts |= sharing_facts({"batches": model.batches, **model.passes[-1].facts})
    return facts | {
        "expected uncovered": f"{model.risk:.2%} of further rows of the same kind",
        "fingerprint": model.record["fingerprint"],
        "versions": ", ".join(f"{k} {v}" for k, v in model.record["versions"].items()),
    }


def _plain(value: Any) -> str:
    return "+".join(str(part) for part in value) if np.ndim(value) else str(value)


def _counted(n: int, one: str, many: str) -> str:
    return f"1 {one}" if n == 1 else f"{n} {many}"


def plan_facts(plan: MemoryPlan) -> dict[str, str]:
    """Say a memory plan in words."""
    tiling, workers, rounds = plan.tiling, plan.workers, plan.of_fit or plan
    rows = min(tiling.rows_per_partition, tiling.n_rows)
    largest = max(plan.task_bytes, key=lambda name: plan.task_bytes[name])
    facts = {
        "workers": f"{_counted(workers.n_threads, 'thread', 'threads')} of this process"
        if workers.embedded
        else f"{_counted(workers.n_workers, 'process', 'processes')} of "
        f"{_counted(workers.threads_per_worker, 'thread', 'threads')}",
        "memory limit": f"{format_bytes(workers.limit_bytes)} a worker",
        "learns from": "all rows"
        if plan.of_fit is None
        else f"{plan.of_fit.tiling.n_rows:,} of {tiling.n_rows:,} rows",
        "partitions": f"{tiling.n_partitions} of {rows:,} rows",
        "scores": _what_is_kept(rounds),
        "tasks a round": f"about {rounds.tasks_per_round}",
        "largest task": f"{format_bytes(plan.task_bytes[largest])} ({largest})",
        "planned for": f"up to {plan.n_landmarks:,} landmarks",
        "rows of A_S": f"up to {format_bytes(rounds.piece_bytes)} kept on the workers",
    }
    if not workers.embedded:
        facts["each worker"] = f"at most {format_bytes(plan.worker_bytes)}"
        facts["driver"] = f"at most {format_bytes(plan.driver_bytes)}"
    return facts | {"all processes": f"at most {format_bytes(plan.total_bytes)}"}


def _what_is_kept(plan: MemoryPlan) -> str:
    if not plan.keep_scores:
        return "read again in every pass"
    return "kept on the workers" + (", with a round's products" if plan.keep_products else "")
