"""Populations that are missing from a batch are not matched there, and a run says so."""

import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from balans_dask import Balans
from balans_dask.errors import InputWarning, speaking_of_flags
from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.io.store import open_store
from balans_dask.kernels.coverage import Reach
from balans_dask.kernels.landmarks import landmark_block
from balans_dask.kernels.projection import Projection
from balans_dask.model.fit import limited_landmarks
from balans_dask.model.sampler import Round, SamplerState
from balans_dask.model.state import arrays_of, sampled_from
from balans_dask.model.stopping import Tally
from balans_dask.workflows.mixture import Mixture, write_mixture
from balans_dask.workflows.records import correction_record
from tests.support.commands import run

OPERATORS = ["smooth", "nystrom", "displace"]
SEPARATED = {"cluster_spread": 1.5, "batch_offset": 0.4}
OVERLAPPING = {"cluster_spread": 0.8, "batch_offset": 0.27}


@cache
def screen(n_specific, n_rows=2500, **shape):
    mixture = Mixture(n_rows, n_batch_specific=n_specific, **shape)
    profiles = np.concatenate([rows for _, rows in mixture.slabs(n_rows)])
    obs = mixture.annotations()
    label = obs["Metadata_treatment"].cat.codes.to_numpy()
    return profiles, obs["Metadata_batch"].to_numpy(), label


def same_label_share(values, label, rows):
    """Of the 30 nearest neighbours of some rows, which are sought among all."""
    values = values.astype(np.float64)
    norms = (values**2).sum(axis=1)
    squared = norms - 2 * values[rows] @ values.T
    squared[np.arange(len(rows)), rows] = np.inf
    nearest = np.argpartition(squared, 30, axis=1)[:, :30]
    return (label[nearest] == label[rows][:, None]).mean()


def total(values, batch, label):
    shares = neighbour_shares(values, label, batch, max_rows=1000)
    biology = (shares.same_label + (silhouette_score(values, label, sample_size=1000) + 1) / 2) / 2
    return 0.6 * biology + 0.4 * shares.batch_mixing


def test_the_separated_mixture_is_separated():
    """Clusters are apart, within a batch, at least 3 times as far as batches typically are."""
    profiles, batch, label = screen(0, **SEPARATED)
    centres = np.array(
        [
            [profiles[(batch == b) & (label == k)].mean(axis=0) for k in range(20)]
            for b in np.unique(batch)
        ]
    )
    apart = np.linalg.norm(centres[:, :, None] - centres[:, None], axis=3)
    offsets = np.linalg.norm(centres[:, None] - centres, axis=3)
    typical = lambda distances: np.sqrt((distances[distances > 0] ** 2).mean())  # noqa: E731
    assert typical(apart) > 3 * typical(offsets)


@pytest.mark.parametrize(("n_specific", "size_ratio"), [(4, 1.0), (10, 1.0), (20, 1.0), (10, 4.0)])
@pytest.mark.parametrize("operator", OPERATORS)
def test_clusters_of_one_batch_keep_their_neighbours(operator, n_specific, size_ratio):
    profiles, batch, label = screen(n_specific, size_ratio=size_ratio, **SEPARATED)
    affected = np.flatnonzero(label < n_specific)[:400]
    corrected = Balans(operator=operator).fit_transform(profiles, batch=batch)
    raw, kept = (same_label_share(values, label, affected) for values in (profiles, corrected))
    assert kept > raw - 0.03


@pytest.mark.parametrize("operator", OPERATORS)
def test_where_every_cluster_is_everywhere_the_guard_costs_nothing(operator):
    profiles, batch, label = screen(0, **SEPARATED)
    guarded, paper = (
        Balans(operator=operator, **how).fit_transform(profiles, batch=batch)
        for how in ({}, {"max_scale_ratio": None})
    )
    assert total(guarded, batch, label) > total(paper, batch, label) - 0.01


@pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
def test_the_paper_matches_them_all_the_same():
    profiles, batch, label = screen(4, **SEPARATED)
    affected = np.flatnonzero(label < 4)
    model = Balans.paper()
    corrected = model.fit_transform(profiles, batch=batch)
    assert same_label_share(corrected, label, affected) < 0.8
    assert model.n_capped_ == 0


