"""Whether a correction is better than its input: signal, mixing and variance before and after."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from balans_dask.errors import InvalidInputError
from balans_dask.evaluate.neighbours import codes_of, nearest_rows, others_expected
from balans_dask.evaluate.scib import variance_kept
from balans_dask.evaluate.scoring import ASKED_ROWS, MIXING_NEIGHBORS, cross_batch_shares
from balans_dask.evaluate.sweep.result import MIXING_SHARE, SIGNAL_KEPT, SIGNAL_SHARE

__all__ = [
    "BETTER",
    "HELD_BACK",
    "NOT_JUDGED",
    "RULE",
    "WORSE",
    "Change",
    "LabelChange",
    "OwnBatch",
    "Score",
    "measured",
    "meetings",
]

BETTER, HELD_BACK, WORSE = "better", "held back", "worse than uncorrected"
NOT_JUDGED = "not judged"
LEVEL = 0.95
RULE = (
    f"The rule is that of balans sweep, which takes {SIGNAL_SHARE:g} signal + {MIXING_SHARE:g} "
    f"mixing and refuses what keeps less than {SIGNAL_KEPT:g} of raw's signal, read beyond noise: "
    f"better, where that sum rises; worse, where it or, below {SIGNAL_KEPT:g}, the signal falls; "
    f"held back, where neither is told from noise. Noise is half of the {LEVEL:.0%} interval of a "
    "difference (Student's t) over labels, whose rows stand or fall together."
)


@dataclass(frozen=True)
class Score:
    """A score of the same rows before and after.

    Attributes
    ----------
    before, after : float
    noise : float
        Half of the interval of their difference; infinite where nothing tells it.
    """

    before: float
    after: float
    noise: float

    @property
    def difference(self) -> float:
        """Gained since before."""
        return self.after - self.before

    @property
    def moved(self) -> int:
        """1 or -1 where the difference goes beyond noise, else 0."""
        return int(np.sign(self.difference)) if abs(self.difference) > self.noise else 0


@dataclass(frozen=True)
class LabelChange:
    """Signal of one label.

    Attributes
    ----------
    name : str
    n_rows : int
        That were asked.
    before, after : float
    """

    name: str
    n_rows: int
    before: float
    after: float

    @property
    def difference(self) -> float:
        """Gained since before."""
        return self.after - self.before


@dataclass(frozen=True)
class OwnBatch:
    """Share of the nearest rows that are of a row's own batch.

    Attributes
    ----------
    before, after : float
    mixed : float
        Were batches mixed, whatever the labels.
    """

    before: float
    after: float
    mixed: float


@dataclass(frozen=True)
class Change:
    """What a correction changed.

    Attributes
    ----------
    signal : Score or None
        ``None`` where it is not known; as ``sweep`` has it by ``neighbours``, and so is mixing.
    mixing : Score
    own_batch : OwnBatch
        What mixing is made of.
    total : Score or None
        Of both, in the weights of ``sweep``.
    variance_kept : float
        Share of the total variance; NaN where the rows are in another unit than before.
    labels : sequence of LabelChange
        Those of two batches, the largest gain first.
    was_mixed : bool
        Mixing was perfect before, as far as noise tells.
    not_judged : str
        Why there is no verdict; empty where there is one.
    """

    signal: Score | None
    mixing: Score
    own_batch: OwnBatch
    total: Score | None
    variance_kept: float
    labels: Sequence[LabelChange]
    was_mixed: bool
    not_judged: str = ""

    @property
    def verdict(self) -> str:
        """By ``RULE``."""
        if self.signal is None or self.total is None or self.not_judged:
            return NOT_JUDGED
        lost = self.signal.moved < 0 and self.signal.after < SIGNAL_KEPT * self.signal.before
        if lost or self.total.moved < 0:
            return WORSE
        return BETTER if self.total.moved > 0 else HELD_BACK


def measured(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    batch: Any,
    label: Any | None,
    is_in_unit: bool = True,
) -> Change:
    """Score the same rows before and after.

    Parameters
    ----------
    before, after : ndarray of shape (n_rows, n_components)
    batch : array-like of shape (n_rows,)
    label : array-like of shape (n_rows,), or None
        Without labels, mixing is among all rows, and nothing is judged.
    is_in_unit : bool
        The unit of both is one; sphered rows are in another.
    """
    kept = variance_kept(before, after) if is_in_unit else math.nan
    if label is None:
        mixing, own, _, was_mixed = _mixing(before, after, batch, None)
        reason = "no label column says what should stay: name one by --label-key"
        return Change(None, mixing, own, None, kept, (), was_mixed, reason)
    try:
        rows, had = cross_batch_shares(before, batch, label)
    except InvalidInputError as error:
        mixing, own, _, was_mixed = _mixing(before, after, batch, None)
        return Change(None, mixing, own, None, kept, (), was_mixed, str(error))
    has = cross_batch_shares(after, batch, label)[1]
    names, codes = np.unique(np.asarray(label).astype(str), return_inverse=True)
    sizes = np.bincount(codes[rows], minlength=len(names))
    found = np.flatnonzero(sizes)
    old, new = (np.bincount(codes[rows], part, len(names))[found] / sizes[found]
                for part in (had, has))  # fmt: skip
    mixing, own, moved, was_mixed = _mixing(before, after, batch, label)
    gained = new - old
    # What each label contributes to the error of a mean over labels.
    parts = np.zeros(len(names))
    parts[found] = (gained - gained.mean()) / len(found)
    signal = Score(float(old.mean()), float(new.mean()), _noise(parts[found]))
    parts = SIGNAL_SHARE * parts + MIXING_SHARE * moved
    total = Score(
        SIGNAL_SHARE * signal.before + MIXING_SHARE * mixing.before,
        SIGNAL_SHARE * signal.after + MIXING_SHARE * mixing.after,
        _noise(parts, len(found)),
    )
    labels = [
        LabelChange(str(names[i]), int(sizes[i]), float(had_it), float(has_it))
        for i, had_it, has_it in zip(found, old, new, strict=True)
    ]
    labels.sort(key=lambda each: (-each.difference, each.name))
    reason = ""
    if len(found) < 2:
        reason = (
            f"{names[found[0]]} alone is in two batches, and one label tells no noise: choose "
            "another --label-key, such as mechanisms"
        )
    return Change(signal, mixing, own, total, kept, labels, was_mixed, reason)


def _mixing(
    before: NDArray[np.floating], after: NDArray[np.floating], batch: Any, label: Any | None
) -> tuple[Score, OwnBatch, NDArray[np.float64], bool]:
    """Score mixing, with what each label (without labels: each batch) adds to the error."""
    batch = codes_of(batch)
    known = np.zeros_like(batch) if label is None else codes_of(label)
    groups = batch if label is None else known
    shares, own = [], []
    for profiles in (before, after):
        chosen, found = nearest_rows(profiles, MIXING_NEIGHBORS, ASKED_ROWS)
        expected = others_expected(known, batch, chosen)
        others = (batch[found] != batch[chosen, None]).mean(axis=1)
        own.append(1 - float(others.mean()))
        shares.append(others / expected if expected > 0 else np.ones(len(chosen)))
    was, moved = (
        _parts(each, groups[chosen], int(groups.max()) + 1)
        for each in (shares[0], shares[1] - shares[0])
    )
    is_there = np.bincount(groups[chosen], minlength=len(moved)) > 0
    # More strangers than perfect mixing would bring is no merit.
    first, last = (min(1.0, float(each.mean())) for each in shares)
    score = Score(first, last, _noise(moved[is_there]))
    was_mixed = bool(shares[0].mean() + _noise(was[is_there]) >= 1.0)
    of_all = others_expected(np.zeros_like(known), batch, chosen)
    return score, OwnBatch(own[0], own[1], 1 - of_all), moved, was_mixed


def _parts(
    values: NDArray[np.float64], groups: NDArray[np.intp], n_groups: int
) -> NDArray[np.float64]:
    """Return what each group adds to the error of the mean of all values."""
    return np.bincount(groups, values - values.mean(), n_groups) / len(values)


def _noise(parts: NDArray[np.float64], n_groups: int | None = None) -> float:
    """Half of the interval of a sum of independent parts, as wide as so few of them ask for."""
    n_groups = len(parts) if n_groups is None else n_groups
    if n_groups < 2:
        return float("inf")
    error = np.sqrt(n_groups / (n_groups - 1) * np.square(parts).sum())
    return float(stdtrit(n_groups - 1, (1 + LEVEL) / 2) * error)


def meetings(
    profiles: NDArray[np.floating], batch: NDArray[np.integer], n_batches: int
) -> NDArray[np.float64]:
    """Count which batches the nearest rows of every batch are of, over what chance would bring.

    Parameters
    ----------
    profiles : ndarray of shape (n_rows, n_components)
    batch : ndarray of shape (n_rows,), integer

    Returns
    -------
    ratio : ndarray of shape (n_batches, n_batches)
        Among the 10 nearest rows of those of the first batch, the share of the second one, over its
        share of all other rows: 1 is mixed. NaN where a batch has no row that was asked.
    """
    chosen, found = nearest_rows(profiles, MIXING_NEIGHBORS, ASKED_ROWS)
    counts = np.zeros((n_batches, n_batches))
    np.add.at(counts, (batch[chosen, None], batch[found]), 1)
    sizes = np.bincount(batch, minlength=n_batches)
    expected = (sizes - np.eye(n_batches)) / max(len(batch) - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True) / expected
    return np.where(np.isfinite(ratio), ratio, np.nan)
