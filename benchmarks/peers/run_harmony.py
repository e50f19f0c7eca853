"""Correct one embedding with harmonypy, in a process of its own.

    python benchmarks/peers/run_harmony.py IN.npz OUT.npz [--seed 0]

IN.npz holds `scores` (rows x components) and `batch` (a text a row); OUT.npz gets `scores`
and `version`. harmonypy is under the GPL: this script imports it, and nothing of
balans_dask imports this script or is imported by it; they exchange files.
All settings but the seed are harmonypy's defaults.
"""

import argparse

import harmonypy
import numpy as np
import pandas as pd


def main() -> None:
    """Read, correct, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with np.load(arguments.input) as given:
        scores, batch = given["scores"], given["batch"]
    table = pd.DataFrame({"batch": batch})
    result = harmonypy.run_harmony(
        scores, table, "batch", random_state=arguments.seed, verbose=False
    )
    corrected = np.asarray(result.Z_corr)
    # Releases differ in which way round the corrected scores lie.
    corrected = corrected if corrected.shape == scores.shape else corrected.T
    np.savez(arguments.output, scores=corrected, version=harmonypy.__version__)


if __name__ == "__main__":
    main()
