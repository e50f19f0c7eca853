"""The judge of hostile inputs: every command ends in a correct store or in a one-line refusal."""

import os
import signal
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from hypothesis import currently_in_test_context, note

from balans_dask.cli.app import run
from tests.support.stores import files

HANG_SECONDS = 60
ADDED_COLUMNS = ["balans_covered", "balans_is_landmark", "balans_displacement"]
ERROR, WARNING = "balans: error: ", "balans: warning: "


@dataclass
class Tally:
    """What the inputs of a session came to."""

    inputs: Counter = field(default_factory=Counter)
    corrected: int = 0
    converted: int = 0
    shown: int = 0
    refused: int = 0
    tracebacks: int = 0
    wrong: int = 0

    @property
    def n_inputs(self) -> int:
        return sum(self.inputs.values())

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.inputs.items()))
        return [
            f"fuzz: {self.n_inputs} inputs, {self.corrected} corrected, {self.converted} "
            f"converted, {self.shown} shown, {self.refused} refused in one line, "
            f"{self.tracebacks} tracebacks, {self.wrong} wrong",
            f"fuzz: {kinds}",
        ]


TALLY = Tally()


@dataclass(frozen=True)
class Truth:
    """What a store holds, known to the test that wrote it."""

    profiles: np.ndarray
    obs: pd.DataFrame
    features: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        return self.code == 2

    @property
    def reason(self) -> str:
        return next(
            line.removeprefix(ERROR) for line in self.err.splitlines() if line.startswith(ERROR)
        )

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith(WARNING)]


class Judge:
    """Runs commands on hostile inputs, and lets only correct stores and refusals pass."""

    def __init__(self, capture, family: str) -> None:
        self._capture = capture
        self._family = family
        self.last: Outcome

    def correct(self, source: str, truth: Truth | None, *options: object) -> anndata.AnnData | None:
        """Return the corrected store, or ``None`` after a refusal that left nothing behind."""
        with counted(), tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "out.zarr"
            if self._end("correct", source, target, *options, unchanged=source).refused:
                assert not os.listdir(folder), "a refusal left something behind"
                TALLY.refused += 1
                return None
            found = sorted(os.listdir(folder))
            assert found == ["out.zarr", "out.zarr.events.jsonl"], "something is left beside it"
            data = opened(target)
            if truth is not None:
                assert_corrects(data, truth)
                assert_constants_stay(data, truth)
            TALLY.corrected += 1
            return data

    def convert(self, source: Path) -> tuple[anndata.AnnData, str] | None:
        """Return the converted store and its place, or ``None`` after a refusal."""
        target = source.with_name("converted.zarr")
        before = set(source.parent.iterdir())
        with counted():
            if self._end("convert", source, target, unchanged=source).refused:
                assert set(source.parent.iterdir()) == before, "a refusal left something behind"
                TALLY.refused += 1
                return None
            data = opened(target)
            TALLY.converted += 1
            return data, str(target)

    def show(self, *arguments: object) -> Outcome:
        """Run a command that writes nothing."""
        with counted():
            outcome = self._end(*arguments)
        if outcome.refused:
            TALLY.refused += 1
        else:
            TALLY.shown += 1
        return outcome

    def _end(self, *arguments: object, unchanged: str | Path | None = None) -> Outcome:
        """Run one command; whatever it was given, it ends as a command may end."""
        TALLY.inputs[self._family] += 1
        before = None if unchanged is None else contents(unchanged)
        self.last = self._run([str(argument) for argument in arguments])
        if currently_in_test_context():
            note(f"{arguments!r}\nexit code {self.last.code}\n{self.last.err}")
        assert_speaks_plainly(self.last)
        assert before is None or contents(unchanged) == before, "the input was changed"
        return self.last

    def _run(self, arguments: list[str]) -> Outcome:
        self._capture.readouterr()
        start = time.monotonic()
        with warnings.catch_warnings(record=True) as escaped, interrupted_after(HANG_SECONDS):
            warnings.simplefilter("ignore")
            code = run(arguments)
        assert not escaped, f"a warning in Python's own words: {escaped[0].message}"
        said = self._capture.readouterr()
        assert time.monotonic() - start < HANG_SECONDS, "the command hangs"
        return Outcome(code, said.out, said.err)


