"""Whole runs from store to store, which any kill can interrupt and ``resume`` continues."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from balans_dask.errors import InvalidInputError
from balans_dask.io.in_place import InPlaceFolder
from balans_dask.io.model_store import model_fingerprint
from balans_dask.io.paths import require_apart
from balans_dask.io.places import place_of, reaching, require_writable, resolved
from balans_dask.io.run_folder import PassFolder, RunFolder, check_output, taken_by
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.model.frozen import Model, require_features
from balans_dask.model.inputs import (
    CheckedInput,
    check_input,
    check_values,
    components_of,
    examining,
)
from balans_dask.model.saved import save_model
from balans_dask.model.transform import number_batches, warn_of_uncovered
from balans_dask.parameters import CHECKPOINT_SECONDS
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.records import fingerprint, model_record
from balans_dask.workflows.request import CorrectionRequest
from balans_dask.workflows.resume import ResumableRun
from balans_dask.workflows.run import FitLearner, FrozenLearner, Job, run_passes
from balans_dask.workflows.sampled import (
    SampledLearner,
    examined_rows,
    job_of_rows,
    rows_to_fit,
)
from balans_dask.workflows.sharing import warn_of_fit
from balans_dask.workflows.store_output import StoreOutput, stored_rows

__all__ = ["WriteOptions", "correct_store", "transform_store"]


@dataclass(frozen=True)
class WriteOptions:
    """How a run writes; nothing of it changes what is written.

    Attributes
    ----------
    overwrite : bool
        Replace a store that is there, once the new one is complete, and drop an unfinished run.
    resume : bool
        Continue an unfinished run of the same identity. Begins afresh if there is none, and
        changes nothing if the target is complete.
    checkpoint_seconds : float
        Least time between two checkpoints.
    model : str or None
        A fit saves its frozen model here too. A transform has read it here, where no output may be.
    """

    overwrite: bool = False
    resume: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    model: str | None = None


DEFAULT_OPTIONS = WriteOptions()


def correct_store(
    engine: Engine,
    run: CorrectionRequest,
    plan: MemoryPlan,
    target: str | RunFolder,
    options: WriteOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Fit a store and correct it into a new one, or add the results to it.

    Parameters
    ----------
    engine : Engine
        Whose listener is told what the run is doing.
    target : str or RunFolder
        Path of the new store, or of the store itself where ``run.into`` says so, or the folder in
        which the output grows.

    Returns
    -------
    record : dict
        What the new store says about its correction, as ``correction_record`` reads it.

    Raises
    ------
    InvalidInputError
        If the values cannot be corrected, the unfinished run is another one, or a model is asked
        of keys that take turns.
    StoreExistsError
        If the target exists, or an unfinished run is there that is not to be continued.
    """
    overwrite, resume, model = options.overwrite, options.resume, options.model
    if model is not None and run.order:
        raise InvalidInputError(
            "a frozen model knows the batches of one pass like those of any other: leave out "
            "--model, or --batch-order"
        )
    inputs = (run.store.path,)
    folder = _folder_of(target)
    target = folder.given
    if run.into:
        folder = InPlaceFolder(target, run.elements, run.read)
    # The model lies in none of these: the folder of the run moves as a whole when it is complete.
    taken = (*inputs, *taken_by(target))
    own = False
    engine.task_bytes = plan.task_bytes
    with single_threaded_blas():
        if model is not None:
            require_apart(model, taken)
        for path in filter(None, (target, model)):
            with reaching(path):
                require_writable(resolved(place_of(path)))
        if model is not None:
            RunFolder(model).require_droppable(overwrite)
        run.try_writing(folder.target)
        if not resume:
            folder.check(overwrite, inputs)
            if model is not None:
                check_output(model, overwrite, taken)
        with engine.following(examining(plan), ("moments",)):
            examined = check_input(engine, run.inputs, run.parameters, plan.tiling)
        run = replace(run, inputs=examined.held(run.inputs))
        identity = run.identity(examined)
        if model is not None:
            # A run killed between its model and its store finds the model that it has saved.
            own = resume and model_fingerprint(model) == fingerprint(identity)
            check_output(model, overwrite or own, taken)
        resumable = ResumableRun(folder, identity, inputs, overwrite, resume)
        with resumable.held(model) as done:
            if done is not None:
                return done
            learner, output = _planned(engine, run, plan, examined, resumable, options)
            run_passes(output.job, learner, output)
            record, _ = output.finish(learner, folder)
            warn_of_fit(record, run.inputs.labels, run.is_told, run.controls_to_name)
            if model is not None:
                save_model(learner.model(model_record(identity)), model, overwrite or own)
            folder.publish(resumable.replace)
            return record


