"""A whole run from store to store, which any kill can interrupt and ``resume`` continues."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, StoreExistsError, warn_of_input
from balans_dask.examine import examine
from balans_dask.fitting import OnStage
from balans_dask.io.checkpoint import read_state
from balans_dask.io.paths import is_store
from balans_dask.io.run_folder import RunFolder, check_output
from balans_dask.io.store import open_store
from balans_dask.memory import MemoryPlan
from balans_dask.passes.blas import single_threaded_blas
from balans_dask.passes.engine import Engine
from balans_dask.provenance import correction_record, differences, fingerprint
from balans_dask.state import is_sound
from balans_dask.store_run import StoreRun
from balans_dask.writing import CHECKPOINT_SECONDS, StoreWriter

__all__ = ["correct_store"]


def correct_store(
    engine: Engine,
    run: StoreRun,
    plan: MemoryPlan,
    target: str,
    overwrite: bool = False,
    resume: bool = False,
    on_stage: OnStage = lambda stage: None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> dict[str, Any]:
    """Correct a store into a new one.

    Parameters
    ----------
    engine : Engine
    run : StoreRun
    plan : MemoryPlan
    target : str
        Path of the new store.
    overwrite : bool
        Replace a store that is there, once the new one is complete, and drop an unfinished run.
    resume : bool
        Continue an unfinished run of the same identity. Begins afresh if there is none, and
        changes nothing if the target is complete.
    on_stage : callable
        Told what the run is doing.
    checkpoint_seconds : float
        Least time between two checkpoints.

    Returns
    -------
    record : dict
        What the new store says about its correction, as ``correction_record`` reads it.

    Raises
    ------
    InvalidInputError
        If the values cannot be corrected, or the unfinished run is another one.
    StoreExistsError
        If the target exists, or an unfinished run is there that is not to be continued.
    """
    folder = RunFolder(target)
    inputs = (run.store.path,)
    if not resume:
        check_output(target, overwrite, inputs)
    engine.task_bytes = plan.task_bytes
    with single_threaded_blas():
        examined = examine(engine, run.inputs, run.parameters, plan.tiling)
        identity = run.identity(examined)
        # Looked at again under the lock: another run may have finished meanwhile.
        with folder.held():
            replace = overwrite or (resume and folder.replaces)
            record = _record_of_same(target, identity) if resume else None
            if record is not None:
                folder.discard_remains()
                return record
            check_output(target, replace, inputs)
            state = _resumed_state(folder, identity, replace, resume, run.inputs.n_rows)
            writer = StoreWriter(
                engine, run, plan, examined, folder, identity, replace, checkpoint_seconds
            )
            return writer.run(state, on_stage)


def _record_of_same(target: str, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the record of a store that this very run would make; ``None`` for any other."""
    if not is_store(target):
        return None
    record = correction_record(open_store(target))
    return record if record and record.get("fingerprint") == fingerprint(identity) else None


def _resumed_state(
    folder: RunFolder, identity: Mapping[str, Any], replace: bool, resume: bool, n_rows: int
) -> dict[str, NDArray[Any]] | None:
    """Prepare the folder, and return the state of the run that is continued, if one is."""
    found = folder.record() if folder.begun else None
    if found is not None and not resume and not replace:
        raise StoreExistsError(
            f"{folder.path} holds an unfinished run: add --resume to continue it, or --overwrite "
            "to begin afresh"
        )
    if found is not None and resume:
        different = differences(found["identity"], identity)
        if different:
            raise InvalidInputError(
                f"{folder.path} holds an unfinished run of other input ({'; '.join(different)}): "
                "run it as it was, or begin afresh with --overwrite"
            )
        state = read_state(folder.checkpoint)
        if state is not None and is_sound(state, n_rows):
            return state
        if folder.checkpoint.exists():
            warn_of_input(f"{folder.checkpoint} is damaged: the rows are sampled anew")
        return None
    if resume and folder.begun:
        warn_of_input(f"{folder.path} has lost what it is a run of: it begins afresh")
    folder.clear()
    folder.write_record({"identity": dict(identity), "overwrite": replace})
    return None
