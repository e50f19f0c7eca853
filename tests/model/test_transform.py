"""A frozen model corrects further rows: of batches that it knows, and of ones that it does not."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.exceptions import NotFittedError

from balans_dask import Balans
from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.model.transform import warn_of_uncovered
from balans_dask.parameters import OPERATORS
from tests.support import reference
from tests.support.screens import gaussian_screen, integer_screen

SCREEN = gaussian_screen(1200, n_batches=4)
FEW = gaussian_screen(400, n_batches=4)
OLD = SCREEN.batch != "plate3"


def halves():
    old = (SCREEN.profiles[OLD], SCREEN.batch[OLD])
    return *old, SCREEN.profiles[~OLD], SCREEN.batch[~OLD]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("n_passes", [1, 2])
@pytest.mark.parametrize("basis", ["components", "embedding"])
def test_the_rows_of_the_fit_come_out_as_the_fit_put_them_out(operator, n_passes, basis):
    n_components = 5 if basis == "components" else None
    model = Balans(operator=operator, n_passes=n_passes, n_components=n_components, strength=0.9)
    fitted = model.fit_transform(FEW.profiles, batch=FEW.batch)
    again = model.transform(FEW.profiles, batch=FEW.batch)
    assert again.tobytes() == fitted.tobytes()


@pytest.mark.filterwarnings("ignore:.*covered by no landmark")
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_row_of_a_known_batch_moves_alike_in_any_company(operator):
    X, batch, new, new_batch = halves()
    model = Balans(operator=operator, n_passes=2).fit(X, batch=batch)
    alone = model.transform(X[:1], batch=batch[:1])
    among = model.transform(np.concatenate([X[:7], new]), batch=[*batch[:7], *new_batch])
    np.testing.assert_array_equal(alone, among[:1])


@pytest.mark.parametrize("cap", [None, 1.2])
def test_a_new_batch_meets_the_frozen_landmarks_as_the_equations_say(cap):
    screen = integer_screen(400, seed=4)
    is_new = screen.batch == np.unique(screen.batch)[-1]
    is_new[:5] = True
    X, batch = screen.profiles[~is_new], screen.batch[~is_new]
    new, new_batch = screen.profiles[is_new], screen.batch[is_new]
    mean = X.mean(axis=0)
    P, new_P = X - mean, new - mean
    for operator in ("smooth", "displace"):
        model = Balans(
            n_components=None, block_rows=1, patience=8, operator=operator, max_scale_ratio=cap
        )
        model.fit(X, batch=batch)
        affinities = dense_affinities(model, P, batch)
        run = reference.ReferenceRun(
            list(model.sampled_rows_), model.scales_, model.thresholds_, affinities, None, ""
        )
        floor = 2.0**-40 * float((P.astype(np.float64) ** 2).sum()) / len(P)
        met = reference.meet(run, P, batch, new_P, new_batch, n_neighbors=5, floor=floor, cap=cap)
        if operator == "smooth":
            expected, covered = reference.frozen_smooth(run, X, met, new)
        else:
            expected, covered = reference.frozen_displace(run, X, batch, met, new, new_batch)
        found = model.transform(new, batch=new_batch)
        assert covered.sum() > 50
        np.testing.assert_allclose(found[covered], expected[covered], rtol=0, atol=2e-5)


def dense_affinities(model, P, batch):
    codes = np.unique(batch, return_inverse=True)[1]
    d2 = ((P[model.sampled_rows_, None].astype(np.float64) - P[None]) ** 2).sum(axis=2)
    u = d2 / model.scales_[:, codes] ** 2
    return np.where(u < model.thresholds_[:, None], np.exp(-u), 0.0)


@pytest.mark.parametrize("operator", OPERATORS)
def test_many_new_batches_at_once_need_no_refit(operator):
    X, batch, new, _ = halves()
    model = Balans(operator=operator, n_components=5).fit(X, batch=batch)
    names = np.array([f"new {i % 7}" for i in range(len(new))])
    found = model.transform(new, batch=names)
    assert np.isfinite(found).all()
    assert not np.array_equal(found, new)
    # A new batch is estimated from its own rows alone, whatever else is corrected with it.
    one = names == "new 3"
    np.testing.assert_array_equal(model.transform(new[one], batch=names[one]), found[one])


@pytest.mark.filterwarnings("ignore:.*covered by no landmark")
def test_a_new_batch_ends_up_among_the_old_ones():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 8, (4, 6))
    label = rng.integers(4, size=2000)
    offset = {"a": 0.0, "b": 1.5, "c": -2.0}
    batch = rng.choice(list(offset), size=2000)
    X = centres[label] + rng.normal(size=(2000, 6)) + np.array([offset[b] for b in batch])[:, None]
    old = batch != "c"
    model = Balans(operator="displace", n_components=None, n_passes=2)
    before = model.fit_transform(X[old], batch=batch[old])
    after = model.transform(X[~old], batch=batch[~old])
    for cluster in range(4):
        target = before[label[old] == cluster].mean(axis=0)
        raw = np.linalg.norm(X[~old][label[~old] == cluster].mean(axis=0) - target)
        moved = np.linalg.norm(after[label[~old] == cluster].mean(axis=0) - target)
        assert moved < 0.15 * raw


def test_dask_and_zarr_arrays_stay_lazy_and_agree_with_numpy(tmp_path):
    X, batch, new, new_batch = halves()
    model = Balans(operator="displace", n_passes=2, strength=0.5).fit(X, batch=batch)
    expected = model.transform(new, batch=new_batch)
    array = zarr.create_array(tmp_path / "x.zarr", data=new, chunks=(70, 3))
    for given in (array, da.from_array(new, chunks=(50, 8))):
        found = model.transform(given, batch=new_batch)
        assert isinstance(found, da.Array)
        assert found.compute().tobytes() == expected.tobytes()


def test_lazy_fits_of_several_passes_agree_with_numpy():
    X, batch, *_ = halves()
    model = Balans(operator="displace", n_passes=2, strength=0.5)
    expected = model.fit_transform(X, batch=batch)
    found = model.fit_transform(da.from_array(X, chunks=(200, 8)), batch=batch)
    assert found.compute().tobytes() == expected.tobytes()


def test_rows_far_from_all_landmarks_are_reported():
    X, batch, new, new_batch = halves()
    model = Balans(operator="displace", n_components=None).fit(X, batch=batch)
    strange = np.concatenate([new, new[:40] + 60.0])
    labels = [*new_batch, *(["plate0"] * 40)]
    with pytest.warns(
        InputWarning, match=r"40 of \d+ rows \(.*expected.*fit again with these rows"
    ):
        model.transform(strange, batch=labels)


@pytest.mark.parametrize(("n_uncovered", "alarms"), [(4, 0), (5, 0), (10, 0), (11, 1)])
def test_an_alarm_takes_three_deviations_above_twice_what_was_expected(
    n_uncovered, alarms, recwarn
):
    """Of 200 rows 2 were expected: twice that is 4, and its deviation 2."""
    warn_of_uncovered(n_uncovered, 200, 0.01)
    assert len(recwarn) == alarms


def test_rows_like_those_of_the_fit_raise_no_alarm(recwarn):
    X, batch, new, new_batch = halves()
    Balans(operator="displace").fit(X, batch=batch).transform(new, batch=new_batch)
    assert not [w for w in recwarn if "fit again" in str(w.message)]


def test_other_features_are_refused_with_their_first_differences():
    frame = pd.DataFrame(SCREEN.profiles, columns=[f"Cells_{i}" for i in range(8)])
    model = Balans(operator="smooth").fit(frame, batch=SCREEN.batch)
    renamed = frame.rename(columns={"Cells_2": "Nuclei_2"})
    with pytest.raises(InvalidInputError, match=r"unseen at fit time: - Nuclei_2 .*Cells_2"):
        model.transform(renamed, batch=SCREEN.batch)
    with pytest.raises(InvalidInputError, match="same order as they were in fit"):
        model.transform(frame[frame.columns[::-1]], batch=SCREEN.batch)


def test_a_model_of_batches_asks_for_labels():
    model = Balans(operator="smooth").fit(SCREEN.profiles, batch=SCREEN.batch)
    with pytest.raises(InvalidInputError, match="fitted on 4 batches: give batch="):
        model.transform(SCREEN.profiles)


@pytest.mark.filterwarnings("ignore:.*of one batch")
@pytest.mark.parametrize("model", [Balans(), Balans.paper()], ids=["default", "paper"])
def test_without_labels_all_rows_are_one_batch_in_fit_and_transform(model):
    fitted = model.fit_transform(SCREEN.profiles)
    assert np.array_equal(fitted, SCREEN.profiles) != model.correct_single_batch
    np.testing.assert_array_equal(model.transform(SCREEN.profiles), fitted)


def test_nothing_is_transformed_before_a_fit():
    with pytest.raises(NotFittedError):
        Balans().transform(SCREEN.profiles, batch=SCREEN.batch)


def test_nan_is_refused_in_transform_too():
    model = Balans(operator="smooth").fit(SCREEN.profiles, batch=SCREEN.batch)
    broken = SCREEN.profiles.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InvalidInputError, match="1 of 1200 rows hold NaN"):
        model.transform(broken, batch=SCREEN.batch)


@pytest.mark.filterwarnings("ignore:.*covered by no landmark")
@pytest.mark.parametrize(
    ("operator", "n_rows", "said"), [("smooth", 4, "fewer than 5"), ("align", 5, "at most 5")]
)
def test_new_batches_of_few_rows_are_named(operator, n_rows, said):
    X, batch, new, _ = halves()
    model = Balans(operator=operator, n_passes=1).fit(X, batch=batch)
    with pytest.warns(InputWarning, match=f"1 of 1 new batches have {said} rows .*tiny"):
        model.transform(new[:n_rows], batch=["tiny"] * n_rows)


def test_constant_features_of_the_fit_stay_as_they_are_in_new_rows():
    X = np.column_stack([SCREEN.profiles, np.full(len(SCREEN.profiles), 3.0)])
    with pytest.warns(InputWarning, match="constant"):
        model = Balans(operator="displace").fit(X, batch=SCREEN.batch)
    X[:, -1] = np.arange(len(X))
    np.testing.assert_array_equal(model.transform(X, batch=SCREEN.batch)[:, -1], X[:, -1])
