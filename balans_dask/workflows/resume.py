"""A run finds its folder: begin, continue, or see that all is done."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, StoreExistsError, warn_of_input
from balans_dask.io.atomic import read_state
from balans_dask.io.model_store import model_fingerprint
from balans_dask.io.paths import is_store
from balans_dask.io.run_folder import PassFolder, RunFolder
from balans_dask.io.store import open_store
from balans_dask.model.bounds import Sizes
from balans_dask.model.state import is_sound
from balans_dask.workflows.records import correction_record, differences, fingerprint

__all__ = ["OpenedRun"]


class OpenedRun:
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

    def finish(
        self, write: Callable[["OpenedRun"], dict[str, Any]], model: str | None = None
    ) -> dict[str, Any]:
        """Hold the folder and write, unless the output is complete.

        Parameters
        ----------
        write : callable
            Does the work.
        model : str or None
            Path of the model that the run saves beside the output.

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
            if record is not None:
                self.folder.discard_remains()
                self._require_model(model)
                return record
            self.folder.check(self.replace, self._inputs)
            self._begin()
            return write(self)

    def states(
        self, sizes: Sequence[Sizes], weighted: bool
    ) -> list[dict[str, NDArray[Any]] | None]:
        """Read the state of every pass of the run that is continued; ``None`` for the others.

        Parameters
        ----------
        sizes : sequence of mapping
            Of every pass, as ``is_sound`` takes them.
        weighted : bool
            Scores are principal components.
        """
        if not self._continues:
            return [None] * len(sizes)
        folders = self.folder.passes(len(sizes))
        return [self._state(*of, weighted) for of in zip(folders, sizes, strict=True)]

    def _state(
        self, folder: PassFolder, sizes: Sizes, weighted: bool
    ) -> dict[str, NDArray[Any]] | None:
        state = read_state(folder.checkpoint)
        if state is not None and is_sound(state, sizes, weighted):
            return state
        if folder.checkpoint.exists():
            warn_of_input(f"{folder.checkpoint} is damaged: the rows are sampled anew")
        return None

    def _record_of_same(self) -> dict[str, Any] | None:
        """Read the record of a store that this very run would make; ``None`` for any other."""
        if not is_store(self._target):
            return None
        record = correction_record(open_store(self._target))
        same = record is not None and record.get("fingerprint") == fingerprint(self.identity)
        return record if same else None

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
                    f"{folder.path} holds an unfinished run of other input "
                    f"({'; '.join(different)}): run it as it was, or begin afresh with --overwrite"
                )
            self._continues = True
            return
        if self._resume and folder.begun:
            warn_of_input(f"{folder.path} has lost what it is a run of: it begins afresh")
        folder.clear()
        folder.write_record({"identity": dict(self.identity), "overwrite": self.replace})
