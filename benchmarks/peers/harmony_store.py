"""Correct a store with harmonypy from Zarr to Zarr, in a process of its own.

    python benchmarks/peers/harmony_store.py IN.zarr OUT.zarr --batch-key COL [--threads 2]

Standardises the features, takes principal components, corrects them and writes them; prints the
seconds of every step as JSON. Needs harmonypy, scikit-learn and zarr. harmonypy is under the GPL:
this script imports it, and nothing of balans_dask imports this script or is imported by it. All
settings but the seed and the threads are harmonypy's defaults.
"""

import argparse
import json
import time

began = time.perf_counter()

import harmonypy  # noqa: E402  (imports count)
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import zarr  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402


class Steps:
    """Seconds of consecutive steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = began

    def end(self, name: str) -> None:
        """Say what the time since the last end was spent on."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def components(profiles: np.ndarray, n_components: int) -> np.ndarray:
    """Principal components of the standardised features, by their covariance."""
    standard = StandardScaler(copy=False).fit_transform(profiles)
    return PCA(n_components, svd_solver="covariance_eigh").fit_transform(standard)


def main() -> None:
    """Read, correct, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--batch-key", required=True)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    steps = Steps()
    steps.end("import")
    store = zarr.open_group(given.input, mode="r")
    profiles = store["X"][:]
    batch = store[f"obs/{given.batch_key}/codes"][:]
    steps.end("read")
    scores = components(profiles, min(given.components, profiles.shape[1]))
    steps.end("pca")
    table = pd.DataFrame({"batch": batch.astype(str)})
    result = harmonypy.run_harmony(
        scores, table, "batch", random_state=given.seed, verbose=False, ncores=given.threads
    )
    corrected = np.asarray(result.Z_corr)
    # Releases differ in which way round the corrected scores lie.
    corrected = corrected if corrected.shape == scores.shape else corrected.T
    steps.end("harmony")
    zarr.create_array(
        given.output, data=np.ascontiguousarray(corrected, dtype=np.float32), compressors=None
    )
    steps.end("write")
    print(json.dumps(steps.seconds))


if __name__ == "__main__":
    main()