@pytest.mark.parametrize(
    ("shape", "n_specific"), [(OVERLAPPING, 10), (OVERLAPPING, 20), (SEPARATED, 10)]
)
def test_many_limited_landmarks_are_warned_of(shape, n_specific):
    profiles, batch, _ = screen(n_specific, **shape)
    model = Balans(operator="smooth")
    with pytest.warns(InputWarning, match="too far from some plate") as warned:
        model.fit(profiles, batch=batch)
    assert [f"{model.n_capped_:,}" in str(warning.message) for warning in warned] == [True]


@pytest.mark.parametrize(
    ("n_capped", "said", "unsaid"),
    [
        (91, "so little is corrected", "mix less there"),
        (90, "mix less there", "so little is corrected"),
    ],
)
def test_it_is_said_where_the_guard_holds_back_nearly_everything(n_capped, said, unsaid):
    found = limited_landmarks(n_capped, 100)
    assert found.startswith(f"{n_capped} of 100 sampled wells are too far from some plate to match")
    assert found.endswith("; if every plate holds every treatment, give max_scale_ratio=None")
    assert said in found
    assert unsaid not in found
    with speaking_of_flags():
        assert limited_landmarks(n_capped, 100).endswith("give --max-scale-ratio none")
    assert not limited_landmarks(25, 100)


@pytest.mark.parametrize(
    "shape",
    [
        OVERLAPPING,
        SEPARATED,
        SEPARATED | {"size_ratio": 10.0},
        SEPARATED | {"batch_offset": 0.8},
        OVERLAPPING | {"batch_offset": 0.54},
    ],
)
def test_a_screen_with_everything_everywhere_is_quiet(shape):
    profiles, batch, _ = screen(0, **shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Balans(operator="smooth").fit(profiles, batch=batch)


def test_what_a_landmark_reached_survives_a_checkpoint():
    blocks = []
    for first in (0, 3):
        block = landmark_block(np.arange(first, first + 3), np.ones((3, 2), np.float32), 4)
        block = block.with_scales(np.ones((3, 2))).with_thresholds(np.ones(3, dtype=np.int64))
        blocks.append(block.with_guard(np.full(3, 2.0), np.array([True, False, True])))
    sampled = SamplerState(blocks)
    sampled.curve += [Round(1, 3, 6, 6, Tally()), Round(2, 6, 6, 6, Tally(n_idle=1))]
    sampled.reach += [Reach(np.array([4, 3, 1]), np.array([4, 1, 1]))]
    sampled.reach += [Reach(np.array([3, 1, 2]), np.zeros(3, dtype=np.int64))]
    state = arrays_of(Projection(np.arange(2), np.zeros(2), None, 1.0, 1.0), sampled)
    restored = sampled_from(state, 4)
    assert restored.n_capped == sampled.n_capped == 4
    np.testing.assert_array_equal(restored.blocks[1].limits, [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(restored.n_kept, [4, 3, 1, 3, 1, 2])
    np.testing.assert_array_equal(restored.reach[0].n_new, [4, 1, 1])


@pytest.mark.parametrize(
    "option", [*(pytest.param(given, marks=pytest.mark.long) for given in (None, "none")), "1.5"]
)
def test_the_command_takes_a_number_auto_or_none(tmp_path, option):
    given = ["--operator", "smooth"]
    given += [] if option is None else ["--max-scale-ratio", option]
    write_mixture(Mixture(600, 10, 4, 2, n_batch_specific=2), str(tmp_path / "A.zarr"))
    stores = [str(tmp_path / name) for name in ("A.zarr", "B.zarr")]
    said = run("correct", *stores, "--batch-key", "Metadata_batch", *given)
    record = correction_record(open_store(stores[1]))
    expected = {None: "auto", "none": None, "1.5": 1.5}[option]
    assert record["parameters"].get("max_scale_ratio") == expected
    assert (int(record["n_capped"]) > 0) == (option != "none")
    assert ("too far from some plate" in said) == (option != "none")


@pytest.mark.parametrize(
    ("operator", "bad"),
    [("smooth", "0.5"), ("smooth", "few"), ("smooth", "nan"), ("align", "1.5")],
)
def test_other_ratios_are_refused_and_any_with_align(tmp_path, operator, bad):
    write_mixture(Mixture(60, 4, 2, 2), str(tmp_path / "A.zarr"))
    stores = [str(tmp_path / name) for name in ("A.zarr", "B.zarr")]
    options = ["--batch-key", "Metadata_batch", "--operator", operator, "--max-scale-ratio", bad]
    assert "ratio" in run("correct", *stores, *options, code=2)