@contextmanager
def counted() -> Iterator[None]:
    """Count what should not be, and let it fail the test."""
    try:
        yield
    except AssertionError:
        TALLY.wrong += 1
        raise
    except BaseException:
        TALLY.tracebacks += 1
        raise


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Interrupt the main thread if it is still in the block by then."""
    hanging = threading.main_thread().ident
    timer = threading.Timer(seconds, signal.pthread_kill, (hanging, signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def contents(path: str | Path) -> dict[str, bytes]:
    """Bytes of a file, or of every file of a folder."""
    root = Path(path)
    return {"": root.read_bytes()} if root.is_file() else files(root)


def opened(path: str | Path) -> anndata.AnnData:
    """Open a store as its next reader would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.read_zarr(path)


def assert_speaks_plainly(outcome: Outcome) -> None:
    """Text is printable; success warns in whole lines, and a refusal is one line."""
    for text in (outcome.out, outcome.err):
        odd = {
            character for character in text if not (character.isprintable() or character == "\n")
        }
        assert not odd, f"{odd} reach the terminal"
        assert "Traceback" not in text, text
    assert outcome.code in (0, 2), f"exit code {outcome.code}: {outcome.err}"
    if outcome.refused:
        others = [line for line in outcome.err.splitlines() if not line.startswith(WARNING)]
        assert len(others) == 1, f"a refusal of {len(others)} lines: {outcome.err}"
        assert others[0].startswith(ERROR), outcome.err
        assert others[0].removeprefix(ERROR).strip(), "a refusal without a reason"
        assert not outcome.out, f"a refusal on standard output: {outcome.out}"


def assert_corrects(data: anndata.AnnData, truth: Truth) -> None:
    """The store holds the rows and features of its input; means, within the range of columns."""
    assert data.shape == truth.profiles.shape
    assert list(data.var_names) == list(truth.features)
    assert list(data.obs_names) == list(truth.obs.index)
    assert set(ADDED_COLUMNS) <= set(data.obs.columns)
    kept = truth.obs.drop(columns=ADDED_COLUMNS, errors="ignore")
    pd.testing.assert_frame_equal(data.obs[kept.columns], kept, check_index_type=False)
    matrices = {"X": data.X, "displacement": data.obs["balans_displacement"], **data.obsm}
    for name, matrix in matrices.items():
        assert np.isfinite(np.asarray(matrix)).all(), f"{name} is not finite"
    if data.uns["balans"]["parameters"]["operator"] == "smooth":
        assert_within_columns(data.X, truth.profiles)
    passes = [data.uns["balans"], *data.uns["balans"].get("earlier_passes", {}).values()]
    drawn = {row for of_pass in passes for row in of_pass["sampled_rows"].tolist()}
    assert set(np.flatnonzero(data.obs["balans_is_landmark"]).tolist()) == drawn
    assert sum(data.uns["balans"]["batch_sizes"]) == len(truth.obs)


def assert_within_columns(corrected: np.ndarray, profiles: np.ndarray) -> None:
    """A weighted mean of weighted means lies within the range of its column."""
    before, after = profiles.astype(np.float64), corrected.astype(np.float64)
    low, high = before.min(axis=0), before.max(axis=0)
    precision = np.finfo(corrected.dtype)
    slack = 64 * precision.eps * np.maximum(np.abs(low), np.abs(high))
    slack += 1000 * float(precision.smallest_subnormal)
    assert (after >= low - slack).all(), f"below the column: {(low - after).max()}"
    assert (after <= high + slack).all(), f"above the column: {(after - high).max()}"


def assert_constants_stay(data: anndata.AnnData, truth: Truth) -> None:
    """A feature of one value takes no part, and stays as it is."""
    constant = (truth.profiles == truth.profiles[:1]).all(axis=0)
    before = truth.profiles[:, constant].astype(data.X.dtype)
    np.testing.assert_array_equal(data.X[:, constant], before)
