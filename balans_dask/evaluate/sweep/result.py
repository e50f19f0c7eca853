"""What a sweep has found: scored settings, and the one to take."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from balans_dask.errors import public
from balans_dask.evaluate.choice import RULE, SIGNAL_KEPT, Point, choose, pareto_front
from balans_dask.model.fit import UNCOVERED_SHARE, limited_landmarks
from balans_dask.parameters import Parameters

__all__ = ["SweepResult"]


@dataclass(frozen=True)
class SweepResult:
    """Scored settings of a sweep.

    Attributes
    ----------
    store : str
        Path of what was corrected.
    points : list of Point
        Raw first.
    signal, mixing : str
        Definitions of the scores, in a line each.
    n_scored, n_rows : int
        Rows that were scored, of all rows.
    n_fits, n_unshared : int
        Fits that were made, and those that as many corrections one by one would make.
    options : sequence of str
        What all corrections have in common, as options of ``balans correct``.
    """

    store: str
    points: list[Point]
    signal: str
    mixing: str
    n_scored: int
    n_rows: int
    n_fits: int
    n_unshared: int
    options: Sequence[str]

    @property
    def front(self) -> list[Point]:
        """Points that no other one beats, by increasing mixing."""
        return pareto_front(self.points)

    @property
    def chosen(self) -> Point:
        """Choice by ``evaluate.choice.RULE``; its parameters are ``None`` if raw is best."""
        return choose(self.points)

    @property
    def command(self) -> str | None:
        """Command that makes the chosen correction; ``None`` if raw is best."""
        parameters = self.chosen.parameters
        if parameters is None:
            return None
        given = [public(self.store), "OUT.zarr", *self.options, *_options(parameters)]
        return shlex.join(["balans", "correct", *given])

    @property
    def reason(self) -> str:
        """What the choice gains, and how many settings lose too much signal to be it."""
        raw, chosen = self.points[0], self.chosen
        n_lost = sum(point.signal < SIGNAL_KEPT * raw.signal for point in self.points[1:])
        lost = f"{n_lost} of {len(self.points) - 1} settings keep too little of raw's signal"
        if chosen.parameters is None:
            return f"{lost}, and no other one has a higher total than raw's {raw.total:.3f}"
        return (
            f"signal {chosen.signal:.3f} against raw's {raw.signal:.3f}, mixing "
            f"{chosen.mixing:.3f} against {raw.mixing:.3f}; {lost}"
        )

    @property
    def cautions(self) -> list[str]:
        """What ``balans correct`` would warn of in the choice."""
        chosen, found = self.chosen, []
        # Rows far from all anchors are no surprise: they move as the nearest anchors do.
        if "--anchor" not in self.options and chosen.n_uncovered > UNCOVERED_SHARE * self.n_rows:
            found.append(
                f"{chosen.n_uncovered:,} of {self.n_rows:,} rows are covered by no landmark of the "
                "choice: raise --patience or --max-rows"
            )
        if limited := limited_landmarks(chosen.n_capped, chosen.n_landmarks):
            found.append(f"{limited}, here by --max-scale-ratio auto,none")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        front, chosen = self.front, self.chosen
        return {
            "store": public(self.store),
            "signal": self.signal,
            "mixing": self.mixing,
            "rows": {"scored": self.n_scored, "all": self.n_rows},
            "fits": {"made": self.n_fits, "unshared": self.n_unshared},
            "rule": RULE,
            "command": self.command,
            "reason": self.reason,
            "cautions": self.cautions,
            "points": [
                {
                    "parameters": None if p.parameters is None else p.parameters.as_dict(),
                    "signal": p.signal,
                    "mixing": p.mixing,
                    "total": p.total,
                    "n_landmarks": p.n_landmarks,
                    "n_uncovered": p.n_uncovered,
                    "n_capped": p.n_capped,
                    "front": p in front,
                    "chosen": p is chosen,
                }
                for p in self.points
            ],
        }


def _options(parameters: Parameters) -> list[str]:
    """Say parameters as options: those that are not the default."""
    given = parameters.as_dict()
    options = []
    for name, value in given.items():
        if value != getattr(Parameters, name):
            plain = {"n_components": "0", "max_scale_ratio": "none"}.get(name, "")
            options += [f"--{name.replace('_', '-')}", plain if value is None else str(value)]
    return options
