"""The one loop over passes, for stores and arrays: what learns a pass, and what takes its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.projection import Projection
from balans_dask.labels import BatchLabels
from balans_dask.model.bounds import Sizes
from balans_dask.model.fit import (
    Fit,
    fit,
    fit_operator,
    fit_preprocessor,
    fit_sphering,
    share_sphering,
)
from balans_dask.model.frozen import FrozenPass, Model, freeze, model_of
from balans_dask.model.inputs import CheckedInput, Inputs
from balans_dask.model.pass_data import FittedOperator, PassData, Preprocessor, prepare
from balans_dask.model.sampler import SamplerState
from balans_dask.model.state import sampled_from
from balans_dask.model.transform import adapt_model
from balans_dask.parameters import ALIGN, SPHERE, Parameters
from balans_dask.passes.coverage import coverage_of_rows
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.sphering import Sphering
from balans_dask.passes.stage import PREPARING, Stage
from balans_dask.tiling import Partition
from balans_dask.workflows.records import sampling_record, texts
from balans_dask.workflows.resume import Checkpoints, State

__all__ = [
    "FitLearner",
    "FrozenLearner",
    "Job",
    "Learner",
    "Output",
    "run_passes",
    "with_sphering",
]


@dataclass(frozen=True)
class Job:
    """What all passes of a run share.

    Attributes
    ----------
    engine : Engine
    inputs : Inputs
        Of the first pass.
    parameters : Parameters
    plan : MemoryPlan
    order : tuple of BatchLabels
        Batches of every key, where the keys take turns; none where they are joint.
    at_once : bool
        Rows take all steps that align one after another, in one pass, as nothing is learned of them
        on the way.
    """

    engine: Engine
    inputs: Inputs
    parameters: Parameters
    plan: MemoryPlan
    order: tuple[BatchLabels, ...] = ()
    at_once: bool = False

    @property
    def turns(self) -> tuple[int, ...]:
        """Number of the first step of every pass over the rows."""
        n_aligned, n_steps = len(self.parameters.alignment), len(self.parameters.steps)
        return (0, *range(n_aligned, n_steps)) if self.at_once else tuple(range(n_steps))

    def steps_of(self, pass_number: int) -> range:
        """Return the numbers of the steps that rows take in a pass, by that of the first."""
        later = [turn for turn in self.turns if turn > pass_number]
        return range(pass_number, min(later, default=len(self.parameters.steps)))

    def labels_of(self, pass_number: int) -> BatchLabels:
        """Return the batches of a pass: every key has as many to align as any other."""
        n_aligned = len(self.parameters.alignment)
        if not self.order or pass_number == n_aligned:
            return self.inputs.labels
        return self.order[pass_number * len(self.order) // n_aligned]

    def state_sizes(self) -> list[Sizes]:
        """Return the lengths to which the saved state of every pass must fit."""
        of_data = {
            "n_rows": self.inputs.n_rows,
            "n_columns": self.inputs.scored.shape[1],
            "block_rows": self.parameters.block_rows,
        }
        passes = range(len(self.parameters.steps))
        return [{**of_data, "n_batches": self.labels_of(each).n_batches} for each in passes]

    def prepared(
        self,
        preprocessor: Preprocessor,
        pass_number: int,
        pass_input: Inputs,
        n_fitted: int | None = None,
    ) -> PassData:
        """Lay out the scores of a pass on the workers.

        Parameters
        ----------
        n_fitted : int or None
            Batches of the fit, where a model knows them; ``None`` where all of these are fitted.
        """
        pass_input = pass_input.numbered(self.labels_of(pass_number), pass_input.reference)
        prepared = prepare(
            self.engine,
            pass_input,
            self.parameters,
            self.plan,
            preprocessor,
            pass_number,
            self.inputs,
            self.steps_of(pass_number)[-1],
        )
        return prepared if n_fitted is None else replace(prepared, n_fitted=n_fitted)


class Learner(Protocol):
    """What an operator knows of every pass: fitted here, or frozen."""

    preprocessor: Preprocessor

    def begin(self, pass_number: int) -> None:
        """Make the preprocessor ready."""

    def knows(self, pass_number: int) -> bool:
        """Whether there is nothing to learn of a pass of which no row is missing."""

    def learn(self, pass_number: int, pass_input: Inputs) -> tuple[PassData, list[FittedOperator]]:
        """Learn the steps of a pass, from the rows as the pass before has left them."""

    def facts(self) -> list[dict[str, Any]]:
        """Say what a record holds of every pass that aligns; the last one tells of the sphering."""

    def is_landmark(self) -> NDArray[np.bool_]:
        """Tell which rows some pass has sampled."""


class Output(Protocol):
    """Where corrected rows go, pass after pass."""

    def begin(self, pass_number: int, preprocessor: Preprocessor) -> None:
        """Make room for the rows of a pass."""

    def missing(self) -> Sequence[Partition]:
        """Find the partitions of the pass that are wanted and not there."""

    def write(
        self,
        prepared: PassData,
        learned: Sequence[FittedOperator],
        missing: Sequence[Partition],
    ) -> None:
        """Correct these partitions."""

    def end(self) -> None:
        """See that the pass is complete."""

    def moved(self) -> Inputs:
        """Return the rows of the first pass as this one has left them."""


def run_passes(job: Job, learner: Learner, output: Output) -> None:
    """Learn and correct, pass after pass; what is there already stays.

    Parameters
    ----------
    learner : Learner
        A new fit, one that goes on from saved states, or a frozen model.
    output : Output
        A store, arrays, or lazy arrays.
    """
    pass_input = job.inputs
    for pass_number in job.turns:
        learner.begin(pass_number)
        output.begin(pass_number, learner.preprocessor)
        missing = output.missing()
        if missing or not learner.knows(pass_number):
            output.write(*learner.learn(pass_number, pass_input), missing)
        output.end()
        if pass_number != job.turns[-1]:
            pass_input = output.moved()
        job.engine.release()


@dataclass
class FitLearner:
    """Fit every pass.

    Attributes
    ----------
    job : Job
    examined : CheckedInput
    freezes : bool
        A model is wanted.
    checkpoints : Checkpoints or None
        Where states are saved, and read if the run is continued; ``None`` for arrays.
    notes_coverage : bool
        ``coverage`` is wanted.
    sampled : list of SamplerState
        Of every pass so far.
    coverage : ndarray of shape (n_rows,), float64
        By the landmarks of the last pass.
    frozen : list of FrozenPass
        Of every pass that aligns so far, where a model is wanted.
    sphering : Sphering or None
        What whitens the rows at the end, once that is known and if it is asked for.
    """

    job: Job
    examined: CheckedInput
    freezes: bool = False
    checkpoints: Checkpoints | None = None
    notes_coverage: bool = False
    sampled: list[SamplerState] = field(default_factory=list)
    coverage: NDArray[np.float64] = field(init=False)
    preprocessor: Preprocessor = field(init=False)
    frozen: list[FrozenPass] = field(default_factory=list)
    sphering: Sphering | None = None

    def begin(self, pass_number: int) -> None:
        """Fit the preprocessor before the first pass."""
        if pass_number:
            return
        job, state = self.job, self._state_of(0)
        if state is None:
            projection = fit_preprocessor(
                job.engine, job.inputs, job.parameters, job.plan, self.examined
            )
        else:
            job.engine.tell(Stage(PREPARING))
            projection = Projection.from_arrays(state)
        self.preprocessor = Preprocessor(projection, self.examined.features.constant)

    def knows(self, pass_number: int) -> bool:
        """Whether an interrupted run has sampled the pass, and nobody wants a model of it."""
        state = self._state_of(pass_number)
        if self.freezes or state is None or not str(state["stop_reason"]):
            return False
        sampled = sampled_from(state, self.job.parameters.block_rows)
        if self.job.parameters.operator == ALIGN and not sampled.facts:
            return False
        self.sampled.append(sampled)
        return True

    def learn(self, pass_number: int, pass_input: Inputs) -> tuple[PassData, list[FittedOperator]]:
        """Sample the landmarks, and sum over them."""
        engine = self.job.engine
        if pass_number:
            engine.tell(Stage(PREPARING, number=pass_number))
        prepared = self.job.prepared(self.preprocessor, pass_number, pass_input)
        if prepared.step == SPHERE:
            self.sphering = fit_sphering(engine, prepared, self.examined.scored.constant)
            return prepared, [share_sphering(engine, prepared, self.sphering)]
        fitted = self._fitted(prepared)
        self.sampled.append(fitted.sampled)
        if not self.freezes:
            # Only a model asks for it.
            engine.release(fitted.sampled.coverage)
        learned = fit_operator(engine, fitted)
        fitted.sampled.facts = learned.facts
        if self.checkpoints is not None and learned.facts:
            self.checkpoints.save(pass_number, self.preprocessor.projection, fitted.sampled)
        if self.freezes:
            self.frozen.append(freeze(engine, fitted, learned))
        if self.notes_coverage and pass_number + 1 == len(self.job.parameters.alignment):
            self.coverage = coverage_of_rows(engine, fitted.sampled.coverage)
        # The operator has what it needs of them.
        fitted.sampled.pieces, fitted.sampled.coverage = [], []
        return prepared, [learned]

    def facts(self) -> list[dict[str, Any]]:
        """Say what a record holds of every pass that aligns; the last one tells of the sphering."""
        labels = [self.job.labels_of(pass_number) for pass_number in range(len(self.sampled))]
        return with_sphering(
            [
                sampling_record(sampled, of_pass, self.preprocessor.projection)
                | ({"batches": texts(of_pass.names)} if self.job.order else {})
                for sampled, of_pass in zip(self.sampled, labels, strict=True)
            ],
            self.sphering,
        )

    def is_landmark(self) -> NDArray[np.bool_]:
        """Tell which rows some pass has sampled."""
        found = np.zeros(self.job.inputs.n_rows, dtype=bool)
        for sampled in self.sampled:
            found[sampled.rows] = True
        return found

    def model(self, record: Mapping[str, Any]) -> Model:
        """Join what all passes have left; ``record`` says where the model comes from."""
        return model_of(
            self.job.inputs,
            self.job.parameters,
            self.preprocessor,
            self.frozen,
            record,
            self.sphering,
        )

    def _state_of(self, pass_number: int) -> State | None:
        return None if self.checkpoints is None else self.checkpoints.state_of(pass_number)

    def _fitted(self, prepared: PassData) -> Fit:
        engine, pass_number = self.job.engine, prepared.pass_number
        if self.checkpoints is None:
            return fit(engine, prepared)
        with self.checkpoints.saving(pass_number, self.preprocessor.projection) as after_round:
            return fit(engine, prepared, self._state_of(pass_number), after_round)


class FrozenLearner:
    """Adapt a frozen model to the rows of a run.

    Parameters
    ----------
    job : Job
        With batches numbered by ``known_to``.
    """

    def __init__(self, job: Job, model: Model) -> None:
        self.preprocessor = model.preprocessor
        self._job = job
        self._model = model

    def begin(self, pass_number: int) -> None:
        """Say that the pass begins."""
        self._job.engine.tell(Stage(PREPARING, number=pass_number))

    def knows(self, pass_number: int) -> bool:
        """Whether there is nothing to learn: the model knows all passes."""
        return True

    def learn(self, pass_number: int, pass_input: Inputs) -> tuple[PassData, list[FittedOperator]]:
        """Give new batches their scales and displacements; the sphering is that of the fit."""
        model, job = self._model, self._job
        if job.parameters.steps[pass_number] == SPHERE:
            assert model.sphering is not None  # as its parameters say
            prepared = job.prepared(self.preprocessor, pass_number, pass_input, len(model.batches))
            return prepared, [share_sphering(job.engine, prepared, model.sphering)]
        steps = [model.passes[number] for number in job.steps_of(pass_number)]
        n_known = steps[0].n_batches
        prepared = job.prepared(self.preprocessor, pass_number, pass_input, n_known)
        return prepared, [adapt_model(job.engine, prepared, frozen, n_known) for frozen in steps]

    def facts(self) -> list[dict[str, Any]]:
        """Say what a record holds of every pass that aligns; the last one tells of the sphering."""
        return with_sphering(
            [
                {
                    "stop_reason": frozen.stop_reason,
                    "n_sampled": frozen.n_landmarks,
                    "n_capped": frozen.n_capped,
                    # A single batch was compared with none.
                    **(frozen.facts if len(self._model.batches) > 1 else {}),
                    "coverage_curve": {
                        "n_sampled": frozen.curve[:, 0],
                        "n_covered": frozen.curve[:, 1],
                    },
                }
                for frozen in self._model.passes
            ],
            self._model.sphering,
        )

    def is_landmark(self) -> NDArray[np.bool_]:
        """Tell which rows were sampled: none of these."""
        return np.zeros(self._job.inputs.n_rows, dtype=bool)


def with_sphering(facts: list[dict[str, Any]], sphering: Sphering | None) -> list[dict[str, Any]]:
    """Let the record of the last pass that aligns tell of the sphering after it."""
    if sphering is not None:
        facts[-1]["sphering"] = dict(sphering.facts)
    return facts
