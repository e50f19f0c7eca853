"""The step after all others: profiles are whitened by the controls, in a fit and by a model."""

import numpy as np
from numpy.typing import NDArray

from balans_dask.model.pass_data import FittedOperator, PassData
from balans_dask.passes.engine import Engine
from balans_dask.passes.operators import map_fields
from balans_dask.passes.profiles import Landmarks
from balans_dask.passes.sphering import Sphering, learn_sphering
from balans_dask.passes.watch import SUMMING, Stage

__all__ = ["fit_sphering", "share_sphering"]


def fit_sphering(
    engine: Engine, prepared: PassData, constant_scored: NDArray[np.bool_]
) -> Sphering:
    """Find what whitens the rows, from the controls as the correction has left them.

    Parameters
    ----------
    constant_scored : ndarray of shape (n_columns,), bool
        Columns of a given embedding that hold a single value.

    Raises
    ------
    InvalidInputError
        If the controls do not vary in all directions.
    """
    scores, profiles, controls = prepared.scores, prepared.profiles, prepared.inputs.controls
    assert controls is not None  # who asks for a sphering names them
    constant = [profiles.constant]
    if profiles.embed_scores:
        constant.append(np.zeros(scores.projection.n_components, dtype=bool))
    elif profiles.embedding is not None:
        constant.append(constant_scored)
    n_tasks = 2 * len(scores.partitions)
    stage = Stage(SUMMING, number=prepared.pass_number, n_total=n_tasks)
    with engine.following(stage, ("control-means", "control-sums")):
        return learn_sphering(engine, scores, profiles, controls, constant)


def share_sphering(engine: Engine, prepared: PassData, sphering: Sphering) -> FittedOperator:
    """Hand a sphering to the workers: an operator without landmarks."""
    operator = map_fields(
        sphering.operator, lambda part: [engine.share("sphere", array) for array in part]
    )
    landmarks = Landmarks(
        np.empty(0, dtype=np.int64),
        engine.share("landmarks", []),
        [[] for _ in prepared.scores.partitions],
    )
    return FittedOperator(landmarks, operator, {}, {})
