"""Other methods run in a process of their own, and exchange files with ours."""

import gc
import os
import signal
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from balans_dask.evaluate.peers.processes import SCRIPT, Peers
from tests.repository.test_architecture import MODULES, imports
from tests.support import REPOSITORY

HARMONY = """
from types import SimpleNamespace
def run_harmony(scores, table, key, random_state, verbose):
    return SimpleNamespace(Z_corr=scores.T + random_state)
"""
INTEGRATE = """
def integrate(parts, genes, seed, verbose):
    assert len(parts) == len(genes) and all(len(g) == p.shape[1] for g, p in zip(genes, parts))
    return [part + number for number, part in enumerate(parts)], genes[0]
"""
COUNTING = """
import os, sys
from types import SimpleNamespace
calls = 0
def run_harmony(scores, table, key, random_state, verbose):
    global calls
    calls += 1
    if random_state:
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(random_state)
    return SimpleNamespace(Z_corr=0 * scores.T + calls)
"""
FAKES = {"harmonypy": HARMONY, "scanorama": INTEGRATE}


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """This Python, with packages that only it finds there."""
    for name, source in FAKES.items():
        facts = tmp_path / f"{name}-9.9.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Name: {name}\nVersion: 9.9\n")
        (tmp_path / f"{name}.py").write_text(source)
    path = [str(tmp_path), str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    return Peers(sys.executable)


def test_versions_name_what_is_there_and_the_package_that_holds_it(peers):
    found = peers.versions()
    assert found["harmonypy"] == found["scanorama"] == "9.9"
    assert found["sphering"].startswith("of scikit-learn ")


def test_there_are_none_without_an_interpreter():
    assert Peers(None).versions() == {}


def test_a_correction_comes_back_the_way_round_it_went_with_its_time(peers, rng):
    profiles, batch = rng.normal(size=(12, 3)), np.array(["a", "b", "b"] * 4)
    answer = peers.answer("harmonypy", profiles, batch, 2)
    np.testing.assert_array_equal(answer.embedding, profiles + 2)
    assert 0 < answer.seconds < 60
    np.testing.assert_array_equal(peers.correct("harmonypy", profiles, batch, 2), profiles + 2)


def test_batches_that_are_corrected_apart_keep_the_order_of_rows(peers, rng):
    profiles, batch = rng.normal(size=(12, 3)), np.array(["b", "a", "c"] * 4)
    found = peers.correct("scanorama", profiles, batch, 0)
    np.testing.assert_array_equal(found, profiles + np.tile([[1], [0], [2]], (4, 1)))


def test_sphering_makes_the_covariance_of_controls_nearly_the_identity(peers, rng):
    profiles = rng.normal(size=(3000, 3)) @ np.array([[2.0, 0, 0], [1, 1, 0], [0, 0.5, 3]])
    control = np.arange(3000) < 2000
    batch = np.full(3000, "a")
    found = peers.answer("sphering", profiles, batch, 0, control).embedding
    np.testing.assert_allclose(np.cov(found[control].T), np.eye(3), atol=0.05)
    np.testing.assert_allclose(found[control].mean(axis=0), 0, atol=1e-9)


def test_a_method_that_fails_says_why(peers, rng):
    profiles, batch = rng.normal(size=(6, 2)), np.full(6, "a")
    with pytest.raises(RuntimeError, match=r"sphering failed: ValueError: .*0 sample"):
        peers.answer("sphering", profiles, batch, 0)


def test_a_process_stays_for_the_next_correction_and_one_that_dies_is_followed_by_another(
    peers, rng, tmp_path
):
    (tmp_path / "harmonypy.py").write_text(COUNTING)
    profiles, batch = rng.normal(size=(6, 2)), np.full(6, "a")
    assert [peers.correct("harmonypy", profiles, batch, n)[0, 0] for n in (0, 0)] == [1, 2]
    with pytest.raises(RuntimeError, match="harmonypy failed with 3: out of luck"):
        peers.correct("harmonypy", profiles, batch, 3)
    assert peers.correct("harmonypy", profiles, batch, 0)[0, 0] == 1


def test_processes_end_with_the_object_that_has_started_them(peers, rng):
    ours = Peers(sys.executable)
    before = psutil.Process().children()
    assert ours.versions()
    ours.correct("harmonypy", rng.normal(size=(6, 2)), np.full(6, "a"), 0)
    [process] = set(psutil.Process().children()) - set(before)
    del ours
    gc.collect()
    assert not process.is_running()


def test_nobody_waits_for_a_method_that_was_interrupted(peers, rng, tmp_path):
    begun = tmp_path / "begun"
    sleeping = f"open({str(begun)!r}, 'w').close(); time.sleep(3600)"
    (tmp_path / "harmonypy.py").write_text(
        f"import time\ndef run_harmony(*given, **options): {sleeping}\n"
    )

    def interrupt():
        while not begun.exists():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    # Libraries that other tests import take the signal for themselves.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            peers.correct("harmonypy", rng.normal(size=(6, 2)), np.full(6, "a"), 0)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert peers._processes["harmonypy"].wait() == -signal.SIGKILL


def test_the_program_imports_nothing_of_ours_and_we_nothing_of_it():
    """It is run by its path, with Pythons that have no balans_dask."""
    outside = {name.partition(".")[0] for name in imports(SCRIPT)}
    assert outside - set(sys.stdlib_module_names) == {"numpy", "pandas"}
    assert not [path for path in MODULES if any("run_peer" in name for name in imports(path))]
    others = {"bbknn", "harmonypy", "scanorama", "scanpy", "scvi"}
    assert not [path for path in MODULES if others & {n.split(".")[0] for n in imports(path)}]
