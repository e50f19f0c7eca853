"""Correct embeddings with another method, in a process of its own, for as long as asked to.

    python balans_dask/evaluate/peers/run_peer.py METHOD
    python balans_dask/evaluate/peers/run_peer.py --list

Each line of the input is an object of JSON: `given`, an npz file with `embedding` (rows x
components), `batch` (a text a row) and `control` (whether a row is a negative control); `out`, the
npy file that gets the corrected embedding; and `seed`. Each is answered by one line, with the
`seconds` of the correction, or the `error`. Some of these methods are under the GPL: this script
imports them, and nothing of balans_dask imports this script or is imported by it; they exchange
files. All settings but the seed are the methods' defaults, unless a method says otherwise.
"""

import argparse
import contextlib
import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Profiles:
    """What a method is given."""

    embedding: np.ndarray
    batch: np.ndarray
    control: np.ndarray

    def annotated(self) -> Any:
        """Make an AnnData object of them."""
        anndata = importlib.import_module("anndata")
        rows = pd.DataFrame({"batch": pd.Categorical(self.batch)})
        rows.index = rows.index.astype(str)
        return anndata.AnnData(self.embedding.astype(np.float32), obs=rows)


def harmonypy(given: Profiles, seed: int) -> np.ndarray:
    """Harmony (Korsunsky 2019)."""
    run = importlib.import_module("harmonypy").run_harmony
    table = pd.DataFrame({"batch": given.batch})
    answer = run(given.embedding, table, "batch", random_state=seed, verbose=False)
    found = np.asarray(answer.Z_corr)
    # Releases differ in which way round the corrected scores lie.
    return found if found.shape == given.embedding.shape else found.T


def scanorama(given: Profiles, seed: int) -> np.ndarray:
    """Scanorama (Hie 2019): mutual nearest neighbours; it scales every row to length 1."""
    integrate = importlib.import_module("scanorama").integrate
    places = [np.flatnonzero(given.batch == name) for name in np.unique(given.batch)]
    genes = [str(number) for number in range(given.embedding.shape[1])]
    parts = [given.embedding[rows] for rows in places]
    answer, _ = integrate(parts, [genes] * len(parts), seed=seed, verbose=False)
    found = np.empty((len(given.embedding), answer[0].shape[1]))
    for rows, part in zip(places, answer, strict=True):
        found[rows] = part
    return found


def bbknn(given: Profiles, seed: int) -> np.ndarray:
    """BBKNN (Polanski 2020) gives a graph only: each row the weighted mean of its neighbours."""
    run = importlib.import_module("bbknn.matrix").bbknn
    n_components = given.embedding.shape[1]
    _, graph, _ = run(given.embedding, given.batch, n_pcs=n_components)
    return np.asarray((graph @ given.embedding) / np.asarray(graph.sum(axis=1)).reshape(-1, 1))


def combat(given: Profiles, seed: int) -> np.ndarray:
    """ComBat (Johnson 2007), as scanpy has it."""
    run = importlib.import_module("scanpy").pp.combat
    return np.asarray(run(given.annotated(), "batch", inplace=False))


def sphering(given: Profiles, seed: int) -> np.ndarray:
    """Whiten (ZCA) by the covariance of controls, shrunk by the rule of Ledoit and Wolf."""
    controls = given.embedding[given.control]
    fitted = importlib.import_module("sklearn.covariance").LedoitWolf().fit(controls)
    values, vectors = np.linalg.eigh(fitted.covariance_)
    moved = (given.embedding - fitted.location_) @ (vectors / np.sqrt(values)) @ vectors.T
    return np.asarray(moved)


def scvi(given: Profiles, seed: int) -> np.ndarray:
    """Encode by scVI (Lopez 2018), 2 layers and 30 latents; it models counts, so shifted."""
    module = importlib.import_module("scvi")
    module.settings.seed = seed
    table = given.annotated()
    table.X = table.X - table.X.min(axis=0)
    module.model.SCVI.setup_anndata(table, batch_key="batch")
    model = module.model.SCVI(table, n_layers=2, n_latent=30)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return np.asarray(model.get_latent_representation())


@dataclass(frozen=True)
class Method:
    """A correction, and the package that must be there for it."""

    correct: Callable[[Profiles, int], np.ndarray]
    module: str
    package: str


METHODS = {
    "harmonypy": Method(harmonypy, "harmonypy", "harmonypy"),
    "scanorama": Method(scanorama, "scanorama", "scanorama"),
    "bbknn": Method(bbknn, "bbknn.matrix", "bbknn"),
    "combat": Method(combat, "scanpy", "scanpy"),
    "sphering": Method(sphering, "sklearn.covariance", "scikit-learn"),
    "scvi": Method(scvi, "scvi", "scvi-tools"),
}


def known() -> dict[str, dict[str, Any]]:
    """Package of every method, the module of it that is imported, and the version that is there."""
    found = {}
    for name, method in METHODS.items():
        release = None
        with contextlib.suppress(PackageNotFoundError):
            release = version(method.package)
        found[name] = {"package": method.package, "module": method.module, "version": release}
    return found


def main() -> None:
    """Serve a method, or list all, with the versions of those that are installed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", nargs="?", choices=sorted(METHODS))
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list:
        print(json.dumps(known()))
        return
    if given.method is None:
        parser.error("give METHOD")
    method, answers = METHODS[given.method], sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        importlib.import_module(method.module)
        for line in sys.stdin:
            print(json.dumps(answered(method, **json.loads(line))), file=answers, flush=True)


def answered(method: Method, given: str, out: str, seed: int) -> dict[str, Any]:
    """Correct what is in one file into another; the seconds, or the error."""
    with np.load(given) as arrays:
        profiles = Profiles(arrays["embedding"], arrays["batch"], arrays["control"])
    began = time.perf_counter()
    try:
        corrected = method.correct(profiles, seed)
    except Exception as error:  # noqa: BLE001  (whatever it is, the caller reports it)
        return {"error": f"{type(error).__name__}: {error}"}
    seconds = time.perf_counter() - began
    np.save(out, np.asarray(corrected))
    return {"seconds": seconds}


if __name__ == "__main__":
    main()
