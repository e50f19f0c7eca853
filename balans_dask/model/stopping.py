"""When to stop drawing rows: the paper's patience, enough of the rows, or nothing that is missed.

``share`` stops after the block that leaves at most ``LEFT_SHARE`` of the rows that can be drawn
uncovered, once there are ``LEAST_LANDMARKS``: fields of whole batches need no more.

``patience`` is the paper's: stop after that many consecutive idle rows, which cover nothing new.

All rules stop there; ``auto`` also before: once no population of one row in ``SMALLEST_ONE_IN`` is
likely to have escaped. All rows that nothing covers have the same weight, so a draw that hits
one of U such rows hits a population of s among them with probability s / U. After draws that would
have hit it ``LEAST_HITS`` times in the mean, it is still unseen with probability
prod(1 - s / U) <= exp(-LEAST_HITS) = 1 %. The last ``patience`` rows must also have covered fewer
than s new rows each, or there is more to find. What stays uncovered then are single outlying rows.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from balans_dask.parameters import AUTO, PATIENCE, SHARE, Parameters

__all__ = [
    "LEAST_HITS",
    "LEAST_LANDMARKS",
    "LEFT_SHARE",
    "SMALLEST_ONE_IN",
    "Drawn",
    "StopRule",
    "Tally",
    "stop_rule",
    "tally_from",
]

LEFT_SHARE = 0.01
LEAST_LANDMARKS = 256
SMALLEST_ONE_IN = 10_000
"""Share of the smallest population: a hundred rows of a million. Of fewer than 20,000 rows it is a
single row, and both rules are one."""
LEAST_HITS = math.log(100.0)
"""Ten such populations are all found with a probability of 90 % at least."""


@dataclass(frozen=True)
class Drawn:
    """What a rule sees of one round, in draw order.

    Attributes
    ----------
    n_new : ndarray of shape (n_drawn,), int64
        Rows that each drawn row covers first.
    was_open : ndarray of shape (n_drawn,), bool
        The drawn row itself was uncovered before the round.
    n_open : int
        Rows that were uncovered before the round and could be drawn.
    n_left : int
        Those after the round.
    n_sampled : int
        Rows drawn so far, with this round.
    """

    n_new: NDArray[np.int64]
    was_open: NDArray[np.bool_]
    n_open: int
    n_left: int = 0
    n_sampled: int = 0


@dataclass(frozen=True)
class Tally:
    """Where a rule stands.

    Attributes
    ----------
    n_idle : int
        Consecutive rows, up to the last one, that covered nothing new.
    n_quiet : int
        Consecutive rows that covered less than the smallest population.
    hits : float
        Mean number of hits that such a population would have taken, were it uncovered still.
    """

    n_idle: int = 0
    n_quiet: int = 0
    hits: float = 0.0


def tally_from(values: NDArray[np.float64]) -> Tally:
    """Restore a tally from its values in order."""
    n_idle, n_quiet, hits = values
    return Tally(int(n_idle), int(n_quiet), float(hits))


@dataclass(frozen=True)
class StopRule:
    """A rule, followed row by row: one that knows nothing of blocks, partitions or workers.

    Attributes
    ----------
    patience : int
    at_most_new : float
        Rows that an idle row may cover anew.
    smallest : int or None
        Rows of the smallest population that must not be missed; ``None`` for the paper's rule.
    enough_left : float or None
        Uncovered rows that may be left; ``None`` unless the rule is ``share``.
    """

    patience: int
    at_most_new: float = 0.0
    smallest: int | None = None
    enough_left: float | None = None

    def follow(self, tally: Tally, drawn: Drawn) -> tuple[int, Tally, str]:
        """Take the rows of a round in draw order, up to the one that stops.

        Parameters
        ----------
        tally : Tally
            After the round before.

        Returns
        -------
        n_kept : int
            Rows up to and including the stopping row; all rows where none stops.
        tally : Tally
            After them.
        reason : {"share", "patience", "auto", ""}
            Empty where none stops.
        """
        reason = ""
        for place, (n_new, was_open) in enumerate(zip(drawn.n_new, drawn.was_open, strict=True)):
            tally = self._after(tally, int(n_new), bool(was_open), drawn.n_open)
            reason = self._reason(tally, drawn.n_open)
            if reason:
                return place + 1, tally, reason
        if self.enough_left is not None and drawn.n_sampled >= LEAST_LANDMARKS:
            reason = SHARE if drawn.n_left <= self.enough_left else ""
        return len(drawn.n_new), tally, reason

    def _after(self, tally: Tally, n_new: int, was_open: bool, n_open: int) -> Tally:
        tally = replace(tally, n_idle=tally.n_idle + 1 if n_new <= self.at_most_new else 0)
        if self.smallest is None:
            return tally
        return replace(
            tally,
            n_quiet=tally.n_quiet + 1 if n_new < self.smallest else 0,
            hits=tally.hits + was_open * self.smallest / max(n_open, 1),
        )

    def _reason(self, tally: Tally, n_open: int) -> str:
        if tally.n_idle >= self.patience:
            return PATIENCE
        if self.smallest is None or tally.n_quiet < self.patience:
            return ""
        found = n_open < self.smallest or tally.hits >= LEAST_HITS
        return AUTO if found else ""


def stop_rule(parameters: Parameters, n_rows: int, n_candidates: int) -> StopRule:
    """Build the rule of a run.

    Parameters
    ----------
    n_candidates : int
        Rows that can be drawn.
    """
    smallest = max(1, n_candidates // SMALLEST_ONE_IN)
    return StopRule(
        parameters.patience,
        parameters.coverage_tol * n_rows,
        smallest if parameters.stopping == AUTO else None,
        LEFT_SHARE * n_candidates if parameters.stopping == SHARE else None,
    )
