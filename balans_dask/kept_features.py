"""Features that a selection keeps, and by which rule the others went."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names, warn_of_input
from balans_dask.kernels.selection import ColumnFacts
from balans_dask.workflows.preprocess.steps import Preprocessing

__all__ = ["KeptFeatures"]


class KeptFeatures:
    """Features that are left.

    Parameters
    ----------
    names : sequence of str
        Of all features.
    steps : Preprocessing

    Attributes
    ----------
    places : ndarray of intp
        Of the features that are left, among all.
    dropped : dict of str to list of str
        Features that went, by rule.
    """

    def __init__(self, names: Sequence[str], steps: Preprocessing) -> None:
        self._names = list(names)
        self._steps = steps
        self.places = np.arange(len(self._names))
        self.dropped: dict[str, list[str]] = {}

    def drop(self, rule: str, unwanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Drop some of the features that are left; return the others of them.

        Parameters
        ----------
        rule : str
        unwanted : ndarray of bool
            For every feature that is left.

        Raises
        ------
        InvalidInputError
            If none is left then.
        """
        self.dropped[rule] = [*self.dropped.get(rule, ()), *self._named(unwanted)]
        self.places = self.places[~unwanted]
        if not len(self.places):
            counts = ", ".join(f"{name} {len(names)}" for name, names in self.dropped.items())
            raise InvalidInputError(
                f"no feature of {len(self._names)} is left after --select ({counts}): select by "
                "less"
            )
        return ~unwanted

    def drop_missing(self, n_bad: NDArray[np.int64], n_bad_rows: int, n_rows: int) -> None:
        """Drop features with NaN or infinite values, or refuse them.

        Raises
        ------
        InvalidInputError
        """
        bad = n_bad > 0
        if "missing" in self._steps.select:
            self.drop("missing", bad)
        elif bad.any():
            raise InvalidInputError(
                f"{n_bad_rows} of {n_rows} rows hold NaN or infinite values in {int(bad.sum())} "
                f"features ({first_names(self._named(bad))}): add missing to --select to drop "
                "these features"
            )

    def drop_uninformative(self, facts: ColumnFacts) -> NDArray[np.intp]:
        """Drop features that say too little by themselves.

        Parameters
        ----------
        facts : ColumnFacts
            Of the features that are left.

        Returns
        -------
        columns : ndarray of intp
            Those of the facts that stay.
        """
        steps = self._steps
        rules = {
            "missing": facts.bad,
            "flat": facts.flat,
            "variance": facts.variance <= steps.min_variance,
            "frequency": (facts.frequency_ratio < steps.freq_cut)
            | (facts.unique_ratio < steps.unique_cut),
            "outliers": facts.largest > steps.outlier_cutoff,
        }
        columns = np.arange(len(self.places))
        for name, unwanted in rules.items():
            if name in steps.select:
                columns = columns[self.drop(name, unwanted[columns])]
        bad = facts.bad[columns]
        if bad.any():
            n_nan, n_infinite = (int(n[columns].sum()) for n in (facts.n_nan, facts.n_infinite))
            remedy = ", or raise --epsilon" if steps.normalize == "mad" else ""
            warn_of_input(
                f"{int(bad.sum())} of {len(bad)} features hold {n_nan} NaN and {n_infinite} "
                f"infinite values after normalising ({first_names(self._named(bad))}): add missing "
                f"to --select to drop them{remedy}"
            )
        flat = facts.flat[columns] & ~bad
        if flat.any():
            warn_of_input(
                f"{int(flat.sum())} of {len(flat)} features do not vary among the controls of some "
                f"plate ({first_names(self._named(flat))}), where they may become huge: add flat "
                "to --select to drop them"
            )
        return columns

    def _named(self, chosen: NDArray[np.bool_]) -> list[str]:
        return [self._names[place] for place in self.places[chosen].tolist()]
