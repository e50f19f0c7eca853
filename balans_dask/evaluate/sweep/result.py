"""What a sweep has found: scored settings, the Pareto front, the one to take, and their table."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from balans_dask.errors import public
from balans_dask.model.fit import UNCOVERED_SHARE, limited_landmarks
from balans_dask.parameters import ALIGN, PAPER, Parameters

__all__ = [
    "MIXING_SHARE",
    "RULE",
    "SIGNAL_KEPT",
    "SIGNAL_SHARE",
    "Point",
    "SweepResult",
    "choose",
    "options_of",
    "pareto_front",
    "sweep_lines",
]

SIGNAL_SHARE, MIXING_SHARE = 0.6, 0.4
SIGNAL_KEPT = 0.97
RULE = (
    f"the highest {SIGNAL_SHARE:g} signal + {MIXING_SHARE:g} mixing among the points, raw too, "
    f"whose signal is at least {SIGNAL_KEPT:g} of raw; of equal ones the first"
)
UNSAID = ("correct_single_batch", "keys_in_turn")
"""Parameters without an option."""
WORDS = {
    ("n_components", None): "0",
    ("max_scale_ratio", None): "none",
    ("shared_populations", True): "yes",
}
"""Values that an option spells otherwise."""
NOTHING = "-"
"""In the place of a parameter that an operator has not."""
COLUMNS = ("operator", "k", "cap", "patience", "max rows", "passes", "strength")


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
        """Choice by ``RULE``; its parameters are ``None`` if raw is best."""
        return choose(self.points)

    @property
    def command(self) -> str | None:
        """Command that makes the chosen correction; ``None`` if raw is best."""
        parameters = self.chosen.parameters
        if parameters is None:
            return None
        given = [public(self.store), "OUT.zarr", *self.options, *options_of(parameters)]
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


def options_of(parameters: Parameters) -> list[str]:
    """Say parameters as options of ``correct``: those not the default of their operator."""
    usual = Parameters(operator=parameters.operator).as_dict() | {"operator": Parameters.operator}
    given = parameters.as_dict()
    options = []
    if PAPER.items() <= given.items():
        options.append("--paper")
        usual |= PAPER
    for name, value in given.items():
        if name not in UNSAID and value != usual[name]:
            plain = WORDS.get((name, value), str(value))
            options += [f"--{name.replace('_', '-')}", plain]
    return options


def sweep_lines(result: SweepResult) -> Iterator[Any]:
    """Yield the table of all points and the choice.

    Parameters
    ----------
    result : SweepResult

    Yields
    ------
    line : object
        What to print.
    """
    yield _table(result)
    yield f"signal: {result.signal}"
    yield f"mixing: {result.mixing}"
    yield (
        f"scored {result.n_scored:,} of {result.n_rows:,} rows; {result.n_fits} fits instead of "
        f"{result.n_unshared} for {len(result.points) - 1} settings"
    )
    yield f"rule: {RULE}"
    if result.command is None:
        yield "choice: raw, do not correct"
    else:
        yield f"choice: {result.command}"
    yield f"why: {result.reason}"
    for caution in result.cautions:
        yield f"caution: {caution}"


def _table(result: SweepResult) -> Table:
    points, front, chosen = result.points, result.front, result.chosen
    settings = [_setting(point) for point in points]
    # Columns in which nothing is varied say nothing.
    values = [{s[i] for s in settings[1:]} - {NOTHING} for i, _ in enumerate(COLUMNS)]
    varied = [i for i, found in enumerate(values) if len(found) > 1 or i == 0]
    title = "signal against mixing; * on the Pareto front"
    # On a narrow terminal a value goes on in the next line: none is cut off.
    table = Table(title=title, title_justify="left", box=None, padding=(0, 0, 0, 1))
    for i in varied:
        table.add_column(COLUMNS[i], justify="right" if i else "left", overflow="fold")
    for name in ("landmarks", "signal", "mixing", "total", ""):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for point, setting in zip(points, settings, strict=True):
        mark = ("*" if point in front else "") + (" chosen" if point is chosen else "")
        scores = (f"{value:.3f}" for value in (point.signal, point.mixing, point.total))
        n_landmarks = f"{point.n_landmarks:,}" if point.parameters else ""
        table.add_row(*(setting[i] for i in varied), n_landmarks, *scores, mark)
    return table


def _setting(point: Point) -> tuple[str, ...]:
    p = point.parameters
    if p is None:
        return ("raw", *[""] * (len(COLUMNS) - 1))
    cap = NOTHING if p.operator == ALIGN else p.max_scale_ratio
    values = (p.n_neighbors, cap, p.patience, p.max_rows, p.n_passes)
    return (p.operator, *map(_plain, values), f"{p.strength:g}")


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
