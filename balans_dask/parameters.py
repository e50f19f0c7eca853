"""The parameters of a correction: one frozen record, checked once."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from balans_dask.errors import InvalidInputError, setting

__all__ = [
    "ALIGN",
    "ALL",
    "AUTO",
    "CHECKPOINT_SECONDS",
    "DISPLACE",
    "OPERATORS",
    "PAPER",
    "PATIENCE",
    "STOPPING",
    "UNCOVERED",
    "WORKER_TIMEOUT_SECONDS",
    "Parameters",
]

AUTO = "auto"
ALL = "all"
ALIGN, DISPLACE = "align", "displace"
OPERATORS = (ALIGN, "smooth", "nystrom", DISPLACE)
LOCATION, SCALE, LOCAL = "location", "scale", "local"
"""The steps of ``align``; any other operator is a step of its own name."""
SPHERE = "sphere"
"""The step after all others, where controls say how all rows are whitened."""
OFFSET, NEAREST, KEEP = "offset", "nearest", "keep"
UNCOVERED = (OFFSET, NEAREST, KEEP)
SHARE, PATIENCE = "share", "patience"
STOPPING = (SHARE, PATIENCE, AUTO)
ALIGN_DEFAULTS = {
    "stopping": SHARE,
    "block_rows": 256,
    "uncovered": OFFSET,
    "n_passes": 2,
    "fit_rows": 100_000,
}
DEFAULTS = {
    "stopping": PATIENCE,
    "block_rows": 64,
    "uncovered": NEAREST,
    "n_passes": 1,
    "fit_rows": ALL,
}
"""What ``None`` means, with ``align`` and with other operators."""
PAPER = {
    "operator": "smooth",
    "stopping": PATIENCE,
    "patience": 50,
    "n_passes": 1,
    "max_scale_ratio": None,
    "correct_single_batch": True,
}
"""The published method."""
LEAST_FIT_ROWS = 512
"""Of every batch that has so many."""
LARGEST_INTEGER = 2**63 - 1
"""What a store can record."""
CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints: what a kill may cost, besides the round under way."""
WORKER_TIMEOUT_SECONDS = 300.0
"""How long a run goes on without any worker, unless these are jobs, which may wait for hours."""


