"""Pictures of a correction, for notebooks and scripts (needs the plot extra).

Every function returns a matplotlib figure. After ``%matplotlib inline`` a notebook shows the one
that a cell ends with; ``figure.savefig`` writes it to a file.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from balans_dask.report import require_plot

if TYPE_CHECKING:
    from balans_dask.report.maps import before_after_figure, map_figure
    from balans_dask.report.pareto import pareto_figure
    from balans_dask.report.run_figures import (
        contingency_figure,
        coverage_figure,
        displacement_figure,
        draws_figure,
        neighbours_figure,
        scales_figure,
        shares_figure,
    )

__all__ = [
    "before_after_figure",
    "contingency_figure",
    "coverage_figure",
    "displacement_figure",
    "draws_figure",
    "map_figure",
    "neighbours_figure",
    "pareto_figure",
    "scales_figure",
    "shares_figure",
]

_PLACES = {
    "before_after_figure": "maps",
    "contingency_figure": "run_figures",
    "coverage_figure": "run_figures",
    "displacement_figure": "run_figures",
    "draws_figure": "run_figures",
    "map_figure": "maps",
    "neighbours_figure": "run_figures",
    "pareto_figure": "pareto",
    "scales_figure": "run_figures",
    "shares_figure": "run_figures",
}


def __getattr__(name: str) -> Any:
    """Import what draws when it is asked for; without the plot extra, say so in a line."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_plot()
    return getattr(import_module(f"balans_dask.report.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
