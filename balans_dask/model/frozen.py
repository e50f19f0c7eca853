"""The frozen model: everything that correcting further rows takes, and none of the rows fitted."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, first_names
from balans_dask.io.tables.columns import describes_rows
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.operators import Nystrom, Operator
from balans_dask.labels import SPELLING, BatchLabels
from balans_dask.model.fit import Fit
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import FittedOperator, Preprocessor
from balans_dask.model.plan import ModelSizes
from balans_dask.parameters import Parameters
from balans_dask.passes.coverage import coverage_of_rows, covered_rows
from balans_dask.passes.engine import Engine
from balans_dask.passes.operators import map_fields
from balans_dask.passes.sphering import Sphering

__all__ = ["FrozenPass", "Model", "freeze", "model_of", "require_features"]

NAMED = 3
"""Feature names that an error lists."""


@dataclass(frozen=True)
class FrozenPass:
    """One pass of a fitted correction.

    Attributes
    ----------
    blocks : list of LandmarkBlock
        Coordinates, scale table and thresholds of the landmarks, in draw order.
    operator : Operator
        Of one array a field.
    targets : dict of str to ndarray
        What batches that the fit has not seen need. Of ``displace``, ``targets`` of shape
        (n_landmarks, n_columns), float64: where the batches near each landmark meet.
    curve : ndarray of shape (n_rounds, 3), int64
        Rows sampled, rows covered and all rows, after every round of the fit.
    stop_reason : str
    risk : float
        Share of further rows of the same kind that no landmark would cover, estimated on
        the rows of the fit by leaving each landmark out.
    """

    blocks: list[LandmarkBlock]
    operator: Operator
    targets: dict[str, NDArray[Any]]
    curve: NDArray[np.int64]
    stop_reason: str
    risk: float

    @property
    def n_landmarks(self) -> int:
        """Landmarks of all blocks."""
        return sum(block.n_landmarks for block in self.blocks)

    @property
    def n_batches(self) -> int:
        """Batches of the fit."""
        return int(self.blocks[0].scales.shape[1])

    @property
    def facts(self) -> dict[str, float]:
        """What ``align`` has learned of the batches: ``rho`` and ``kappa``."""
        shares = self.targets.get("shares")
        return {} if shares is None else {"rho": float(shares[0]), "kappa": float(shares[1])}

    @property
    def n_capped(self) -> int:
        """Landmarks with a scale beyond the guard's limit."""
        return sum(int(block.capped.sum()) for block in self.blocks)


@dataclass(frozen=True)
class Model:
    """A fitted correction.

    Attributes
    ----------
    parameters : Parameters
    preprocessor : Preprocessor
    feature_names : tuple of str
    n_rows : int or None
        Rows of the data set of the fit; ``None`` where they are those of every pass's curve.
    n_embedding : int or None
        Columns of the embedding in which distances are taken, where it stands beside the features.
    batches : tuple of str
        Names of the batches of the fit, in the order of the scale tables' columns.
    passes : list of FrozenPass
        Those that align.
    record : mapping
        Where the model comes from: batch keys, basis, fingerprint of the data, versions.
    sphering : Sphering or None
        What whitens the rows at the end, if the fit was asked for it.
    """

    parameters: Parameters
    preprocessor: Preprocessor
    feature_names: tuple[str, ...]
    n_rows: int | None
    n_embedding: int | None
    batches: tuple[str, ...]
    passes: list[FrozenPass]
    record: Mapping[str, Any]
    sphering: Sphering | None = None

    @property
    def n_landmarks(self) -> int:
        """Landmarks of the pass that has most."""
        return max(each.n_landmarks for each in self.passes)

    @property
    def sizes(self) -> ModelSizes:
        """What the plan of a transform takes."""
        return ModelSizes(self.n_landmarks, self.preprocessor.projection.n_components, self.batches)

    def require_keys(self, given: Sequence[str]) -> None:
        """Refuse other keys than those of the fit: every batch would be a new one.

        Parameters
        ----------
        given : sequence of str
            Names of columns, or places where there are none.
        """
        keys, given = tuple(self.record.get("batch_key") or ()), tuple(given)
        if len(given) != max(1, len(keys)):
            named = f" ({first_names(keys)})" if keys else ""
            raise InvalidInputError(
                f"the model was fitted on batches of {max(1, len(keys))} keys{named}, and batch "
                f"has {len(given)}: give the same keys"
            )
        if given != keys and sorted(given) == sorted(keys):
            raise InvalidInputError(
                f"the model was fitted on batches by {' and '.join(keys)}, and these are by "
                f"{' and '.join(given)}: give the keys in that order"
            )

    def places_of(self, labels: BatchLabels) -> list[int]:
        """Find batches among those of the fit; -1 for a new one.

        Raises
        ------
        InvalidInputError
            If an earlier version wrote the model and gave one name to several batches, one of which
            is asked for.
        """
        names: Sequence[Collection[str]] = [{name} for name in labels.names]
        if self.record.get("spelling") != SPELLING:
            names = labels.before
        codes: dict[str, list[int]] = {}
        for code, name in enumerate(self.batches):
            codes.setdefault(name, []).append(code)
        found = [[code for name in own for code in codes.get(name, [])] for own in names]
        claims = Counter(code for own in found for code in own)
        unclear = [
            labels.names[place]
            for place, own in enumerate(found)
            if len(own) > 1 or any(claims[code] > 1 for code in own)
        ]
        if unclear:
            raise InvalidInputError(
                f"the model is of an earlier version and has one name for several batches, and "
                f"{len(unclear)} of {labels.n_batches} batches bear it ({first_names(unclear)}): "
                "fit it again"
            )
        return [own[0] if own else -1 for own in found]

    @property
    def risk(self) -> float:
        """Share of further rows of the same kind that some pass would leave uncovered, at most."""
        return min(1.0, sum(each.risk for each in self.passes))


