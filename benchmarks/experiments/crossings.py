"""Where a measured curve is above zero, by straight lines between the measured points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Stretch", "stretches_above"]


@dataclass(frozen=True)
class Stretch:
    """A part of the curve above zero.

    Attributes
    ----------
    start, end : float
        Where the curve crosses zero; the first or last measured point if it does not.
    opens, closes : bool
        Whether it crosses zero there, or was above it from the first or to the last point.
    """

    start: float
    end: float
    opens: bool
    closes: bool


def stretches_above(places: Sequence[float], values: Sequence[float]) -> list[Stretch]:
    """Find every part of a curve above zero, from left to right.

    Parameters
    ----------
    places : sequence of float
        Increasing.
    values : sequence of float
        A value of exactly 0 is not above.
    """
    above = np.asarray(values) > 0
    found = []
    start, opens = places[0], False
    for i in range(1, len(places)):
        if above[i] == above[i - 1]:
            continue
        share = values[i - 1] / (values[i - 1] - values[i])
        place = float(places[i - 1] + share * (places[i] - places[i - 1]))
        if above[i]:
            start, opens = place, True
        else:
            found.append(Stretch(float(start), place, opens, closes=True))
    if above[-1]:
        found.append(Stretch(float(start), float(places[-1]), opens, closes=False))
    return found
