"""The fields of `align`, each against the dense reference, and where they have an edge."""

import numpy as np
import pytest

from balans_dask.kernels.align import (
    OffsetSystem,
    ScaleMoments,
    beliefs,
    gates,
    local_moves,
    log_scales,
    means_and_variances,
    meeting_places,
    meetings,
    new_log_scales,
    new_offsets,
    offset_sides,
    pair_shares,
    relative_shares,
    scale_moments,
    shared_kappa,
)
from tests.support import align_reference as reference

N_ROWS, N_LANDMARKS, N_BATCHES, N_COLUMNS = 240, 18, 4, 5
LONELY = 3
"""The first landmarks, which one batch alone reaches."""
APART = N_BATCHES - 1
"""A batch whose rows lonely landmarks alone reach."""


class Example:
    """Weights of rows near landmarks, of which some see one batch alone, and values of the rows."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.batch = np.sort(rng.integers(N_BATCHES, size=N_ROWS))
        self.sizes = np.bincount(self.batch)
        scale = 1.0 + 0.3 * rng.random((N_BATCHES, N_COLUMNS))[self.batch]
        self.X = 50.0 + 2.0 * self.batch[:, None] + scale * rng.normal(size=(N_ROWS, N_COLUMNS))
        self.A = rng.random((N_LANDMARKS, N_ROWS)) * (rng.random((N_LANDMARKS, N_ROWS)) < 0.4)
        self.A[:, self.batch == APART] = 0.0
        for i in range(LONELY):
            self.A[i, self.batch != (i, 1, APART)[i]] = 0.0
        self.A[2, self.batch == APART] = 0.7
        self.E = rng.random((N_LANDMARKS, N_ROWS))
        self.own = np.arange(N_LANDMARKS) % (N_BATCHES - 1)
        # W_ib, mu_ib, V_ib as the reference has them: one row a landmark.
        self.r = rng.random((N_LANDMARKS, N_BATCHES))
        self.r[np.arange(N_LANDMARKS), self.own] = 1.0
        self.W, self.mu, self.V = reference.moments(self.A, self.X, self.batch, N_BATCHES)

    def sums(self, centre=None):
        """As the sums over partitions: one row a batch, W_ib last."""
        columns = [self.X - (0.0 if centre is None else centre)]
        if centre is not None:
            columns.append(columns[0] ** 2)
        columns = np.concatenate([*columns, np.ones((N_ROWS, 1))], axis=1)
        here = [self.batch == b for b in range(N_BATCHES)]
        return np.stack([self.A[:, rows] @ columns[rows] for rows in here])


def turned(table):
    """From one row a landmark to one row a batch, or back."""
    return np.swapaxes(table, 0, 1)


def offsets_of(met, means, sizes):
    return OffsetSystem(met.laplacian(), sizes).offsets(offset_sides(met, means))


@pytest.fixture(scope="module", params=[0, 1])
def example(request):
    return Example(request.param)


def assert_close(found, expected, rtol=1e-9):
    atol = rtol * np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_means_and_variances_are_those_of_the_rows(example):
    means, variances = means_and_variances(example.sums())
    assert_close(means, turned(example.mu))
    assert variances.size == 0
    means, variances = means_and_variances(example.sums(example.X.mean(axis=0)), example.X.mean(0))
    assert_close(means, turned(example.mu))
    assert_close(variances, turned(example.V), rtol=1e-8)
    assert (example.V[:LONELY] == 0.0).any()
    assert (variances >= 0.0).all()


def test_equal_rows_have_no_variance_and_their_batch_no_scale():
    """Rounding leaves some, whose logarithm would be far from that of any other batch."""
    rng = np.random.default_rng(0)
    weights = rng.random((2, 30, 9))
    rows = rng.normal(size=(2, 9, 4))
    rows[1] = [0.1, 1e3, -7.3, 1e-5]
    centre = np.array([0.3, -0.7, 2.0, 1.0])
    columns = [rows - centre, (rows - centre) ** 2, np.ones((2, 9, 1))]
    sums = weights @ np.concatenate(columns, axis=2)
    means, variances = means_and_variances(sums, centre)
    assert (variances[0] > 0.01).all()
    assert not variances[1].any()
    assert np.ptp(means[1], axis=0).any()
    omega = np.ones((2, 30))
    for other in range(2):
        moments = scale_moments(omega, sums, centre, means[other], variances[other])
        assert (moments.variance[0] > 0.01).all()
        assert not moments.variance[1].any()
        logs, mean = log_scales(moments, np.array([9.0, 9.0]), np.array([9, 9]))
        assert not logs.any()
        assert not mean.any()


def test_landmarks_that_one_batch_alone_reaches_count_for_places_and_not_for_offsets(example):
    met = meetings(turned(example.W), turned(example.r))
    _, p, trust = reference.trusts(example.W, example.r)
    assert_close(met.share, turned(p))
    assert_close(met.trust, turned(trust))
    assert not met.trust[:, :LONELY].any()
    assert (met.share[:, :LONELY].sum(axis=0) == 1.0).all()
    assert_close(met.share.sum(axis=0), np.ones(N_LANDMARKS))


def test_offsets_and_meeting_places(example):
    means, _ = means_and_variances(example.sums())
    met = meetings(turned(example.W), turned(example.r))
    g = offsets_of(met, means, example.sizes)
    expected, t = reference.offsets(example.W, example.mu, example.sizes, example.r)
    assert_close(g, expected, rtol=1e-7)
    assert_close(meeting_places(met, means, g), t)
    assert np.ptp(g[:APART], axis=0).min() > 2.0
    assert_close(example.sizes @ g, np.zeros(N_COLUMNS) + 1e-9 * np.abs(g).max(), rtol=10)


def test_the_laplacian_is_symmetric_and_knows_no_constant_offset(example):
    laplacian = meetings(turned(example.W), turned(example.r)).laplacian()
    assert_close(laplacian, laplacian.T)
    assert_close(laplacian @ np.ones(N_BATCHES) + 1.0, np.ones(N_BATCHES))
    assert (np.diag(laplacian)[:APART] > 0.0).all()
    assert not laplacian[APART].any()


def test_where_no_batches_meet_nothing_is_offset():
    weight = np.diag([3.0, 2.0, 5.0])
    met = meetings(weight, np.ones_like(weight))
    assert not met.laplacian().any()
    assert not offsets_of(met, np.ones((3, 3, 2)), np.array([5, 6, 7])).any()


@pytest.mark.parametrize("faint", [1e-5, 1e-8, 1e-12, 1e-14, 1e-15, 3e-16, 1e-17, 1e-44])
@pytest.mark.parametrize("n_batches", [2, 3, 40])
def test_of_batches_that_hardly_meet_rounding_makes_no_offsets(faint, n_batches):
    """The Laplacian must not be what rounding has left of larger numbers."""
    rng = np.random.default_rng(n_batches)
    n_landmarks = 3000
    weight = np.zeros((n_batches, n_landmarks))
    own, i = np.arange(n_landmarks) % n_batches, np.arange(n_landmarks)
    weight[own, i] = rng.uniform(1.0, 400.0, n_landmarks)
    weight[(own + 1) % n_batches, i] = faint * rng.random(n_landmarks)
    means = 1e4 + rng.normal(size=(n_batches, n_landmarks, 3))
    met = meetings(weight, np.ones_like(weight))
    g = offsets_of(met, means, np.full(n_batches, 50))
    assert np.abs(g).max() < 3.0
    assert g.any() == (faint > 1e-9)


def test_the_laplacian_of_a_batch_that_hardly_meets_others_is_what_it_shares_with_them():
    weight = np.full((3, 400), 200.0)
    weight[2, :200] = 0.0
    weight[:2, 200:] = 1e-13
    laplacian = meetings(weight, np.ones_like(weight)).laplacian()
    shared = -laplacian.sum(axis=1, where=~np.eye(3, dtype=bool))
    assert (shared[2] > 0.0) & (shared[2] < 1e-9)
    np.testing.assert_allclose(np.diag(laplacian), shared, rtol=1e-9)


def test_offsets_of_thousands_of_batches_in_a_chain_are_solved():
    """One landmark between each two neighbours: the worst condition that a Laplacian can have."""
    n_batches = 500
    weight = np.zeros((n_batches, n_batches - 1))
    i = np.arange(n_batches - 1)
    weight[i, i], weight[i + 1, i] = 50.0, 50.0
    means = np.broadcast_to(np.arange(n_batches)[:, None, None] * 4e-3, (*weight.shape, 1))
    met = meetings(weight, np.ones_like(weight))
    g = offsets_of(met, means, np.full(n_batches, 384))
    assert np.isfinite(g).all()
    assert np.abs(g).max() <= 2.0


def test_offsets_of_new_batches_lead_to_the_places_of_the_fit(example):
    means, _ = means_and_variances(example.sums())
    weight = turned(example.W).copy()
    weight[1] = 0.0
    places = np.random.default_rng(0).normal(size=(N_LANDMARKS, N_COLUMNS))
    found = new_offsets(weight, turned(example.r), means, places)
    for b in range(N_BATCHES):
        w = example.r[:, b] * weight[b] / (weight[b] + 1.0)
        if b == 1:
            assert not found[b].any()
        else:
            assert_close(found[b], w @ (places - means[b]) / (w.sum() * 1.001))


@pytest.mark.parametrize("of", ["some", "none across", "none within", "nothing"])
def test_shares_of_pairs_and_the_gates_that_follow(example, of):
    """Landmarks are no rows here, so that nothing is left out twice."""
    A, E = example.A.copy(), example.E
    is_own = example.own[:, None] == example.batch[None, :]
    if of in ("none across", "nothing"):
        A[~is_own] = 0.0
    if of in ("none within", "nothing"):
        A[is_own] = 0.0
    here = [example.batch == b for b in range(N_BATCHES)]
    table = lambda values: np.stack([values[:, rows].sum(axis=1) for rows in here])  # noqa: E731
    shares = pair_shares(table(A * E), table(A), example.own)
    across = (A * E)[~is_own].sum() / max(A[~is_own].sum(), 1e-300)
    within = (A * E)[is_own].sum() / max(A[is_own].sum(), 1e-300)
    assert_close(shares.across, across)
    assert_close(shares.within, within)
    assert shares.rho == (pytest.approx(min(1.0, across / within)) if of == "some" else 0.0)
    relative = shares.relative(example.own)
    for kappa in (0.0, 0.3, 1.0):
        belief, gate = beliefs(relative, kappa), gates(relative, kappa)
        assert belief.shape == gate.shape == (N_BATCHES, N_LANDMARKS)
        for i in range(N_LANDMARKS):
            h = [
                ((A * E)[i, rows].sum() + 5 * (within if b == example.own[i] else across))
                / (A[i, rows].sum() + 5)
                for b, rows in enumerate(here)
            ]
            h_own = h[example.own[i]]
            assert shares.of_own[i] == pytest.approx(h_own)
            for b in range(N_BATCHES):
                ratio = h[b] / h_own if h_own > 0 else 0.0
                ratio, least = (1.0 if b == example.own[i] else ratio), min(1.0, kappa / 0.75)
                assert belief[b, i] == pytest.approx(max(min(1, ratio), least), abs=1e-12)
                risen = np.clip((ratio - 0.5) / 0.3, 0, 1)
                assert gate[b, i] == pytest.approx(max(risen, least), abs=1e-12)


@pytest.mark.parametrize(
    ("rho", "kappa"), [(0.0, 0.0), (0.5, 0.0), (0.65, 0.375), (0.8, 0.75), (1.0, 0.75)]
)
def test_kappa_rises_from_one_half_to_four_fifths(rho, kappa):
    assert shared_kappa(rho) == pytest.approx(kappa)


def test_a_landmark_whose_own_rows_are_not_confirmed_lets_nothing_pass():
    relative = relative_shares(np.array([[0.9, 0.9]]), np.array([0.0, 0.9]))
    assert relative.tolist() == gates(relative, 0.0).tolist() == [[0.0, 1.0]]


def scale_tables(example):
    omega = reference.trusts(example.W, example.r)[2] * reference.rows_shared_out(
        example.A, example.batch, N_BATCHES
    )
    t = reference.offsets(example.W, example.mu, example.sizes, example.r)[1]
    _, p, _ = reference.trusts(example.W, example.r)
    common = np.einsum("ib,ibf->if", p, example.V)
    return omega, t, common


def test_moments_of_scales_are_weighed_by_where_the_rows_are(example):
    omega, t, common = scale_tables(example)
    centre = example.X.mean(axis=0)
    found = scale_moments(turned(omega), example.sums(centre), centre, t, common)
    m, v, v_t = reference.scale_moments(omega, example.mu, example.V, t, common)
    assert_close(found.centre, m)
    assert_close(found.variance, v)
    assert_close(found.target, v_t)
    assert not omega[:, APART].any()
    assert not found.variance[APART].any()
    columns = np.array([3, 0])
    np.testing.assert_array_equal(found.of_columns(columns).target, found.target[:, columns])


@pytest.mark.parametrize("n_met", [0.0, 0.3, 40.0, 5000.0])
def test_log_scales(example, n_met):
    omega, t, common = scale_tables(example)
    m, v, v_t = reference.scale_moments(omega, example.mu, example.V, t, common)
    # A batch without spread, one whose scale is beyond all limits, one that meets nobody.
    v[1, 2] = 0.0
    v[2] *= 1e4
    n = n_met * np.arange(1.0, N_BATCHES + 1)
    uses = np.ones(N_COLUMNS, dtype=bool)
    expected, mean = reference.log_scales(v, v_t, n, example.sizes, uses)
    found, found_mean = log_scales(ScaleMoments(m, v, v_t), n, example.sizes)
    assert_close(found, expected)
    assert_close(found_mean, mean)
    assert not found[[1, APART]].any()
    if n_met == 5000.0:
        assert (found[2] == 0.7).all()
        assert (np.abs(found) <= 0.7).all()
        assert (found[0] < 0.0).any()
    if n_met == 0.0:
        assert not found.any()
    new = new_log_scales(ScaleMoments(m, v, v_t), n, mean)
    assert_close(new, found)


def test_columns_that_agree_share_one_scale_and_others_keep_theirs():
    """Where columns differ by less than noise, the scale over all columns stands for each."""
    rng = np.random.default_rng(0)
    v_t = np.ones((1, 400))
    sizes, n = np.array([100]), np.array([100.0])
    quiet = np.exp(0.6 + 0.01 * rng.normal(size=(1, 400)))
    logs = log_scales(ScaleMoments(v_t, quiet, v_t), n, sizes)[0]
    logs = logs + log_scales(ScaleMoments(v_t, quiet, v_t), n, sizes)[1]
    assert np.ptp(logs) < 1e-12
    assert logs[0, 0] == pytest.approx(0.5 * np.log(quiet.mean()) * 100 / 150)
    loud = np.exp(2.0 * rng.normal(size=(1, 400)))
    moments = ScaleMoments(v_t, loud, v_t)
    found = log_scales(moments, n, sizes)[1]
    assert np.corrcoef(found, np.log(loud[0]))[0, 1] > 0.99


@pytest.mark.parametrize("soft", [1.0, 3.0])
def test_local_moves(example, soft):
    g, t = reference.offsets(example.W, example.mu, example.sizes, example.r)
    gate = np.random.default_rng(0).random((N_LANDMARKS, N_BATCHES))
    found = local_moves(turned(example.W), turned(example.mu), t, g, turned(gate), soft)
    expected = reference.local_moves(example.W, example.mu, t, g, gate, soft)
    assert found.dtype == np.float32
    assert_close(found, turned(expected), rtol=1e-6)
    # Where a batch has no row near a landmark, the row moves with its batch.
    far = turned(example.W) == 0.0
    assert far.any()
    expected = np.broadcast_to(g[:, None].astype(np.float32), found.shape)
    np.testing.assert_array_equal(found[far], expected[far])