def model_of(
    inputs: Inputs,
    parameters: Parameters,
    preprocessor: Preprocessor,
    passes: list[FrozenPass],
    record: Mapping[str, Any],
    sphering: Sphering | None,
) -> Model:
    """Join what all passes of a fit have left.

    Parameters
    ----------
    inputs : Inputs
        Of the first pass.
    parameters, preprocessor, passes, record, sphering
        As ``Model`` holds them.
    """
    embedding = inputs.embedding
    return Model(
        parameters=parameters,
        preprocessor=preprocessor,
        feature_names=tuple(str(name) for name in inputs.feature_names),
        n_rows=inputs.n_rows,
        n_embedding=None if embedding is None else embedding.shape[1],
        batches=inputs.labels.names,
        passes=passes,
        record=record,
        sphering=sphering,
    )


def freeze(engine: Engine, fitted: Fit, learned: FittedOperator) -> FrozenPass:
    """Bring what one pass has learned to the driver."""
    sampled = fitted.sampled

    def whole(part: list[Any]) -> list[Any]:
        arrays = part if isinstance(part[0], np.ndarray) else engine.gather(part)
        return [arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)]

    return FrozenPass(
        blocks=list(sampled.blocks),
        operator=map_fields(learned.operator, whole),
        targets={name: whole(part)[0] for name, part in learned.targets.items()},
        curve=np.array(
            [(point.n_sampled, point.n_covered, point.n_rows) for point in sampled.curve]
        ),
        stop_reason=sampled.stop_reason,
        risk=_new_row_risk(engine, fitted, learned),
    )


def _new_row_risk(engine: Engine, fitted: Fit, learned: FittedOperator) -> float:
    """Estimate the share of further rows of the same kind that no landmark would cover.

    Leave-one-out: a landmark that no other one covers would be uncovered, had it not been drawn,
    like the rows that are.
    """
    sampled, scores = fitted.sampled, fitted.prepared.scores
    rows = np.sort(sampled.rows)
    # A_ii = 1: a landmark with no other neighbour among the landmarks has a coverage of just 1.
    alone = rows[coverage_of_rows(engine, sampled.coverage, rows) <= 1.0]
    n_uncovered, n_alone = scores.tiling.n_rows - sampled.n_covered, len(alone)
    if isinstance(learned.operator, Nystrom):
        covered = covered_rows(engine, scores, learned.landmarks, learned.operator)
        n_uncovered, n_alone = int((~covered).sum()), int(covered[alone].sum())
    return (n_uncovered + n_alone) / scores.tiling.n_rows


def require_features(model: Model, inputs: Inputs) -> None:
    """Refuse profiles of other features than those of the fit.

    Raises
    ------
    InvalidInputError
        With the first differences.
    """
    width = None if inputs.embedding is None else inputs.embedding.shape[1]
    if width != model.n_embedding:
        raise InvalidInputError(
            f"the basis has {width} columns, and {model.n_embedding} in the model: give the same "
            "embedding"
        )
    fitted, given = list(model.feature_names), [str(name) for name in inputs.feature_names]
    if fitted == given:
        return
    missing, extra = _without(fitted, given), _without(given, fitted)
    if not missing and not extra and len(fitted) == len(given):
        place = next(i for i, (a, b) in enumerate(zip(fitted, given, strict=True)) if a != b)
        raise InvalidInputError(
            f"the features stand in another order than in the model: {given[place]!r} is feature "
            f"{place}, where the model has {fitted[place]!r}; reorder them"
        )
    wrong = (
        f"the features are not those of the model: {len(missing)} of {len(fitted)} are missing"
        f"{_listed(missing)} and {len(extra)} of {len(given)} are unknown{_listed(extra)}"
    )
    descriptions = [name for name in missing if describes_rows(name)]
    if descriptions == missing and not extra:
        raise InvalidInputError(
            f"{wrong}; integers of such names describe rows: fit again without them "
            f"({first_names(descriptions, NAMED)}), or convert the table with --feature-prefix "
            "for every feature of the model ('' for all numbers)"
        )
    raise InvalidInputError(f"{wrong}; select the same features")


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def _listed(names: list[str]) -> str:
    return f" ({first_names(names, NAMED)})" if names else ""
