"""What people do to profiles before a correction, by plate and by feature.

The steps asked for are here, one record that is checked once.
"""

import math
from dataclasses import dataclass

from balans_dask.errors import InvalidInputError
from balans_dask.model.query import parse_query

__all__ = [
    "NORMALIZE",
    "RANK_INT",
    "RANK_INT_BY_PLATE",
    "SELECT",
    "TRANSFORM",
    "Preprocessing",
]

NORMALIZE = ("mad", "standardize")
RANK_INT = "rank-int"
RANK_INT_BY_PLATE = "rank-int-by-plate"
TRANSFORM = (RANK_INT, RANK_INT_BY_PLATE)
SELECT = ("missing", "flat", "variance", "frequency", "outliers", "correlation")


@dataclass(frozen=True)
class Preprocessing:
    """Steps before a correction, in the order in which they are done.

    Parameters
    ----------
    normalize : {"mad", "standardize"} or None
        Centre and scale by the controls of every plate: by median and median absolute deviation,
        or by mean and standard deviation.
    transform : {"rank-int", "rank-int-by-plate"} or None
        Normal quantiles of the ranks of a feature, among all rows or in every plate.
    select : tuple of str
        Features to drop: with ``missing`` or infinite values before or after normalising, ``flat``
        among the controls of some plate, of low ``variance``, of a low ``frequency`` of other
        values than one, with ``outliers`` (also infinite ones, or NaN), of high ``correlation``
        with another. In this order, whatever the order given.
    plate_keys : tuple of str
        Columns of ``obs`` that tell plates apart.
    controls : str or None
        Query for the rows by which a plate is scaled; ``None`` for all of its rows.
    epsilon : float
        Added to the deviation of ``mad``.
    min_variance, freq_cut, unique_cut, outlier_cutoff, correlation_threshold : float
        As pycytominer calls them, and with its defaults.

    Raises
    ------
    InvalidInputError
        If there is no step, a step is unknown, the query cannot be read, or a number is out of
        range.
    """

    normalize: str | None = None
    transform: str | None = None
    select: tuple[str, ...] = ()
    plate_keys: tuple[str, ...] = ()
    controls: str | None = None
    epsilon: float = 1e-18
    min_variance: float = 1e-6
    freq_cut: float = 0.05
    unique_cut: float = 0.01
    outlier_cutoff: float = 500.0
    correlation_threshold: float = 0.9

    def __post_init__(self) -> None:
        self._choice("normalize", self.normalize, NORMALIZE)
        self._choice("transform", self.transform, TRANSFORM)
        for name in self.select:
            self._choice("select", name, SELECT)
        if not (self.normalize or self.transform or self.select):
            raise InvalidInputError(
                "nothing to do: give at least one of --normalize, --transform and --select"
            )
        if self.needs_plates and not self.plate_keys:
            raise InvalidInputError(
                "plates are not known: name the column that tells them apart, as in --by "
                "Metadata_Plate"
            )
        if "flat" in self.select and self.normalize is None:
            raise InvalidInputError("select flat means nothing without --normalize: leave it out")
        if self.controls is not None:
            parse_query(self.controls)
        for name in ("epsilon", "min_variance", "outlier_cutoff"):
            self._number(name, math.inf)
        for name in ("freq_cut", "unique_cut", "correlation_threshold"):
            self._number(name, 1.0)

    @property
    def needs_plates(self) -> bool:
        """Whether a step looks at one plate after another."""
        return self.normalize is not None or self.transform == RANK_INT_BY_PLATE

    def _choice(self, what: str, name: str | None, choices: tuple[str, ...]) -> None:
        if name is not None and name not in choices:
            raise InvalidInputError(f"{what} {name!r} is unknown: choose of {', '.join(choices)}")

    def _number(self, name: str, highest: float) -> None:
        value = getattr(self, name)
        if not 0 <= value <= highest or value == math.inf:
            limit = "" if highest == math.inf else f" to {highest:g}"
            raise InvalidInputError(f"{name} must be a number from 0{limit}, got {value!r}")
