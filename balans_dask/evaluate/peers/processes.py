"""Processes of other methods, which exchange files with this one, by any interpreter."""

import functools
import json
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import InvalidInputError, RunError

__all__ = ["SCRIPT", "Answer", "Peers", "Program"]

SCRIPT = Path(__file__).with_name("run_peer.py")


@dataclass(frozen=True)
class Program:
    """What an interpreter has of a method.

    Attributes
    ----------
    package, module : str
        Of the Python index, and what is imported of it.
    version : str or None
        ``None`` if it is not installed.
    """

    package: str
    module: str
    version: str | None


@dataclass(frozen=True)
class Answer:
    """What a method made of an embedding.

    Attributes
    ----------
    embedding : ndarray of shape (n_rows, n_corrected), float64
    seconds : float
        Of the correction in its process, without start, imports and files. A method that compiles
        does so in its first correction.
    """

    embedding: NDArray[np.float64]
    seconds: float


class Peers:
    """Programs of another interpreter: one process a method, which stays for the next correction.

    Parameters
    ----------
    python : str or None
        Path of the interpreter; no method is there without one.
    """

    def __init__(self, python: str | None) -> None:
        self._python = python
        self._processes: dict[str, _Process] = {}
        weakref.finalize(self, _end, self._processes)

    @functools.cached_property
    def programs(self) -> dict[str, Program]:
        """All methods by name.

        Raises
        ------
        InvalidInputError
            If the interpreter cannot be started, or lacks what every method asks for.
        """
        if not self._python:
            return {}
        command = [self._python, str(SCRIPT), "--list"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise InvalidInputError(
                f"{self._python} cannot be started: {error.strerror}"
            ) from error
        if answer.returncode:
            raise InvalidInputError(
                f"{self._python} cannot run other methods ({_last_line(answer.stderr)}): "
                f"{self._python} -m pip install numpy pandas"
            )
        try:
            found: dict[str, dict[str, Any]] = json.loads(answer.stdout)
        except ValueError:
            raise InvalidInputError(
                f"{self._python} does not answer as a Python does: name an interpreter"
            ) from None
        return {name: Program(**facts) for name, facts in found.items()}

    def versions(self) -> dict[str, str]:
        """Version of every method that is there, with the package if that has another name."""
        return {
            name: one.version if one.package == name else f"of {one.package} {one.version}"
            for name, one in self.programs.items()
            if one.version is not None
        }

    def correct(
        self, method: str, embedding: NDArray[np.floating], batch: NDArray[np.str_], seed: int
    ) -> NDArray[np.float64]:
        """Correct an embedding (n_rows, n_components) by a method of ``versions``.

        Settings are its own defaults; it may give another number of columns.
        """
        return self.answer(method, embedding, batch, seed).embedding

    def answer(
        self,
        method: str,
        embedding: NDArray[np.floating],
        batch: NDArray[np.str_],
        seed: int,
        control: NDArray[np.bool_] | None = None,
    ) -> Answer:
        """Correct an embedding, and say how long that took.

        Parameters
        ----------
        method : str
            Of ``versions``.
        embedding : ndarray of shape (n_rows, n_components)
        batch : ndarray of shape (n_rows,), text
        control : ndarray of shape (n_rows,), bool, or None
            Which rows are negative controls; sphering needs some.

        Raises
        ------
        RunError
            If the method, or its process, fails.
        """
        if control is None:
            control = np.zeros(len(embedding), dtype=bool)
        with tempfile.TemporaryDirectory() as folder:
            given, out = Path(folder) / "given.npz", Path(folder) / "out.npy"
            np.savez(given, embedding=embedding, batch=np.asarray(batch, str), control=control)
            found = self._asked(method, {"given": str(given), "out": str(out), "seed": seed})
            return Answer(np.load(out).astype(np.float64), found["seconds"])

    def _asked(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        if method not in self._processes:
            self._processes[method] = _Process([str(self._python), str(SCRIPT), method])
        try:
            found = self._processes[method].ask(request)
        except ValueError:
            raise RunError(f"{method} has printed what is no answer") from None
        if found is None:
            ended = self._processes.pop(method)
            raise RunError(f"{method} failed with {ended.wait()}: {ended.last_words()}")
        if "error" in found:
            raise RunError(f"{method} failed: {found['error']}")
        return found


class _Process:
    """A program that answers lines by lines."""

    def __init__(self, command: list[str]) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (open as long as the process)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer; ``None`` from a process that has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            return None
        except BaseException:
            # Nobody waits for the answer any more.
            self._process.kill()
            raise
        return json.loads(line) if line else None

    def last_words(self) -> str:
        """Return the last line of its errors."""
        self._said.seek(0)
        return _last_line(self._said.read())

    def wait(self) -> int:
        """Let it end, and return its exit code."""
        self._process.communicate()
        return self._process.returncode


def _last_line(text: str) -> str:
    return "".join(text.strip().splitlines()[-1:])


def _end(processes: dict[str, _Process]) -> None:
    for process in processes.values():
        process.wait()
