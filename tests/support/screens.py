"""Small generated screens for tests."""

from typing import NamedTuple

import numpy as np


class Screen(NamedTuple):
    profiles: np.ndarray
    batch: np.ndarray
    label: np.ndarray


def gaussian_screen(
    n_rows: int,
    n_features: int = 8,
    n_clusters: int = 6,
    n_batches: int = 3,
    offset: float = 0.6,
    seed: int = 0,
) -> Screen:
    rng = np.random.default_rng(seed)
    label = rng.integers(n_clusters, size=n_rows)
    batch = rng.integers(n_batches, size=n_rows)
    means = rng.normal(scale=2.0, size=(n_clusters, n_features))
    offsets = rng.normal(scale=offset, size=(n_batches, n_features))
    noise = rng.normal(size=(n_rows, n_features))
    profiles = (means[label] + offsets[batch] + noise).astype(np.float32)
    return Screen(profiles, np.array([f"plate{b}" for b in batch]), label)


def integer_screen(n_rows: int, n_features: int = 6, seed: int = 0) -> Screen:
    """Whole numbers of mean exactly zero: every distance is exact in float32 and float64."""
    half = gaussian_screen(n_rows // 2, n_features, seed=seed)
    numbers = np.round(half.profiles * 8)
    return Screen(
        np.concatenate([numbers, -numbers]).astype(np.float32),
        np.concatenate([half.batch, half.batch[::-1]]),
        np.concatenate([half.label, half.label + half.label.max() + 1]),
    )
