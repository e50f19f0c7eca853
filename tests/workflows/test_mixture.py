"""Generated screens: what defaults have generated stays, and every parameter does what it says."""

import hashlib

import numpy as np
import pytest

from balans_dask.workflows.mixture import Mixture

PLAIN = {"n_features": 6}
MANY = {"n_features": 6, "n_clusters": 4, "n_batch_specific": 2, "size_ratio": 5.0, "n_rare": 2,
        "rare_share": 0.01, "seed": 3}  # fmt: skip


def values(mixture):
    return np.concatenate([rows for _, rows in mixture.slabs(mixture.n_rows)]).astype(np.float64)


def codes(mixture):
    return [column.cat.codes.to_numpy() for _, column in mixture.annotations().items()]


@pytest.mark.parametrize(
    ("parameters", "digest"),
    [
        (PLAIN, "633034d9b9e382fd23aa58cca6307ecb331048950bbb4391261ff2b392bf908d"),
        (MANY, "eae6bf81f6055c0a14bbb4592c75f548a2bfc64153c2a5f1c0ec7310d039f53e"),
    ],
)
def test_parameters_that_came_later_leave_generated_bytes_alone(parameters, digest):
    mixture = Mixture(500, **parameters)
    found = hashlib.sha256()
    for _, rows in mixture.slabs(200):
        found.update(rows.tobytes())
    for code in codes(mixture):
        found.update(code.astype(np.int64).tobytes())
    assert found.hexdigest() == digest


def test_a_rotation_keeps_lengths_and_turns_every_row_by_its_angle():
    still = {"batch_offset": 0.0, "batch_stretch": 0.0, "n_batches": 3}
    before = values(Mixture(300, 8, **still))
    after = values(Mixture(300, 8, **still, batch_rotation=0.7))
    lengths = np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), lengths, rtol=1e-5)
    np.testing.assert_allclose((before * after).sum(axis=1) / lengths**2, np.cos(0.7), rtol=1e-4)


def test_batches_of_different_size_and_clusters_of_different_width():
    batch, _ = codes(Mixture(20_000, 2, batch_ratio=8.0, n_batches=4))
    sizes = np.bincount(batch)
    np.testing.assert_allclose(sizes[1:] / sizes[:-1], 2.0, rtol=0.2)
    mixture = Mixture(20_000, 4, n_clusters=3, noise_ratio=4.0, batch_offset=0, batch_stretch=0)
    _, cluster = codes(mixture)
    rows = values(mixture) - mixture.means()[cluster]
    widths = sorted(rows[cluster == number].std() for number in range(3))
    np.testing.assert_allclose(widths, [0.5, 1.0, 2.0], rtol=0.05)


def test_means_lie_in_a_subspace_as_far_apart_as_without():
    few, all_of_them = (Mixture(10, 200, n_clusters=400, signal_rank=r) for r in (7, None))
    assert np.linalg.matrix_rank(few.means()) == 7
    assert (few.means() ** 2).mean() == pytest.approx((all_of_them.means() ** 2).mean(), rel=0.1)
