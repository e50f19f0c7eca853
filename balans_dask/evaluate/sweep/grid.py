"""The settings of a sweep."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import product

from balans_dask.errors import InvalidInputError
from balans_dask.parameters import AUTO, Parameters

__all__ = ["EVAL_ROWS", "Grid", "grouped"]

EVAL_ROWS = 20_000
"""Rows that are scored, unless there are fewer."""


@dataclass(frozen=True)
class Grid:
    """Values of every parameter that is varied; all combinations are tried.

    Parameters
    ----------
    operator, n_neighbors, max_scale_ratio, n_passes, strength : tuple
        As ``Parameters`` takes them, one or more of each.
    patience, max_rows : tuple
        Only one of the two may have several values: both say when sampling stops.
    """

    operator: tuple[str, ...] = ("smooth", "displace")
    n_neighbors: tuple[int, ...] = (3, 5, 10)
    max_scale_ratio: tuple[float | str | None, ...] = (AUTO,)
    patience: tuple[int, ...] = (Parameters.patience,)
    max_rows: tuple[int | None, ...] = (None,)
    n_passes: tuple[int, ...] = (1, 2)
    strength: tuple[float, ...] = (0.5, 1.0)

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name):
                raise InvalidInputError(
                    f"the grid has no value of {field.name}: give one or several, such as its "
                    "default"
                )
        if len(self.patience) > 1 and len(self.max_rows) > 1:
            raise InvalidInputError(
                "patience and max_rows both have several values: vary one of them, as both say "
                "when sampling stops"
            )

    def settings(self, base: Parameters) -> list[Parameters]:
        """Return all combinations, each once, in the order of the grid.

        Parameters
        ----------
        base : Parameters
            What is the same in all.

        Raises
        ------
        InvalidInputError
            If a value cannot be used.
        """
        names = [field.name for field in fields(self)]
        combinations = product(*(getattr(self, name) for name in names))
        return list(
            dict.fromkeys(
                replace(base, **dict(zip(names, values, strict=True))) for values in combinations
            )
        )


def grouped(settings: Iterable[Parameters], *ignored: str) -> list[list[Parameters]]:
    """Group settings that differ only in some parameters, in order of first appearance."""
    groups: dict[Parameters, list[Parameters]] = {}
    default = {name: getattr(Parameters, name) for name in ignored}
    for setting in settings:
        groups.setdefault(replace(setting, **default), []).append(setting)
    return list(groups.values())
