"""Other methods, each in a process of its own, where an environment for them is given."""

import functools
import json
import os
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCRIPT = Path(__file__).with_name("run_peer.py")


@dataclass(frozen=True)
class Answer:
    """What a method made of an embedding.

    Attributes
    ----------
    embedding : ndarray of shape (n_rows, n_corrected)
    seconds : float
        Of the correction in its process, without start, imports and files. A method that compiles
        does so in its first correction.
    """

    embedding: NDArray[np.floating]
    seconds: float


class Peers:
    """Programs in another environment: one process a method, which stays for the next correction.

    ``python`` is its interpreter: that of ``BALANS_PEERS`` unless given, and no peers without it.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python or os.environ.get("BALANS_PEERS")
        self._processes: dict[str, _Process] = {}
        weakref.finalize(self, _end, self._processes)

    def versions(self) -> dict[str, str]:
        """Name and version of every method that can be run there."""
        return self._versions

    @functools.cached_property
    def _versions(self) -> dict[str, str]:
        if not self._python:
            return {}
        command = [self._python, str(SCRIPT), "--list"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, str] = json.loads(answer.stdout)
        return found

    def correct(
        self, method: str, embedding: NDArray[np.floating], batch: NDArray[np.str_], seed: int
    ) -> NDArray[np.floating]:
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

        ``control`` says which rows are negative controls; sphering needs some.
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
        found = self._processes[method].ask(request)
        if found is None:
            ended = self._processes.pop(method)
            raise RuntimeError(f"{method} failed with {ended.wait()}: {ended.last_words()}")
        if "error" in found:
            raise RuntimeError(f"{method} failed: {found['error']}")
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
        except BrokenPipeError:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def last_words(self) -> str:
        """Return the last line of its errors."""
        self._said.seek(0)
        return "".join(self._said.read().strip().splitlines()[-1:])

    def wait(self) -> int:
        """Let it end, and return its exit code."""
        self._process.communicate()
        return self._process.returncode


def _end(processes: dict[str, _Process]) -> None:
    for process in processes.values():
        process.wait()
