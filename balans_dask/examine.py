"""One pass over the values of an input: refuse what cannot be corrected, warn of what is odd."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from balans_dask.errors import InvalidInputError, warn_of_input
from balans_dask.kernels.projection import Moments
from balans_dask.model.inputs import Inputs
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.projection import compute_moments
from balans_dask.tiling import Tiling

__all__ = ["Examined", "examine", "examine_values"]

NAMED = 5
"""Names that a message lists before it goes on with an ellipsis."""


@dataclass(frozen=True)
class Examined:
    """The values of the input, found usable.

    Attributes
    ----------
    features, scored : Moments
        Of the features, and of what the scores are made from (often the same).
    reference : Moments
        Of what the scores are made from, over the reference rows alone.
    """

    features: Moments
    scored: Moments
    reference: Moments

    def held(self, inputs: Inputs) -> Inputs:
        """Return what was examined, which may not change from now on.

        Raises
        ------
        InvalidInputError
            If chunks have gone meanwhile; and, of later reads, if rows are not as they were.
        """
        features, embedding = inputs.features.examined(self.features.checksums), None
        if inputs.embedding is not None:
            embedding = inputs.embedding.examined(self.scored.checksums)
        return inputs.moved(features, embedding)


def examine(engine: Engine, inputs: Inputs, parameters: Parameters, tiling: Tiling) -> Examined:
    """Read all values once; refuse what cannot be corrected and warn of what is odd.

    Raises
    ------
    InvalidInputError
        If values are NaN or infinite, or no feature varies.
    """
    examined = examine_values(engine, inputs, tiling)
    if inputs.reference is not None:
        reference = compute_moments(engine, tiling, inputs.scored, inputs.reference)
        examined = replace(examined, reference=reference)
    constant = examined.reference.constant
    if constant.all():
        where = "" if inputs.reference is None else " among the anchors"
        raise InvalidInputError(
            f"all {len(constant)} features are constant{where}: give at least one that varies"
        )
    _warn_of_oddities(examined.features, inputs, parameters)
    return examined


def examine_values(engine: Engine, inputs: Inputs, tiling: Tiling) -> Examined:
    """Read all values once; refuse what no model can correct.

    Raises
    ------
    InvalidInputError
        If values are NaN or infinite.
    """
    features = compute_moments(engine, tiling, inputs.features)
    _require_finite(features, inputs.feature_names)
    scored = features
    if inputs.embedding is not None:
        scored = compute_moments(engine, tiling, inputs.embedding)
        _require_finite(scored, [f"embedding column {i}" for i in range(len(scored.total))])
    return Examined(features, scored, scored)


def _require_finite(moments: Moments, names: Sequence[str]) -> None:
    bad = np.flatnonzero(moments.n_bad)
    if len(bad):
        listed = ", ".join(str(names[i]) for i in bad[:NAMED])
        more = ", ..." if len(bad) > NAMED else ""
        raise InvalidInputError(
            f"{moments.n_bad_rows} of {moments.n_rows} rows hold NaN or infinite values in "
            f"{len(bad)} features ({listed}{more}): drop or impute these features or rows"
        )


def _warn_of_oddities(features: Moments, inputs: Inputs, parameters: Parameters) -> None:
    n_constant = int(features.constant.sum())
    if n_constant:
        names = [str(inputs.feature_names[i]) for i in np.flatnonzero(features.constant)[:NAMED]]
        more = ", ..." if n_constant > NAMED else ""
        warn_of_input(
            f"{n_constant} of {len(features.constant)} features are constant "
            f"({', '.join(names)}{more}): they take no part in distances and stay as they are"
        )
    labels = inputs.labels
    if labels.n_batches == 1:
        warn_of_input(
            f"all {inputs.n_rows} rows are of one batch ({labels.names[0]}): nothing to align"
        )
    clamped = labels.clamped(parameters.n_neighbors)
    if clamped:
        more = ", ..." if len(clamped) > NAMED else ""
        warn_of_input(
            f"{len(clamped)} of {labels.n_batches} batches have at most {parameters.n_neighbors} "
            f"rows ({', '.join(clamped[:NAMED])}{more}): their local scale is the distance to "
            "their farthest row"
        )
