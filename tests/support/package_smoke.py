"""What the installed package does by itself; ``make test-package`` runs it."""

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import anndata
import numpy as np

import balans_dask
from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture, write_mixture


def said(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main() -> None:
    place = Path(balans_dask.__file__).parent
    assert "site-packages" in str(place), f"{place} is no installation"
    assert (place / "py.typed").is_file()
    assert (place / "report" / "page.html").is_file()
    # Run by its path, maybe with another Python.
    assert (place / "evaluate" / "peers" / "run_peer.py").is_file()
    balans = Path(sys.executable).with_name("balans")
    expected = f"balans, version {version('balans-dask')}\n"
    assert said(balans, "--version") == expected
    assert said(sys.executable, "-m", "balans_dask", "--version") == expected
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.zarr"), Path(folder, "out.zarr")
        write_mixture(Mixture(n_rows=2_000, n_features=20), str(source))
        said(balans, "correct", source, target, "--batch-key", "Metadata_batch")
        corrected = anndata.read_zarr(target)
        assert np.isfinite(corrected.X).all()
        assert "20 " in said(balans, "inspect", target)
    rows = np.random.default_rng(0).normal(size=(200, 5))
    assert Balans(n_components=None).fit_transform(rows).shape == (200, 5)
    print(f"balans_dask {version('balans-dask')} works in {sys.prefix}")


if __name__ == "__main__":
    main()
