"""Compiled kernels wait for the next process, where that is safe."""

import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from balans_dask import Balans
from balans_dask.kernels import (
    _jit,
    affinity,
    coverage,
    displace,
    distances,
    elbow,
    evidence,
    local_scale,
    smooth,
)
from balans_dask.parameters import ALIGN, OPERATORS
from tests.support.screens import gaussian_screen

FIT = """
import sys, zlib, numpy as np
from balans_dask import Balans
from balans_dask.kernels.affinity import _keep_in_tile
rng = np.random.default_rng(0)
X, batch = rng.normal(size=(500, 6)), rng.integers(3, size=500)
corrected = Balans.paper(max_rows=60).fit_transform(X, batch=batch)
stats = _keep_in_tile.stats
print(zlib.crc32(corrected.tobytes()), sum(stats.cache_hits.values()))
"""


def start(scratch, **environment):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FIT],
        env=os.environ | {"TMPDIR": str(scratch)} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def result(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    crc, hits = out.split()
    return crc, int(hits)


@pytest.mark.long
def test_processes_that_compile_at_once_and_those_after_them_agree(tmp_path):
    at_once = [result(process) for process in [start(tmp_path), start(tmp_path)]]
    after = result(start(tmp_path))
    without = result(start(tmp_path, BALANS_NO_KERNEL_CACHE="1"))
    assert {crc for crc, _ in [*at_once, after]} == {without[0]}
    assert after[1] == 1
    assert without[1] == 0


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _jit.kernel_folder.cache_clear()
    yield tmp_path
    _jit.kernel_folder.cache_clear()


def test_the_folder_is_closed_to_others(scratch):
    folder = _jit.kernel_folder()
    assert folder.parent == scratch
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_not_used(scratch):
    _jit.kernel_folder().chmod(0o777)
    _jit.kernel_folder.cache_clear()
    assert _jit.kernel_folder() is None


def test_a_link_in_its_place_is_not_followed(scratch):
    folder = _jit.kernel_folder()
    folder.rmdir()
    (scratch / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(scratch / "elsewhere")
    _jit.kernel_folder.cache_clear()
    assert _jit.kernel_folder() is None


@pytest.mark.filterwarnings("ignore:.*covered by no")
def test_every_kernel_has_one_signature():
    """Else two processes that compile at once could store both under one name."""
    screen = gaussian_screen(5000)
    for operator in OPERATORS:
        for kind in (np.float32, np.int16):
            # With its steps before, one is enough for align to see moved profiles too.
            n_passes = 1 if operator == ALIGN else 2
            model = Balans(operator=operator, max_rows=20, n_passes=n_passes)
            model.fit(screen.profiles.astype(kind), batch=screen.batch)
            model.transform(screen.profiles.astype(kind), batch=["new"] * len(screen.batch))
    compiled = [
        found
        for module in (
            affinity,
            coverage,
            displace,
            distances,
            elbow,
            evidence,
            local_scale,
            smooth,
        )
        for found in vars(module).values()
        if hasattr(found, "signatures") and found.py_func.__module__ == module.__name__
    ]
    kept = [function for function in compiled if function.stats.cache_path is not None]
    assert len(kept) == 14
    assert {function.py_func.__name__: len(function.signatures) for function in kept} == {
        function.py_func.__name__: 1 for function in kept
    }
