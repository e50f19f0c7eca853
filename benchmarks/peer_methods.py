"""Other methods, each in a process of its own, where an environment for them is given."""

import functools
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Peers"]

SCRIPT = Path(__file__).parent / "peers" / "run_peer.py"


@dataclass(frozen=True)
class Answer:
    """What a method made of an embedding.

    Attributes
    ----------
    embedding : ndarray of shape (n_rows, n_corrected)
    seconds : float
        Of the correction in its process, without start, imports and files.
    """

    embedding: NDArray[np.float64]
    seconds: float


class Peers:
    """Programs in another environment.

    Parameters
    ----------
    python : str or None
        Its interpreter; ``None`` for that of ``BALANS_PEERS``, and for no peers without it.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python or os.environ.get("BALANS_PEERS")

    @functools.cache  # noqa: B019  (one object lives as long as the process)
    def versions(self) -> dict[str, str]:
        """Name and version of every method that can be run there."""
        if not self._python:
            return {}
        command = [self._python, str(SCRIPT), "--list"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, str] = json.loads(answer.stdout)
        return found

    def correct(
        self, method: str, embedding: NDArray[np.floating], batch: NDArray[np.str_], seed: int
    ) -> NDArray[np.float64]:
        """Correct an embedding by a method of ``versions``, with its own default settings.

        Parameters
        ----------
        method : str
        embedding : ndarray of shape (n_rows, n_components)
        batch : ndarray of shape (n_rows,)
        seed : int

        Returns
        -------
        corrected : ndarray of shape (n_rows, n_corrected)
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
        embedding : ndarray of shape (n_rows, n_components)
        batch : ndarray of shape (n_rows,)
        seed : int
        control : ndarray of shape (n_rows,), optional
            Which rows are negative controls; sphering needs some.
        """
        if control is None:
            control = np.zeros(len(embedding), dtype=bool)
        with tempfile.TemporaryDirectory() as folder:
            given, out = Path(folder) / "given.npz", Path(folder) / "out.npz"
            np.savez(given, embedding=embedding, batch=np.asarray(batch, str), control=control)
            command = [str(self._python), str(SCRIPT), method, str(given), str(out)]
            command += ["--seed", str(seed)]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode != 0:
                last = ended.stderr.strip().splitlines()[-1:]
                raise RuntimeError(f"{method} failed with {ended.returncode}: {''.join(last)}")
            with np.load(out) as found:
                return Answer(found["embedding"].astype(np.float64), float(found["seconds"]))
