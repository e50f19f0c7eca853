"""The parameters of a correction: one frozen record, checked once."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from balans_dask.errors import InvalidInputError

__all__ = [
    "AUTO",
    "CHECKPOINT_SECONDS",
    "OPERATORS",
    "PATIENCE",
    "STOPPING",
    "UNCOVERED",
    "WORKER_TIMEOUT_SECONDS",
    "Parameters",
]

AUTO = "auto"
OPERATORS = ("smooth", "nystrom", "displace")
UNCOVERED = ("nearest", "keep")
PATIENCE = "patience"
STOPPING = (PATIENCE, AUTO)
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
    stopping : {"patience", "auto"}, default "patience"
        Stop by patience alone, as the paper does, or as soon as no population of a ten-thousandth
        of the rows is likely to be missed.
    block_rows : int, default 64
        Rows drawn before the coverage is updated; 1 is the paper's sequential loop.
    coverage_tol : float, default 0.0
        A row is idle if it covers at most this share of all rows anew.
    max_rows : int or None, default None
        Draw at most this many rows.
    n_components : int or None, default 50
        Principal components in which distances are taken; ``None``: the input is an embedding.
    max_scale_ratio : float, "auto" or None, default "auto"
        Limit of a row's local scales in units of its smallest, so that populations missing from a
        batch are not matched; ``"auto"`` takes it from the spread of the data, ``None`` is the
        paper.
    max_neighbors : int or None, default None
        A row of the affinity matrix keeps at most this many entries.
    operator : {"smooth", "nystrom", "displace"}, default "smooth"
        How the affinities correct the profiles.
    strength : float, default 1.0
        Share of the correction in the output, from 0 to 1; the rest is the input.
    uncovered : {"nearest", "keep"}, default "nearest"
        Rows that no landmark covers go to their nearest landmark, or stay as they are.
    n_passes : int, default 1
        Times that the correction is fitted and applied, each to what the one before has left.
    seed : int, default 0
        Seed of the draws, from 0 to 2^63 - 1.
    """

    n_neighbors: int = 5
    patience: int = 50
    stopping: str = PATIENCE
    block_rows: int = 64
    coverage_tol: float = 0.0
    max_rows: int | None = None
    n_components: int | None = 50
    max_scale_ratio: float | str | None = AUTO
    max_neighbors: int | None = None
    operator: str = "smooth"
    strength: float = 1.0
    uncovered: str = "nearest"
    n_passes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        self._integer("n_neighbors", 1)
        self._integer("patience", 1)
        self._integer("block_rows", 1, 4096)
        self._integer("n_passes", 1)
        self._integer("seed", 0)
        for name in ("max_rows", "n_components", "max_neighbors"):
            if getattr(self, name) is not None:
                self._integer(name, 1, or_else="None, or ")
        self._real("coverage_tol", 0.0, 1.0)
        ratio = self.max_scale_ratio
        if not (ratio is None or (isinstance(ratio, str) and ratio == AUTO)):
            self._real("max_scale_ratio", 1.0, math.inf, or_else="None, 'auto', or ")
        self._real("strength", 0.0, 1.0, closed=True)
        self._choice("operator", OPERATORS)
        self._choice("stopping", STOPPING)
        self._choice("uncovered", UNCOVERED)

    def as_dict(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return asdict(self)

    def _refuse(self, name: str, rule: str) -> None:
        raise InvalidInputError(f"{name} must be {rule}, got {getattr(self, name)!r}")

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
