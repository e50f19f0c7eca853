"""Batch side and biology side: what scib-metrics says itself, on the same neighbours."""

import numpy as np
import pytest

scib = pytest.importorskip("scib_metrics", reason='needs pip install "balans-dask[evaluate]"')

from scib_metrics import nearest_neighbors  # noqa: E402
from scib_metrics.nearest_neighbors import NeighborsResults, _pynndescent  # noqa: E402
from sklearn.metrics import pairwise_distances  # noqa: E402

from balans_dask.evaluate.scib import (  # noqa: E402
    batch_scores,
    biology_scores,
    cluster_agreement,
    nearest_neighbours,
    variance_kept,
)

N_ROWS, N_LABELS, N_BATCHES = 240, 4, 3


@pytest.fixture
def screen(rng):
    """Profiles of four labels in three shifted batches, and the same without the shifts."""
    label, batch = np.arange(N_ROWS) % N_LABELS, rng.integers(N_BATCHES, size=N_ROWS)
    clean = 3 * rng.normal(size=(N_LABELS, 6))[label] + rng.normal(size=(N_ROWS, 6))
    shifted = clean + 2 * rng.normal(size=(N_BATCHES, 6))[batch]
    return shifted, clean, label.astype(str), batch.astype(str)


def nearest(embedding, k):
    distances = pairwise_distances(embedding)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return NeighborsResults(indices, np.take_along_axis(distances, indices, axis=1))


def test_the_batch_side_is_that_of_scib_metrics(screen):
    before, after, label, batch = screen
    scores = batch_scores(after, before, batch, label)
    expected = {
        "ilisi": scib.ilisi_knn(nearest(after, 90), batch),
        "kbet": scib.kbet_per_label(nearest(after, 50), batch, label),
        "silhouette_batch": scib.silhouette_batch(after, label, batch),
        "pcr": scib.pcr_comparison(before, after, batch, categorical=True),
        "graph_connectivity": scib.graph_connectivity(nearest(after, 15), label),
    }
    assert scores == pytest.approx(expected, abs=1e-5)


def test_scib_metrics_search_for_neighbours_which_compiles_in_every_process_is_not_used(
    screen, monkeypatch
):
    before, after, label, batch = screen
    monkeypatch.setattr(_pynndescent, "NNDescent", None)
    its_own = nearest_neighbors.pynndescent
    with pytest.raises(TypeError):
        its_own(after, 5)
    assert np.isfinite(batch_scores(after, before, batch, label)["kbet"])
    assert nearest_neighbors.pynndescent is its_own


def test_the_biology_side_is_that_of_scib_metrics(screen):
    _, after, label, _ = screen
    scores = biology_scores(after, label)
    assert scores["clisi"] == pytest.approx(scib.clisi_knn(nearest(after, 90), label), abs=1e-5)
    silhouette = scib.silhouette_label(after, label)
    assert scores["silhouette_label"] == pytest.approx(silhouette, abs=1e-5)


def test_clusters_agree_with_labels_as_those_of_scib_metrics_do(rng):
    label = np.arange(N_ROWS) % N_LABELS
    separated = 30 * rng.normal(size=(N_LABELS, 6))[label] + rng.normal(size=(N_ROWS, 6))
    theirs = scib.nmi_ari_cluster_labels_kmeans(separated, label)
    best = max(cluster_agreement(separated, label, seed) for seed in range(5))
    assert best == pytest.approx((theirs["nmi"], theirs["ari"]))


def test_cluster_scores_are_means_over_seeds_with_their_spread(screen):
    before, _, label, _ = screen
    scores = biology_scores(before, label, seeds=(3, 4, 5))
    ari = [cluster_agreement(before, label, seed)[1] for seed in (3, 4, 5)]
    assert scores["ari"] == pytest.approx(np.mean(ari))
    assert scores["ari_sd"] == pytest.approx(np.std(ari))


def test_mixed_batches_score_higher_on_every_batch_score(screen):
    before, after, label, batch = screen
    separate = batch_scores(before, before, batch, label)
    mixed = batch_scores(after, before, batch, label)
    assert separate["pcr"] == 0
    assert all(mixed[name] > separate[name] for name in ("ilisi", "kbet", "silhouette_batch"))


def test_what_too_small_labels_leave_undefined_is_not_a_number(rng):
    label, batch = np.repeat(np.arange(40), 4), np.tile(np.arange(4), 40)
    embedding = rng.normal(size=(160, 3))
    scores = batch_scores(embedding, embedding, batch, label)
    undefined = {name for name, value in scores.items() if np.isnan(value)}
    assert undefined == {"kbet", "silhouette_batch"}


def test_kbet_says_nothing_of_more_batches_than_it_takes_neighbours():
    rng = np.random.default_rng(0)
    embedding, label = rng.normal(size=(400, 4)), np.arange(400) % 2
    assert np.isnan(batch_scores(embedding, embedding, np.arange(400) % 160, label)["kbet"])
    assert np.isfinite(batch_scores(embedding, embedding, np.arange(400) % 8, label)["kbet"])


def test_more_neighbours_than_rows_are_all_rows(rng):
    assert nearest_neighbours(rng.normal(size=(12, 3)), 90).indices.shape == (12, 12)


def test_a_row_is_its_own_first_neighbour_and_lies_in_its_own_place_however_far_out(rng):
    found = nearest_neighbours(1e4 + rng.normal(size=(200, 6)), 20)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(200))
    np.testing.assert_array_equal(found.distances[:, 0], 0.0)
    assert (found.distances[:, 1:] > 0).all()


def test_variance_kept_is_a_share_of_that_before(rng):
    embedding = rng.normal(size=(50, 3))
    assert variance_kept(embedding, embedding / 2 + 7) == pytest.approx(0.25)
