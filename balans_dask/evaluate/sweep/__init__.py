"""A grid of settings, each scored on a sample of rows.

The settings themselves are here, so that the command line knows them without the scores.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from balans_dask.errors import InvalidInputError
from balans_dask.parameters import ALIGN, AUTO, OPERATORS, Parameters

__all__ = ["EVAL_ROWS", "Grid", "grouped"]

EVAL_ROWS = 20_000
"""Rows that are scored, unless there are fewer."""
OF_OPERATOR = ("stopping", "uncovered", "fit_rows")
"""Parameters whose default is another one with ``align``; the grid varies a fourth."""


@dataclass(frozen=True)
class Grid:
    """Values of every parameter that is varied; all combinations are tried.

    Parameters
    ----------
    operator, n_neighbors, max_scale_ratio, n_passes, strength : tuple
        As ``Parameters`` takes them, one or more of each; ``align`` has no limit on scales, and its
        passes are its local steps.
    patience, max_rows : tuple
        Only one of the two may have several values: both say when sampling stops.
    """

    operator: tuple[str, ...] = OPERATORS
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
            What is the same in all; but what is the default of its operator is the default of every
            operator, and ``shared_populations`` says something to ``align`` alone.

        Raises
        ------
        InvalidInputError
            If a value cannot be used.
        """
        names = [field.name for field in fields(self)]
        combinations = product(*(getattr(self, name) for name in names))
        return list(
            dict.fromkeys(
                _setting(base, dict(zip(names, values, strict=True))) for values in combinations
            )
        )


def _setting(base: Parameters, varied: dict[str, Any]) -> Parameters:
    usual = Parameters(operator=base.operator)
    of_operator: dict[str, Any] = {
        name: None for name in OF_OPERATOR if getattr(base, name) == getattr(usual, name)
    }
    if varied["operator"] == ALIGN:
        of_operator["max_scale_ratio"] = AUTO
        return replace(base, **(varied | of_operator))
    return replace(base, **(varied | of_operator | {"shared_populations": AUTO}))


def grouped(settings: Iterable[Parameters], *ignored: str) -> list[list[Parameters]]:
    """Group settings that differ only in some parameters, in order of first appearance.

    Settings of ``align``, whose landmarks have no limits, are never in a group with others.
    """
    groups: dict[tuple[Any, ...], list[Parameters]] = {}
    for setting in settings:
        held = [value for name, value in setting.as_dict().items() if name not in ignored]
        groups.setdefault((setting.operator == ALIGN, *held), []).append(setting)
    return list(groups.values())
