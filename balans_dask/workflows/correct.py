"""Whole runs from store to store, which any kill can interrupt and ``resume`` continues."""

from dataclasses import replace
from typing import Any

from balans_dask.errors import InvalidInputError
from balans_dask.io.in_place import GraftFolder
from balans_dask.io.model_store import model_fingerprint
from balans_dask.io.paths import require_apart
from balans_dask.io.places import place_of, reaching, require_writable, resolved
from balans_dask.io.run_folder import RunFolder, check_output, taken_by
from balans_dask.kernels._blas import single_threaded_blas
from balans_dask.model.frozen import Model, require_features
from balans_dask.model.inputs import components_of, examine, examine_values
from balans_dask.model.stages import EXAMINING, OnStage, Stage, following
from balans_dask.model.transform import known_to
from balans_dask.parameters import CHECKPOINT_SECONDS
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.workflows.records import fingerprint
from balans_dask.workflows.request import StoreRun
from balans_dask.workflows.resume import FitWriter, OpenedRun
from balans_dask.workflows.run import TransformWriter, WriteOptions

__all__ = ["correct_store", "transform_store"]


def correct_store(
    engine: Engine,
    run: StoreRun,
    plan: MemoryPlan,
    target: str,
    overwrite: bool = False,
    resume: bool = False,
    on_stage: OnStage = lambda stage: None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    model: str | None = None,
) -> dict[str, Any]:
    """Fit a store and correct it into a new one, or add the results to it.

    Parameters
    ----------
    engine : Engine
    run : StoreRun
    plan : MemoryPlan
    target : str
        Path of the new store, or of the store itself where ``run.into`` says so.
    overwrite : bool
        Replace a store that is there, once the new one is complete, and drop an unfinished run.
    resume : bool
        Continue an unfinished run of the same identity. Begins afresh if there is none, and
        changes nothing if the target is complete.
    on_stage : callable
        Told what the run is doing.
    checkpoint_seconds : float
        Least time between two checkpoints.
    model : str or None
        Save the frozen model at this path too.

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
    if model is not None and run.order:
        raise InvalidInputError(
            "a frozen model knows the batches of one pass like those of any other: leave out "
            "--model, or --batch-order"
        )
    inputs = (run.store.path,)
    folder = GraftFolder(target, run.elements, run.read) if run.into else RunFolder(target)
    # The model lies in none of these: the folder of the run moves as a whole when it is complete.
    taken = (*inputs, *taken_by(target))
    own = False

    def write(opened: OpenedRun) -> dict[str, Any]:
        replace_model = overwrite or own
        options = WriteOptions(opened.replace, checkpoint_seconds, model, replace_model, on_stage)
        states = opened.states(
            run.state_sizes(), components_of(run.parameters, run.inputs) is not None
        )
        return FitWriter(
            engine, run, plan, examined, opened.folder, opened.identity, options, states
        ).run()

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
        with following(engine, on_stage, _examining(plan), ("moments",)):
            examined = examine(engine, run.inputs, run.parameters, plan.tiling)
        run = replace(run, inputs=examined.held(run.inputs))
        identity = run.identity(examined)
        if model is not None:
            # A run killed between its model and its store finds the model that it has saved.
            own = resume and model_fingerprint(model) == fingerprint(identity)
            check_output(model, overwrite or own, taken)
        opened = OpenedRun(folder, identity, inputs, overwrite, resume)
        return opened.finish(write, model)


def transform_store(
    engine: Engine,
    run: StoreRun,
    model: Model,
    plan: MemoryPlan,
    target: str,
    overwrite: bool = False,
    resume: bool = False,
    on_stage: OnStage = lambda stage: None,
    model_path: str | None = None,
) -> dict[str, Any]:
    """Correct a store by a frozen model into a new one.

    Parameters
    ----------
    engine : Engine
    run : StoreRun
        With the parameters of the model.
    model : Model
    plan : MemoryPlan
    target, overwrite, resume, on_stage
        As ``correct_store`` takes them.
    model_path : str or None
        Where the model was read from, and where no output may be.

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
    inputs = (run.store.path,) if model_path is None else (run.store.path, model_path)
    numbered = known_to(model, run.inputs)

    def write(opened: OpenedRun) -> dict[str, Any]:
        options = WriteOptions(opened.replace, on_stage=on_stage)
        return TransformWriter(
            engine, run, numbered, plan, model, opened.folder, opened.identity, options
        ).run()

    engine.task_bytes = plan.task_bytes
    with single_threaded_blas():
        folder = RunFolder(target)
        with reaching(target):
            require_writable(folder.target)
        if not resume:
            folder.check(overwrite, inputs)
        run.try_writing(folder.target)
        with following(engine, on_stage, _examining(plan), ("moments",)):
            examined = examine_values(engine, run.inputs, plan.tiling)
        numbered = examined.held(numbered)
        identity = run.identity(examined) | {"model": model.record["fingerprint"]}
        opened = OpenedRun(folder, identity, inputs, overwrite, resume)
        return opened.finish(write)


def _examining(plan: MemoryPlan) -> Stage:
    return Stage(EXAMINING, n_total=plan.tiling.n_partitions)