@dataclass(frozen=True)
class Parameters:
    """What decides the result of a correction, besides the data.

    Parameters
    ----------
    n_neighbors : int, default 5
        k of the paper: the neighbour whose distance is the local scale.
    patience : int, default 50
        tau of the paper: stop after this many consecutive rows that cover nothing new.
    stopping : {"share", "patience", "auto"} or None, default None
        Stop once 99 % of the rows are covered, by 256 landmarks at least; by patience alone, as the
        paper does; or as soon as no population of a ten-thousandth of the rows is likely to be
        missed. ``None``: ``"share"`` with ``align``, else ``"patience"``.
    block_rows : int or None, default None
        Rows drawn before the coverage is updated; 1 is the paper's sequential loop. ``None``: 256
        with ``align``, else 64.
    coverage_tol : float, default 0.0
        A row is idle if it covers at most this share of all rows anew.
    max_rows : int or None, default None
        Draw at most this many rows.
    n_components : int or None, default 50
        Principal components in which distances are taken; ``None``: the input is an embedding.
    max_scale_ratio : float, "auto" or None, default "auto"
        Limit of a row's local scales in units of its smallest, so that populations missing from a
        batch are not matched; ``"auto"`` takes it from the spread of the data, ``None`` is the
        paper. ``align`` has no such limit: it asks the rows.
    max_neighbors : int or None, default None
        A row of the affinity matrix keeps at most this many entries.
    operator : {"align", "smooth", "nystrom", "displace"}, default "align"
        How the affinities correct the profiles.
    shared_populations : {"auto", True}, default "auto"
        ``True``: every batch holds every population, as the user knows. ``align`` asks the rows
        otherwise.
    strength : float, default 1.0
        Share of the correction in the output, from 0 to 1; the rest is the input.
    uncovered : {"offset", "nearest", "keep"} or None, default None
        Rows that no landmark covers move with their batch (``align`` alone), go to their nearest
        landmark, or stay as they are. ``None``: ``"offset"`` with ``align``, else ``"nearest"``.
    n_passes : int or None, default None
        Times that the correction is fitted and applied, each to what the one before has left; of
        ``align``, its local steps. ``None``: 2 with ``align``, else 1.
    fit_rows : int, "all" or None, default None
        Rows on which ``align`` is fitted, as many of every batch that has so many, and 512 of these
        at least; all rows are moved. ``None``: 100,000 with ``align``; the paper's
        operators are fitted on all.
    keys_in_turn : int, default 1
        Batch keys that take turns, each with all its steps.
    seed : int, default 0
        Seed of the draws, from 0 to 2^63 - 1.
    correct_single_batch : bool, default False
        Rows of a single batch are smoothed too, as the paper would; else they stay as they are.
    sphering : str or None, default None
        Query for the controls by which all profiles are whitened after the correction.
    """

    n_neighbors: int = 5
    patience: int = 50
    stopping: str = None  # type: ignore[assignment]
    block_rows: int = None  # type: ignore[assignment]
    coverage_tol: float = 0.0
    max_rows: int | None = None
    n_components: int | None = 50
    max_scale_ratio: float | str | None = AUTO
    max_neighbors: int | None = None
    operator: str = ALIGN
    shared_populations: bool | str = AUTO
    strength: float = 1.0
    uncovered: str = None  # type: ignore[assignment]
    n_passes: int = None  # type: ignore[assignment]
    fit_rows: int | str = None  # type: ignore[assignment]
    keys_in_turn: int = 1
    seed: int = 0
    correct_single_batch: bool = False
    sphering: str | None = None

    def __post_init__(self) -> None:
        self._choice("operator", OPERATORS)
        aligns = self.operator == ALIGN
        for name, value in (ALIGN_DEFAULTS if aligns else DEFAULTS).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self._integer("n_neighbors", 1)
        self._integer("patience", 1)
        self._integer("block_rows", 1, 4096)
        self._integer("n_passes", 1)
        self._integer("keys_in_turn", 1)
        self._integer("seed", 0)
        if self.fit_rows != ALL:
            self._integer("fit_rows", 1, or_else="'all', or ")
        for name in ("max_rows", "n_components", "max_neighbors"):
            if getattr(self, name) is not None:
                self._integer(name, 1, or_else="None, or ")
        self._real("coverage_tol", 0.0, 1.0)
        ratio = self.max_scale_ratio
        if not (ratio is None or (isinstance(ratio, str) and ratio == AUTO)):
            self._real("max_scale_ratio", 1.0, math.inf, or_else="None, 'auto', or ")
        self._real("strength", 0.0, 1.0, closed=True)
        self._choice("stopping", STOPPING)
        self._choice("uncovered", UNCOVERED)
        if not (self.shared_populations is True or self.shared_populations == AUTO):
            self._refuse("shared_populations", "'auto' or True")
        if self.sphering is not None and not (isinstance(self.sphering, str) and self.sphering):
            self._refuse("sphering", "a query, or left out")
        if aligns and ratio not in (None, AUTO):
            self._refuse("max_scale_ratio", "left out with operator 'align', which asks the rows")
        if not aligns and self.uncovered == OFFSET:
            self._refuse("uncovered", f"nearest or keep with operator {self.operator!r}")
        if not aligns and self.fit_rows != ALL:
            self._refuse("fit_rows", f"left out with operator {self.operator!r}, fitted on all")
        if not aligns and self.shared_populations is True:
            self._refuse("shared_populations", f"left out with operator {self.operator!r}")

    @property
    def alignment(self) -> tuple[str, ...]:
        """What every pass that aligns batches does; all steps of a key come before the next key."""
        steps = (self.operator,) * self.n_passes
        if self.operator == ALIGN:
            steps = (LOCATION, SCALE, *(LOCAL,) * self.n_passes)
        return steps * self.keys_in_turn

    @property
    def steps(self) -> tuple[str, ...]:
        """What every pass does: those that align, then the sphering, if it is asked for."""
        return self.alignment if self.sphering is None else (*self.alignment, SPHERE)

    def fit_rows_of(self, sizes: Sequence[int]) -> int | None:
        """Return the most rows of a batch on which the correction is fitted; ``None`` for all.

        Parameters
        ----------
        sizes : sequence of int
            Rows of every batch: what small ones leave is for the others.
        """
        if isinstance(self.fit_rows, str):
            return None
        n_left = self.fit_rows
        for number, size in enumerate(sorted(sizes)):
            share = max(LEAST_FIT_ROWS, n_left // (len(sizes) - number))
            if size > share:
                return share
            n_left -= size
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return asdict(self)

    def _refuse(self, name: str, rule: str) -> None:
        raise InvalidInputError(f"{setting(name)} must be {rule}, got {getattr(self, name)!r}")

    def _integer(
        self, name: str, lowest: int, highest: int = LARGEST_INTEGER, or_else: str = ""
    ) -> None:
        value = getattr(self, name)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not (is_integer and lowest <= value <= highest):
            self._refuse(name, f"{or_else}a whole number from {lowest} to {highest}")

    def _real(
        self, name: str, lowest: float, highest: float, closed: bool = False, or_else: str = ""
    ) -> None:
        value = getattr(self, name)
        is_real = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_real and (lowest <= value < highest or (closed and value == highest))):
            upper = (
                ""
                if math.isinf(highest)
                else f" and {'at most' if closed else 'below'} {highest:g}"
            )
            self._refuse(name, f"{or_else}a number of at least {lowest:g}{upper}")

    def _choice(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            self._refuse(name, "one of " + ", ".join(choices))
