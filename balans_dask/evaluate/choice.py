"""Which of several corrections to take: the Pareto front of signal and mixing, and one rule."""

from collections.abc import Sequence
from dataclasses import dataclass

from balans_dask.parameters import Parameters

__all__ = ["MIXING_SHARE", "RULE", "SIGNAL_KEPT", "SIGNAL_SHARE", "Point", "choose", "pareto_front"]

SIGNAL_SHARE, MIXING_SHARE = 0.6, 0.4
SIGNAL_KEPT = 0.97
RULE = (
    f"the highest {SIGNAL_SHARE:g} signal + {MIXING_SHARE:g} mixing among the points, raw too, "
    f"whose signal is at least {SIGNAL_KEPT:g} of raw; of equal ones the first"
)


@dataclass(frozen=True)
class Point:
    """One setting and its scores.

    Attributes
    ----------
    parameters : Parameters or None
        ``None``: raw, no correction.
    signal, mixing : float
    n_landmarks : int
        Of the last pass.
    n_uncovered : int
        Rows that no landmark of the last pass covers.
    n_capped : int
        Landmarks of the last pass that the guard against forced matching limits.
    """

    parameters: Parameters | None
    signal: float
    mixing: float
    n_landmarks: int = 0
    n_uncovered: int = 0
    n_capped: int = 0

    @property
    def total(self) -> float:
        """0.6 signal + 0.4 mixing."""
        return SIGNAL_SHARE * self.signal + MIXING_SHARE * self.mixing


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats: at least as good in both, and better in one.

    Parameters
    ----------
    points : sequence of Point

    Returns
    -------
    front : list of Point
        By increasing mixing; equal points are all in it.
    """
    kept = [point for point in points if not any(_beats(other, point) for other in points)]
    return sorted(kept, key=lambda point: point.mixing)


def choose(points: Sequence[Point]) -> Point:
    """Choose by ``RULE``.

    Parameters
    ----------
    points : sequence of Point
        Raw is among them.
    """
    raw = next(point for point in points if point.parameters is None)
    allowed = [raw, *(p for p in points if p.signal >= SIGNAL_KEPT * raw.signal)]
    return max(allowed, key=lambda point: point.total)


def _beats(one: Point, other: Point) -> bool:
    as_good = one.signal >= other.signal and one.mixing >= other.mixing
    return as_good and (one.signal > other.signal or one.mixing > other.mixing)