def _folder_of(target: str | RunFolder) -> RunFolder:
    return target if isinstance(target, RunFolder) else RunFolder(target)


def _planned(
    engine: Engine,
    run: CorrectionRequest,
    plan: MemoryPlan,
    examined: CheckedInput,
    resumable: ResumableRun,
    options: WriteOptions,
) -> tuple[FitLearner | SampledLearner, StoreOutput]:
    """Say what learns a run, and where its rows go: fitted on all of them, or on some."""
    job = Job(engine, run.inputs, run.parameters, plan, run.order)
    folder, identity = resumable.folder, resumable.identity
    weighted = components_of(run.parameters, run.inputs) is not None

    def learner_of(
        fitted: Job, folders: Sequence[PassFolder], examined: CheckedInput, freezes: bool
    ) -> FitLearner:
        checkpoints = resumable.checkpoints(
            folders, fitted.state_sizes(), weighted, options.checkpoint_seconds
        )
        return FitLearner(fitted, examined, freezes, checkpoints)

    rows = rows_to_fit(job)
    if rows is None:
        folders = folder.passes(len(job.turns))
        learner = learner_of(job, folders, examined, options.model is not None)
        return learner, StoreOutput(job, run, folders, identity)
    job = replace(job, at_once=plan.at_once and not run.order)
    n_steps = len(run.parameters.alignment)
    copied, *folders = folder.passes(1 + n_steps + len(job.turns))
    of_fit = {**identity, "rows": "of the fit"}
    inputs = stored_rows(job, run, copied, fingerprint(of_fit), rows)
    fitted = job_of_rows(job, rows, inputs)
    fit = learner_of(fitted, folders[:n_steps], examined_rows(fitted, examined), True)
    left = StoreOutput(fitted, run, folders[:n_steps], of_fit, wanted=False)
    return (
        SampledLearner(job, fit, left, rows, examined),
        StoreOutput(job, run, folders[n_steps:], identity),
    )


def transform_store(
    engine: Engine,
    run: CorrectionRequest,
    model: Model,
    plan: MemoryPlan,
    target: str | RunFolder,
    options: WriteOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Correct a store by a frozen model into a new one.

    Parameters
    ----------
    engine : Engine
        Whose listener is told what the run is doing.
    run : CorrectionRequest
        With the parameters of the model.
    target : str or RunFolder
        Path of the new store, or the folder in which the output grows.

    Returns
    -------
    record : dict
        What the new store says about its correction.

    Raises
    ------
    InvalidInputError
        If features or values do not fit the model.
    StoreExistsError
        If the target exists, or an unfinished run is there that is not to be continued.
    """
    require_features(model, run.inputs)
    inputs = tuple(filter(None, (run.store.path, options.model)))
    numbered = number_batches(model, run.inputs)
    engine.task_bytes = plan.task_bytes
    with single_threaded_blas():
        folder = _folder_of(target)
        with reaching(folder.given):
            require_writable(folder.target)
        if not options.resume:
            folder.check(options.overwrite, inputs)
        run.try_writing(folder.target)
        with engine.following(examining(plan), ("moments",)):
            examined = check_values(engine, run.inputs, plan.tiling)
        numbered = examined.held(numbered)
        identity = run.identity(examined) | {"model": model.record["fingerprint"]}
        resumable = ResumableRun(folder, identity, inputs, options.overwrite, options.resume)
        with resumable.held() as done:
            if done is not None:
                return done
            job = Job(engine, numbered, run.parameters, plan, at_once=plan.at_once)
            learner = FrozenLearner(job, model)
            output = StoreOutput(job, run, folder.passes(len(job.turns)), identity)
            run_passes(job, learner, output)
            record, covered = output.finish(learner, folder)
            warn_of_uncovered(int(np.count_nonzero(~covered)), len(covered), model.risk)
            folder.publish(resumable.replace)
            return record
