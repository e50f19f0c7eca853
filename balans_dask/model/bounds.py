"""What the tables of a fit may hold: checked before compiled code indexes by them.

A checksum says that a file is as it was written, not that whoever wrote it was right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.elbow import N_BINS

__all__ = [
    "Sizes",
    "Table",
    "fault_of",
    "landmark_fault",
    "projection_fault",
    "record_fault",
    "sphering_fault",
]

Sizes = Mapping[str, int]
"""Lengths of axes by name."""
LARGEST = np.iinfo(np.intp).max


@dataclass(frozen=True)
class Table:
    """What one table may hold.

    Attributes
    ----------
    dtype : type
    axes : tuple of str or int
        Names of lengths, or lengths.
    holds : callable
        Takes the table, and tells which of its values may stand.
    rule : str
        The same in words, after "are not".
    """

    dtype: type
    axes: tuple[str | int, ...]
    holds: Callable[[NDArray[Any]], NDArray[np.bool_]] = np.isfinite
    rule: str = "finite"


def fault_of(tables: Mapping[str, Any], rules: Mapping[str, Table], sizes: Sizes) -> str:
    """Say what is wrong with some tables, in a few words; empty if nothing is."""
    for name, table in rules.items():
        if name not in tables:
            return f"{name} is missing"
        values = np.asarray(tables[name])
        shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in table.axes)
        if values.shape != shape or values.dtype != np.dtype(table.dtype):
            return (
                f"{name} has shape {values.shape} and type {values.dtype}, where the other tables "
                f"ask for {shape} and {np.dtype(table.dtype)}"
            )
        n_bad = int(np.count_nonzero(~table.holds(values)))
        if n_bad:
            return f"{n_bad} of {values.size} values of {name} are not {table.rule}"
    return ""


def landmark_fault(tables: Mapping[str, Any], sizes: Sizes) -> str:
    """Say what is wrong with the landmarks of a pass; empty if nothing is.

    Parameters
    ----------
    tables : mapping of str to ndarray
        By ``state.block_arrays``, and ``curve``.
    sizes : mapping of str to int
        ``n_rows`` of the fit, ``n_batches``, ``n_components`` and ``block_rows``; ``n_of_data``
        where the landmarks have their numbers among more rows.
    """
    largest, n_rows = sizes["block_rows"], sizes["n_rows"]
    n_of_data = sizes.get("n_of_data", n_rows)
    blocks = np.asarray(tables.get("block_sizes", ()))
    counts = {**sizes, "n_rounds": max(1, len(np.atleast_1d(blocks)))}
    of_blocks = Table(
        np.int64,
        ("n_rounds",),
        lambda sizes: (sizes >= 1) & (sizes <= largest),
        f"from 1 to {largest}",
    )
    fault = fault_of(tables, {"block_sizes": of_blocks}, counts)
    if fault:
        return fault
    counts["n_landmarks"] = int(blocks.sum())
    rules = {
        "rows": Table(
            np.int64,
            ("n_landmarks",),
            lambda rows: (rows >= 0) & (rows < n_of_data) & _first_of_its_value(rows),
            f"different rows below {n_of_data}",
        ),
        "scores": Table(np.float32, ("n_landmarks", "n_components")),
        "limits": Table(np.float64, ("n_landmarks",), lambda limits: limits > 0.0, "above 0"),
        "scales": Table(
            np.float64,
            ("n_landmarks", "n_batches"),
            lambda scales: (scales > 0.0) & (scales <= _finite(tables["limits"])),
            "above 0, finite and within the limits",
        ),
        "thresholds": Table(
            np.int64,
            ("n_landmarks",),
            lambda bins: (bins >= 0) & (bins <= N_BINS),
            f"from 0 to {N_BINS}",
        ),
        "capped": Table(np.bool_, ("n_landmarks",)),
        "curve": Table(
            np.int64,
            ("n_rounds", 3),
            lambda curve: _counts_agree(curve, blocks, n_rows),
            "counts of these landmarks and rows",
        ),
    }
    return fault_of(tables, rules, counts)


def projection_fault(tables: Mapping[str, Any], n_columns: int, weighted: bool) -> str:
    """Say what is wrong with a preprocessor; empty if nothing is.

    Parameters
    ----------
    tables : mapping of str to ndarray
        By ``Projection.arrays``.
    n_columns : int
        Of what the scores are made from.
    weighted : bool
        Scores are principal components.
    """
    if weighted != ("weights" in tables):
        return "weights is missing" if weighted else "weights is there, of no components"
    sizes = {"n_used": max(1, np.size(tables.get("used", ())))}
    rules = {
        "used": Table(
            np.intp,
            ("n_used",),
            lambda used: (used >= 0) & (used < n_columns) & (np.diff(used, prepend=-1) > 0),
            f"increasing places below {n_columns}",
        ),
        "mean": Table(np.float64, ("n_used",)),
        "total_variance": Table(np.float64, (), _is_positive, "finite and above 0"),
        "unit": Table(np.float64, (), _is_power_of_two, "a power of two"),
    }
    if weighted:
        weights = np.asarray(tables["weights"])
        sizes["n_components"] = max(1, weights.shape[1] if weights.ndim == 2 else 1)
        rules["weights"] = Table(np.float64, ("n_used", "n_components"))
    return fault_of(tables, rules, sizes)


def sphering_fault(facts: Any) -> str:
    """Say what is wrong with what is told of a sphering; empty if nothing is."""
    if not isinstance(facts, dict) or "n_controls" not in facts:
        return "sphering tells no number of controls"
    for name, value in facts.items():
        number = np.asarray(value)
        if number.shape or number.dtype.kind not in "iuf" or not 0 <= number < np.inf:
            return f"{name} of the sphering is {value!r}"
    return ""


def record_fault(record: Mapping[str, Any], n_columns: int | None) -> str:
    """Say what is wrong with what a store says about its correction; empty if nothing is.

    Parameters
    ----------
    record : mapping
        By ``workflows.records.record_of``, of this version or an earlier one.
    n_columns : int or None
        Of what the scores are made from, if that is known.
    """
    groups = ("parameters", "versions", "preprocessor", "coverage_curve")
    earlier = record.get("earlier_passes", {})
    wrong = [name for name in groups if not isinstance(record[name], dict)]
    wrong += [name for name in ("stop_reason", "fingerprint") if not isinstance(record[name], str)]
    wrong += [name for name in ("input", "model") if not isinstance(record.get(name, ""), str)]
    wrong += [name for name in _NAMES if np.ndim(record.get(name, "")) != 1]
    if wrong:
        return f"{wrong[0]} is of another type"
    chosen, batches = record["parameters"], list(record["batches"])
    named = all(isinstance(name, str) for name in batches) and len(batches) > 0
    queries = [chosen.get(name, "") for name in ("anchor", "sphering")]
    keyed = {"batch_key", "basis"} <= chosen.keys() and all(isinstance(q, str) for q in queries)
    if not named:
        return "batches are not named"
    if not keyed:
        return "parameters lack a key or a basis, or an anchor or a sphering is no query"
    weighted = "weights" in record["preprocessor"]
    fault = projection_fault(
        record["preprocessor"], LARGEST if n_columns is None else n_columns, weighted
    )
    counts = _whole(record)
    fault = fault or fault_of(counts, {"n_uncovered": _COUNT, "n_sampled": _COUNT}, {})
    # Of ``align`` alone.
    shares = {name: np.asarray(record[name]) for name in ("rho", "kappa") if name in record}
    fault = fault or fault_of(shares, dict.fromkeys(shares, _SHARE), {})
    if fault:
        return fault
    sizes = {"n_batches": len(batches), "n_landmarks": int(counts["n_sampled"])}
    rules = {name: rule for name, rule in _OF_LANDMARKS.items() if name in record}
    # A record says something of single landmarks, or nothing.
    missing = _OF_LANDMARKS.keys() - rules.keys() - {"n_capped"} if "n_kept" in record else ()
    if missing:
        return f"{min(missing)} is missing"
    fault = fault_of(counts, rules, sizes) or _curve_fault(record)
    if "sphering" in record:
        fault = fault or sphering_fault(record["sphering"])
    if not isinstance(earlier, dict):
        return "earlier_passes is of another type"
    for name, facts in earlier.items():
        number = name.removeprefix("pass_")
        if not (number.isdecimal() and isinstance(facts, dict)):
            return fault or "earlier_passes are not numbered"
        fault = fault or _curve_fault(facts)
    return fault


_NAMES = ("batches", "clamped_batches", "constant_features")
_COUNT = Table(np.int64, (), lambda count: np.asarray(count >= 0), "counts")
_SHARE = Table(np.float64, (), lambda share: np.asarray((share >= 0.0) & (share <= 1.0)), "shares")
_OF_BATCHES = Table(np.int64, ("n_batches",), lambda counts: counts >= 0, "counts")
_OF_LANDMARKS = {
    "n_capped": _COUNT,
    "n_kept": Table(np.int64, ("n_landmarks",), lambda counts: counts >= 0, "counts"),
    "batch_sizes": _OF_BATCHES,
    "drawn_by_batch": _OF_BATCHES,
    "new_by_batch": _OF_BATCHES,
    "scale_quantiles": Table(
        np.float64,
        ("n_batches", 5),
        lambda scales: (scales >= 0.0) & np.isfinite(scales),
        "finite scales",
    ),
}
"""What reports read of landmarks and batches."""


def _curve_fault(facts: Mapping[str, Any]) -> str:
    curve = facts.get("coverage_curve")
    if not isinstance(curve, dict):
        return "coverage_curve is of another type"
    sizes = {"n_rounds": max(1, np.size(curve.get("n_sampled", ())))}
    rule = Table(np.int64, ("n_rounds",), lambda counts: counts >= 0, "counts")
    return fault_of(_whole(curve), {"n_sampled": rule, "n_covered": rule}, sizes)


def _whole(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Whole numbers of any width as those of 64 bits; anything else stays."""
    wide = {}
    for name, value in tables.items():
        is_array = isinstance(value, np.ndarray | np.generic | int | float)
        table = np.asarray(value) if is_array else np.array(None)
        wide[name] = table.astype(np.int64) if table.dtype.kind in "iu" else table
    return wide


def _first_of_its_value(values: NDArray[Any]) -> NDArray[np.bool_]:
    first = np.zeros(values.shape, dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _finite(limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Limits as a column; without a guard, the largest number."""
    return np.minimum(limits, np.finfo(np.float64).max)[:, None]


def _counts_agree(
    curve: NDArray[np.int64], blocks: NDArray[np.int64], n_rows: int
) -> NDArray[np.bool_]:
    agree = np.empty(curve.shape, dtype=bool)
    agree[:, 0] = curve[:, 0] == np.cumsum(blocks)
    agree[:, 1] = (np.diff(curve[:, 1], prepend=0) >= 0) & (curve[:, 1] <= n_rows)
    agree[:, 2] = curve[:, 2] == n_rows
    return agree


def _is_positive(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((value > 0.0) & np.isfinite(value))


def _is_power_of_two(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((np.frexp(value)[0] == 0.5) & np.isfinite(value))
