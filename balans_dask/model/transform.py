"""A frozen model meets further rows: batches that it does not know get scales and displacements."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from balans_dask.errors import InvalidInputError, first_names, warn_of_input
from balans_dask.kernels.landmarks import LandmarkBlock
from balans_dask.kernels.operators import Affine, Displace, Operator
from balans_dask.labels import BatchLabels
from balans_dask.model.frozen import FrozenPass, Model
from balans_dask.model.inputs import Inputs
from balans_dask.model.pass_data import FittedOperator, PassData
from balans_dask.parameters import ALIGN, Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.new_batches import adapt_align
from balans_dask.passes.operators import map_fields, with_new_batches
from balans_dask.passes.profiles import Landmarks
from balans_dask.passes.round import affinity_rows_again, new_scales

__all__ = ["adapt_model", "number_batches", "warn_of_uncovered"]

WORTH_A_WARNING = 0.01
BEYOND_EXPECTATION = 2.0
"""A refit is due when more rows are uncovered than 1 in 100, and clearly more than twice what the
model's own rows lead to expect. Twice: leaving out one plate of real screens in turn, the share was
at most 1.3 times the expected one where the plates held the same compounds, and 2 to 14 times where
a week brought compounds of its own (CPJUMP1, BBBC021)."""


def number_batches(model: Model, inputs: Inputs) -> Inputs:
    """Give batches the model's numbers, and new ones further numbers; their rows are references.

    Parameters
    ----------
    inputs : Inputs
        With labels, and references, of their own.

    Raises
    ------
    InvalidInputError
        If a new batch has no reference row, anchors are given to a model fitted without, or one
        name of the model is that of several batches.
    """
    _require_fitted_on_anchors(model, inputs)
    labels = inputs.labels
    places = model.places_of(labels)
    new = [name for name, place in zip(labels.names, places, strict=True) if place < 0]
    names = (*model.batches, *new)
    further = count(len(model.batches))
    kind = np.min_scalar_type(len(names) - 1)
    numbers = np.array([next(further) if place < 0 else place for place in places], dtype=kind)
    codes = numbers[labels.codes]
    sizes = np.bincount(codes, minlength=len(names))
    reference = codes >= len(model.batches)
    if inputs.reference is not None:
        reference &= inputs.reference
    elif new and model.record.get("anchor"):
        raise InvalidInputError(
            f"the model was fitted on anchors ({model.record['anchor']}), and {len(new)} batches "
            "are new: say which rows are anchors"
        )
    n_references = np.bincount(codes[reference], minlength=len(names))
    _require_references(names, n_references, len(new))
    row = "row" if inputs.reference is None else "anchor row"
    _warn_of_small(names, n_references, len(new), model.parameters, row)
    return inputs.numbered(BatchLabels(codes, names, sizes), reference)


def adapt_model(
    engine: Engine, prepared: PassData, frozen: FrozenPass, n_known: int
) -> FittedOperator:
    """Let one pass of a model correct the rows of a new data set.

    Parameters
    ----------
    prepared : PassData
        With batches numbered by ``known_to``.
    n_known : int
        Batches of the model.
    """
    scores = prepared.scores
    n_new = scores.n_batches - n_known
    blocks = _scaled_blocks(engine, prepared, frozen, n_known)
    landmarks = Landmarks(
        np.concatenate([block.rows for block in blocks]),
        engine.share("landmarks", blocks),
        [[None] * len(blocks) for _ in scores.partitions],
    )
    if n_new and isinstance(frozen.operator, Affine | Displace):
        free_bytes = prepared.plan.piece_bytes
        kept = affinity_rows_again(engine, scores, landmarks.table, len(blocks), free_bytes)
        landmarks = replace(landmarks, pieces=[[piece] for piece in kept])
        operator = _with_new_batches(engine, prepared, frozen, landmarks, n_known)
    else:
        operator = map_fields(
            frozen.operator, lambda part: [engine.share("operator", array) for array in part]
        )
    return FittedOperator(landmarks, operator, {}, {})


def _with_new_batches(
    engine: Engine, prepared: PassData, frozen: FrozenPass, landmarks: Landmarks, n_known: int
) -> Operator:
    scores, profiles = prepared.scores, prepared.profiles
    if prepared.parameters.operator == ALIGN:
        codes = prepared.inputs.labels.codes[prepared.inputs.reference]
        n_references = np.bincount(codes, minlength=scores.n_batches)[n_known:]
        return adapt_align(
            engine,
            prepared.step,
            frozen.operator,
            frozen.targets,
            scores,
            profiles,
            landmarks,
            n_known,
            prepared.parameters.shared_populations is True,
            n_references <= prepared.parameters.n_neighbors,
        )
    assert isinstance(frozen.operator, Displace)  # nothing else moves batches one by one
    return with_new_batches(
        engine, frozen.operator, frozen.targets["targets"], scores, profiles, landmarks, n_known
    )


def warn_of_uncovered(n_uncovered: int, n_rows: int, risk: float) -> None:
    """Say when so many rows are far from all landmarks that the model should be fitted again.

    Parameters
    ----------
    risk : float
        Share that the model's own rows lead to expect.
    """
    share = n_uncovered / n_rows
    expected = BEYOND_EXPECTATION * risk * n_rows
    # Three standard deviations above: among few rows, one or two are no evidence.
    if share > WORTH_A_WARNING and n_uncovered > expected + 3.0 * math.sqrt(expected):
        warn_of_input(
            f"{n_uncovered} of {n_rows} rows ({share:.1%}; {risk:.1%} was to be expected) are "
            "covered by no landmark of the model: fit again with these rows"
        )


def _scaled_blocks(
    engine: Engine, prepared: PassData, frozen: FrozenPass, n_known: int
) -> list[LandmarkBlock]:
    none = [np.empty((block.n_landmarks, 0)) for block in frozen.blocks]
    scales = none
    if prepared.scores.n_batches > n_known:
        strangers = [
            block.for_new_rows(empty) for block, empty in zip(frozen.blocks, none, strict=True)
        ]
        n_neighbors = min(prepared.parameters.n_neighbors, prepared.scores.largest_batch)
        ratio = prepared.parameters.max_scale_ratio
        scales = new_scales(engine, prepared.scores, strangers, n_neighbors, ratio, n_known)
    return [block.for_new_rows(of) for block, of in zip(frozen.blocks, scales, strict=True)]


def _require_fitted_on_anchors(model: Model, inputs: Inputs) -> None:
    """Refuse anchors of new batches where the model knows where all rows meet, not anchors."""
    if inputs.reference is not None and not model.record.get("anchor"):
        raise InvalidInputError(
            f"the model was fitted with operator {model.parameters.operator!r} on all rows, with "
            "which anchors alone cannot be compared: leave the anchors out, or fit 'align' or "
            "'displace' on anchors"
        )


def _require_references(names: Sequence[str], n_references: np.ndarray, n_new: int) -> None:
    without = [
        names[code]
        for code in np.flatnonzero(n_references == 0).tolist()
        if code >= len(names) - n_new
    ]
    if without:
        raise InvalidInputError(
            f"{len(without)} of {n_new} new batches have no anchor row "
            f"({first_names(without)}): anchor rows are needed in every batch"
        )


def _warn_of_small(
    names: Sequence[str], n_references: np.ndarray, n_new: int, parameters: Parameters, row: str
) -> None:
    n_neighbors, aligns = parameters.n_neighbors, parameters.operator == ALIGN
    few = n_neighbors if aligns else n_neighbors - 1
    counted = list(zip(names, n_references, strict=True))
    small = [name for name, n_rows in counted[-n_new:] if n_rows <= few]
    if not (n_new and small):
        return
    said = f"{len(small)} of {n_new} new batches have"
    if aligns:
        warn_of_input(
            f"{said} at most {n_neighbors} {row}s ({first_names(small)}): they move as a whole, "
            "too few for a scale or moves of their own near each landmark"
        )
    else:
        warn_of_input(
            f"{said} fewer than {n_neighbors} {row}s ({first_names(small)}): their local scale is "
            f"the distance to their farthest {row}"
        )
