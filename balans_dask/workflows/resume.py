"""A run finds its folder: begin, continue, or see that all is done; and saves how far it is."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, StoreExistsError, warn_of_input
from balans_dask.io.atomic import read_state, write_state
from balans_dask.io.model_store import model_fingerprint
from balans_dask.io.paths import is_store
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.io.store import open_store
from balans_dask.kernels.projection import Projection
from balans_dask.model.bounds import Sizes
from balans_dask.model.sampler import SamplerState
from balans_dask.model.state import arrays_of, is_sound
from balans_dask.workflows.records import correction_record, differences, fingerprint
from balans_dask.workflows.tables import TableFolder

__all__ = ["Checkpoints", "ResumableRun", "State"]

State = Mapping[str, NDArray[Any]]
"""What an interrupted run has saved of a pass."""


class ResumableRun:
    """A run and the folder in which its output grows.

    Parameters
    ----------
    folder : RunFolder
        Where the output grows.
    identity : mapping
        Everything that decides it.
    inputs : tuple of str
        Paths that must not be touched.
    overwrite, resume : bool
        As ``correct_store`` takes them.
    """

    def __init__(
        self,
        folder: RunFolder,
        identity: Mapping[str, Any],
        inputs: tuple[str, ...],
        overwrite: bool,
        resume: bool,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.replace = overwrite
        self._target = folder.given
        self._inputs = inputs
        self._resume = resume
        self._continues = False

    @contextmanager
    def held(self, model: str | None = None) -> Iterator[dict[str, Any] | None]:
        """Hold the folder, and find what is left to do.

        Parameters
        ----------
        model : str or None
            Path of the model that the run saves beside the output.

        Yields
        ------
        record : dict or None
            Of the output, where it is complete; ``None`` where there is work to do.

        Raises
        ------
        InvalidInputError
            If the unfinished run is another one, or the output is complete without its model.
        StoreExistsError
            If the target exists, or an unfinished run is there that is not to be continued.
        """
        # Looked at again under the lock: another run may have finished meanwhile.
        with self.folder.held():
            self.replace = self.replace or (self._resume and self.folder.replaces)
            record = self._record_of_same() if self._resume else None
            if record is None:
                self.folder.check(self.replace, self._inputs)
                self._begin()
            else:
                self.folder.discard_remains()
                self._require_model(model)
            yield record

    def checkpoints(
        self,
        folders: Sequence[PassFolder],
        sizes: Sequence[Sizes],
        weighted: bool,
        seconds: float,
    ) -> "Checkpoints":
        """Read the states of the run that is continued, and say where further ones go.

        Parameters
        ----------
        folders : sequence of PassFolder
            Of every pass of a fit.
        sizes : sequence of mapping
            Of every pass, as ``is_sound`` takes them.
        weighted : bool
            Scores are principal components.
        seconds : float
            Least time between two checkpoints.
        """
        states = [
            _state(folder, of_pass, weighted) if self._continues else None
            for folder, of_pass in zip(folders, sizes, strict=True)
        ]
        return Checkpoints(folders, states, seconds)

    def _record_of_same(self) -> dict[str, Any] | None:
        """Read the record of an output that this very run would make; ``None`` for any other."""
        record: Mapping[str, Any] | None = None
        if isinstance(self.folder, TableFolder):
            record = self.folder.mark()
        elif is_store(self._target):
            record = correction_record(open_store(self._target))
        same = record is not None and record.get("fingerprint") == fingerprint(self.identity)
        return dict(record) if record is not None and same else None

    def _require_model(self, model: str | None) -> None:
        if model is not None and model_fingerprint(model) != fingerprint(self.identity):
            raise InvalidInputError(
                f"{self._target} is complete, and {model} is not its model: begin afresh with "
                "--overwrite to save one"
            )

    def _begin(self) -> None:
        """Prepare the folder, and find out whether a run is continued."""
        folder = self.folder
        found = folder.record() if folder.begun else None
        if found is not None and not self._resume and not self.replace:
            raise StoreExistsError(
                f"{folder.path} holds an unfinished run: add --resume to continue it, or "
                "--overwrite to begin afresh"
            )
        if found is not None and self._resume:
            different = differences(found["identity"], self.identity)
            if different:
                raise InvalidInputError(
                    f"{folder.path} holds an unfinished run of other input or options "
                    f"({'; '.join(different)}): run it as it was, or begin afresh with --overwrite"
                )
            self._continues = True
            return
        if self._resume and folder.begun:
            warn_of_input(f"{folder.path} has lost what it is a run of: it begins afresh")
        folder.clear()
        folder.write_record({"identity": dict(self.identity), "overwrite": self.replace})


class Checkpoints:
    """The states of all passes, and where the rounds of a fit are saved.

    Parameters
    ----------
    states : sequence of dict or None
        Of every pass of an interrupted run; ``None`` where a pass begins afresh.
    seconds : float
        Least time between two checkpoints.
    """

    def __init__(
        self, folders: Sequence[PassFolder], states: Sequence[State | None], seconds: float
    ) -> None:
        self._folders = folders
        self._states = states
        self._seconds = seconds

    def state_of(self, pass_number: int) -> State | None:
        """Return the state of a pass; ``None`` if it begins afresh."""
        return self._states[pass_number]

    @contextmanager
    def saving(
        self, pass_number: int, projection: Projection
    ) -> Iterator[Callable[[SamplerState], None]]:
        """Save what is told of every round now and then, and at the end, also after an error."""
        saver = _Saver(self._folders[pass_number], projection, self._seconds)
        try:
            yield saver.after_round
        except BaseException:
            with suppress(OSError):
                saver.save()
            raise
        saver.save()

    def save(self, pass_number: int, projection: Projection, sampled: SamplerState) -> None:
        """Save a pass of which everything is learned."""
        write_state(self._folders[pass_number].checkpoint, arrays_of(projection, sampled))


class _Saver:
    """Save the sampler's rounds, the last one at least."""

    def __init__(self, folder: PassFolder, projection: Projection, seconds: float) -> None:
        self._folder = folder
        self._projection = projection
        self._seconds = seconds
        self._latest: SamplerState | None = None
        self._saved_at = time.monotonic()

    def after_round(self, sampled: SamplerState) -> None:
        self._latest = sampled
        if time.monotonic() - self._saved_at >= self._seconds:
            self.save()

    def save(self) -> None:
        """Save the last round, unless the next one is just being added to it."""
        if self._latest is not None and self._latest.settled:
            write_state(self._folder.checkpoint, arrays_of(self._projection, self._latest))
            self._saved_at = time.monotonic()


def _state(folder: PassFolder, sizes: Sizes, weighted: bool) -> State | None:
    state = read_state(folder.checkpoint)
    if state is not None and is_sound(state, sizes, weighted):
        return state
    if folder.checkpoint.exists():
        warn_of_input(f"{folder.checkpoint} is damaged: the rows are sampled anew")
    return None
