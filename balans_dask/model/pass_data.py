"""Data made ready for one pass of a correction: scores to measure in, profiles to move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.operators import Operator
from balans_dask.kernels.projection import Projection
from balans_dask.model.inputs import Inputs
from balans_dask.parameters import SPHERE, Parameters
from balans_dask.passes.correct import AppliedStep, RowSink, correct_rows
from balans_dask.passes.engine import Engine, Future
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.profiles import Landmarks, Profiles, output_dtype
from balans_dask.passes.scores import Scores
from balans_dask.tiling import Partition

__all__ = [
    "CorrectedArrays",
    "FittedOperator",
    "PassData",
    "Preprocessor",
    "applied_steps",
    "correct_pass",
    "prepare",
    "second_matrix",
]


@dataclass(frozen=True)
class Preprocessor:
    """What makes scores of profiles, and which profiles' features a correction leaves alone.

    Attributes
    ----------
    projection : Projection
    constant : ndarray of shape (n_features,), bool
        Features that held a single value in the fit, and stay exactly as they are.
    """

    projection: Projection
    constant: NDArray[np.bool_]


@dataclass(frozen=True)
class PassData:
    """The rows of one pass, as tasks see them.

    Attributes
    ----------
    inputs : Inputs
        The profiles as the pass before left them.
    parameters : Parameters
    plan : MemoryPlan
    scores : Scores
    profiles : Profiles
    pass_number : int
        0 for the first of ``len(parameters.steps)``.
    origin : Profiles or None
        The profiles before the first pass, where this is the last of several that align:
        displacement and strength count from there.
    n_fitted : int
        Batches of the fit: those of higher codes are new to a model.
    """

    inputs: Inputs
    parameters: Parameters
    plan: MemoryPlan
    scores: Scores
    profiles: Profiles
    pass_number: int
    origin: Profiles | None
    n_fitted: int

    @property
    def step(self) -> str:
        """What this pass does."""
        return self.parameters.steps[self.pass_number]

    @property
    def fitted_alone(self) -> bool:
        """Whether a single batch was fitted, which nothing is aligned to: it stays as it is."""
        return self.n_fitted == 1 and not self.parameters.correct_single_batch

    def strength_of(self, step_number: int) -> NDArray[np.float64]:
        """Share of the correction in what a step puts out, by batch: the last blends."""
        is_last = _aligns_last(self.parameters, step_number)
        strength = np.full(self.scores.n_batches, self.parameters.strength if is_last else 1.0)
        if is_last and self.fitted_alone:
            strength[0] = 0.0
        return strength


def prepare(
    engine: Engine,
    inputs: Inputs,
    parameters: Parameters,
    plan: MemoryPlan,
    preprocessor: Preprocessor,
    pass_number: int = 0,
    origin: Inputs | None = None,
    last_step: int | None = None,
) -> PassData:
    """Lay out the scores of one pass on the workers.

    Parameters
    ----------
    plan : MemoryPlan
        Made by ``plan_run``; decides where data waits, never what comes out.
    preprocessor : Preprocessor
        Fitted once, before the first pass.
    pass_number : int
        Of the pass.
    origin : Inputs or None
        Of the first pass.
    last_step : int or None
        Number of the last step that rows take in this pass; ``None`` if it is the only one.
    """
    labels = inputs.labels
    # Scores are put out with the last step that aligns: until then they are made of the features.
    embeds = (pass_number if last_step is None else last_step) + 1 >= len(parameters.alignment)
    draws = parameters.steps[pass_number] != SPHERE
    scores = Scores.load(
        engine,
        plan.tiling,
        inputs.scored,
        labels.codes,
        inputs.reference,
        labels.n_batches,
        preprocessor.projection,
        keep=plan.keep_scores,
        keep_products_of=parameters.block_rows if plan.keep_products and draws else None,
    )
    before = None
    if origin is not None and pass_number > 0 and _aligns_last(parameters, pass_number):
        before = _profiles(origin, preprocessor, embeds)
    profiles = _profiles(inputs, preprocessor, embeds)
    return PassData(
        inputs, parameters, plan, scores, profiles, pass_number, before, labels.n_batches
    )


def _aligns_last(parameters: Parameters, pass_number: int) -> bool:
    return pass_number + 1 == len(parameters.alignment)


def second_matrix(prepared: PassData) -> tuple[int, np.dtype[Any]] | None:
    """Columns and type of what is corrected beside the features; ``None`` if nothing is."""
    embedding = prepared.profiles.embedding
    if embedding is not None:
        return embedding.shape[1], output_dtype(embedding.dtype)
    if prepared.profiles.embed_scores:
        return prepared.scores.projection.n_components, np.dtype(np.float32)
    return None


def _profiles(inputs: Inputs, preprocessor: Preprocessor, embeds: bool) -> Profiles:
    embed_scores = embeds and preprocessor.projection.weights is not None
    return Profiles(inputs.features, preprocessor.constant, inputs.embedding, embed_scores)


@dataclass(frozen=True)
class FittedOperator:
    """What the operator knows of the landmarks, on the workers.

    Attributes
    ----------
    landmarks : Landmarks
    operator : Operator
        Of futures.
    targets : dict of str to list of Future or ndarray
        What batches that the fit has not seen need, cut by columns, for a frozen model.
    facts : dict of str to float
        What a record says of it.
    """

    landmarks: Landmarks
    operator: Operator
    targets: dict[str, list[Any]]
    facts: dict[str, float]


@dataclass(frozen=True)
class CorrectedArrays:
    """Rows as a pass has left them: numpy arrays, or Dask arrays that are not computed yet.

    Attributes
    ----------
    features : array of shape (n_rows, n_features)
    embedding : array of shape (n_rows, n_columns), or None
        The second matrix, if there is one and it was wanted.
    covered : array of shape (n_rows,), bool
        Rows that some landmark covers.
    displacement : array of shape (n_rows,), float32
        How far each row moved in the matrix in which distances were taken.
    """

    features: Any
    embedding: Any
    covered: Any
    displacement: Any


def applied_steps(prepared: PassData, learned: Sequence[FittedOperator]) -> list[AppliedStep]:
    """Return the steps that the rows of a pass take, from that of its number on."""
    return [
        AppliedStep(one.landmarks, one.operator, prepared.strength_of(number))
        for number, one in enumerate(learned, prepared.pass_number)
    ]


def correct_pass(
    engine: Engine,
    prepared: PassData,
    learned: Sequence[FittedOperator],
    sink: RowSink | None,
    partitions: Sequence[Partition] | None = None,
) -> list[Future]:
    """Correct the rows of one pass, one future of ``CorrectedRows`` a partition.

    Parameters
    ----------
    learned : sequence of FittedOperator
        Of the pass, and of those after it whose steps the rows take at once.
    sink : RowSink or None
        Where tasks write the rows; ``None`` to return them.
    partitions : sequence of Partition or None
        Those to correct; ``None`` for all.
    """
    return correct_rows(
        engine,
        prepared.scores,
        prepared.profiles,
        prepared.plan.tiling.partitions() if partitions is None else partitions,
        applied_steps(prepared, learned),
        prepared.parameters.uncovered,
        prepared.origin,
        sink,
    )
