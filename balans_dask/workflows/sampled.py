"""Fit on some rows of every batch; then let all rows take the steps that these have learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, setting
from balans_dask.kernels.coverage import fit_rows
from balans_dask.model.fit import fit_sphering, share_sphering
from balans_dask.model.frozen import FrozenPass, Model, model_of
from balans_dask.model.inputs import CheckedInput, Inputs
from balans_dask.model.pass_data import FittedOperator, PassData, Preprocessor
from balans_dask.parameters import ALL, SPHERE
from balans_dask.passes.projection import compute_moments
from balans_dask.passes.sphering import Sphering
from balans_dask.workflows.run import (
    FitLearner,
    FrozenLearner,
    Job,
    Output,
    run_passes,
    with_sphering,
)

__all__ = ["SampledLearner", "examined_rows", "job_of_rows", "rows_to_fit"]


def rows_to_fit(job: Job) -> NDArray[np.int64] | None:
    """Draw the rows on which a run is fitted, as many of every batch; ``None`` for all.

    Returns
    -------
    rows : ndarray of shape (n_fit_rows,), int64, or None
        In increasing order: the same for any chunks and workers.
    """
    inputs, sizes = job.inputs, job.inputs.fit_sizes(job.parameters)
    if sizes is None:
        return None
    return fit_rows(job.parameters.seed, inputs.labels.codes, inputs.reference, int(sizes.max()))


def job_of_rows(job: Job, rows: NDArray[np.int64], inputs: Inputs) -> Job:
    """Return the fit of some rows as a run of its own, which aligns and does not sphere.

    Parameters
    ----------
    rows : ndarray of shape (n_fit_rows,), int64
    inputs : Inputs
        These rows.
    """
    assert job.plan.of_fit is not None  # planned for these rows
    order = tuple(replace(labels, codes=labels.codes[rows]) for labels in job.order)
    parameters = replace(job.parameters, sphering=None)
    return Job(job.engine, inputs, parameters, job.plan.of_fit, order)


def examined_rows(job: Job, examined: CheckedInput) -> CheckedInput:
    """Return what all rows hold, and the moments of those of a job.

    Raises
    ------
    InvalidInputError
        If no feature varies among these.
    """
    moments = compute_moments(job.engine, job.plan.tiling, job.inputs.scored)
    if moments.constant.all():
        raise InvalidInputError(
            f"all {len(moments.constant)} features are constant among the {moments.n_rows} rows "
            f"that the fit has drawn: give {setting('fit_rows', ALL)}"
        )
    return replace(examined, reference=moments)


@dataclass
class SampledLearner:
    """Fit every step on some rows, before all rows take them.

    Attributes
    ----------
    job : Job
        Of all rows.
    fit : FitLearner
        Of those that are fitted.
    output : Output
        Where a step leaves these for the next one.
    rows : ndarray of shape (n_fit_rows,), int64
        Their numbers.
    examined : CheckedInput
    """

    job: Job
    fit: FitLearner
    output: Output
    rows: NDArray[np.int64]
    examined: CheckedInput
    sphering: Sphering | None = None
    preprocessor: Preprocessor = field(init=False)
    _frozen: FrozenLearner = field(init=False)

    def begin(self, pass_number: int) -> None:
        """Fit all steps before the first pass."""
        if pass_number == 0:
            run_passes(self.fit.job, self.fit, self.output)
            self.preprocessor = self.fit.preprocessor
            self._frozen = FrozenLearner(self.job, self.model({}))
        self._frozen.begin(pass_number)

    def knows(self, pass_number: int) -> bool:
        """Whether there is nothing to learn of a pass: the sphering asks all controls."""
        return self.job.parameters.steps[pass_number] != SPHERE

    def learn(self, pass_number: int, pass_input: Inputs) -> tuple[PassData, list[FittedOperator]]:
        """Hand out what was fitted; find what whitens all rows by all controls."""
        if self.job.parameters.steps[pass_number] != SPHERE:
            return self._frozen.learn(pass_number, pass_input)
        engine = self.job.engine
        prepared = self.job.prepared(self.preprocessor, pass_number, pass_input)
        self.sphering = fit_sphering(engine, prepared, self.examined.scored.constant)
        return prepared, [share_sphering(engine, prepared, self.sphering)]

    def facts(self) -> list[dict[str, Any]]:
        """Say what a record holds of every pass that aligns; the last one tells of the sphering."""
        of_rows = {"n_fit_rows": len(self.rows)}
        found = [
            facts | of_rows | {"sampled_rows": self.rows[facts["sampled_rows"]]}
            for facts in self.fit.facts()
        ]
        return with_sphering(found, self.sphering)

    def is_landmark(self) -> NDArray[np.bool_]:
        """Tell which rows some step has sampled."""
        found = np.zeros(self.job.inputs.n_rows, dtype=bool)
        found[self.rows[self.fit.is_landmark()]] = True
        return found

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Coverage by the landmarks of the last step; NaN of rows that were not fitted."""
        coverage = np.full(self.job.inputs.n_rows, np.nan)
        coverage[self.rows] = self.fit.coverage
        return coverage

    def model(self, record: Mapping[str, Any]) -> Model:
        """Join what all steps have left; landmarks have their numbers among all rows."""
        return model_of(
            self.job.inputs,
            self.job.parameters,
            self.preprocessor,
            [self._among_all(step) for step in self.fit.frozen],
            record,
            self.sphering,
        )

    def _among_all(self, step: FrozenPass) -> FrozenPass:
        blocks = [replace(block, rows=self.rows[block.rows]) for block in step.blocks]
        return replace(step, blocks=blocks)
