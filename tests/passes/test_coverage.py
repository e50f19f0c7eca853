"""Coverage on the workers: what comes to the driver, and what a lost or resumed run makes again."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import zarr

from balans_dask.io.sources import StoredRows
from balans_dask.kernels.coverage import Draw
from balans_dask.labels import batch_labels
from balans_dask.model.inputs import Inputs
from balans_dask.model.plan import plan_run
from balans_dask.model.sampler import sample_rows
from balans_dask.model.state import arrays_of, sampled_from
from balans_dask.parameters import Parameters
from balans_dask.passes.coverage import cover_again, coverage_of_rows, report, uncovered
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.round import affinity_rows_again
from balans_dask.passes.workers import embedded_client
from balans_dask.tiling import TILE_ROWS, Tiling
from tests.support.fits import one_pass
from tests.support.screens import gaussian_screen

pytestmark = pytest.mark.filterwarnings("ignore:.*covered by no sampled row")
PARAMETERS = Parameters(n_components=4, max_rows=200, patience=1000, operator="smooth")


def fitted(engine, n_tiles, parameters=PARAMETERS, stored=lambda profiles: profiles, **planned):
    screen = gaussian_screen(n_tiles * TILE_ROWS, n_features=6)
    labels = batch_labels([screen.batch], ["batch"], len(screen.batch))
    inputs = Inputs(StoredRows(stored(screen.profiles)), labels, [f"f{i}" for i in range(6)])
    plan = plan_run(inputs, parameters, engine.workers())
    plan = replace(plan, tiling=Tiling(len(screen.batch), 2), **planned)
    return one_pass(engine, inputs, parameters, plan)


@pytest.fixture(scope="module")
def fit(engine):
    return fitted(engine, 8)


def test_the_report_holds_the_figures_of_all_partitions_and_the_rows_of_the_next_draw(engine, fit):
    scores, sampled = fit.prepared.scores, fit.sampled
    found = report(engine, scores, sampled.coverage, Draw(0, 0, 4, 64))
    np.testing.assert_array_equal(found.reach.n_new, sampled.reach[-1].n_new)
    np.testing.assert_array_equal(found.reach.n_kept, sampled.reach[-1].n_kept)
    assert len(set(found.drawn.rows)) == 64
    assert not set(found.drawn.rows) & set(sampled.rows)
    alone = report(engine, replace(scores, cached=None), sampled.coverage, Draw(0, 0, 4, 64))
    np.testing.assert_array_equal(alone.drawn.rows, found.drawn.rows)
    assert alone.drawn.scores is None
    tiles = engine.gather(scores.cached)
    for row, coordinates in zip(found.drawn.rows, found.drawn.scores, strict=True):
        (expected,) = tiles[row // scores.tiling.rows_per_partition].rows(np.array([row]))
        np.testing.assert_array_equal(coordinates, expected)


def test_what_comes_to_the_driver_does_not_grow_with_the_rows(engine, fit):
    """Partitions here are two tiles each, and the driver merges the last sixteen nodes itself."""
    draw = Draw(0, 0, 4, 64)
    sizes = [
        len(pickle.dumps(report(engine, of.prepared.scores, of.sampled.coverage, draw)))
        for of in (fit, fitted(engine, 33))
    ]
    assert sizes[0] == sizes[1] < 5_000


def test_the_tasks_of_a_round_hold_nothing_of_the_size_of_the_rows(tmp_path):
    """Coverage depends on those of all rounds, so that the scheduler remembers every one."""

    def sizes(dask_scheduler):
        tasks = dask_scheduler.tasks.items()
        return [len(pickle.dumps(task.run_spec)) for key, task in tasks if "-rows-" in key]

    with embedded_client(1) as client:
        stored = lambda profiles: zarr.create_array(f"{tmp_path}/in.zarr", data=profiles)  # noqa: E731
        again = {"keep_scores": False, "keep_products": False, "piece_bytes": 0}
        fit = fitted(DaskEngine(client), 4, stored=stored, **again)
        found = client.run_on_scheduler(sizes)
    assert len(found) == 2 * len(fit.sampled.blocks) == 8
    assert max(found) < fit.prepared.scores.tiling.rows_per_partition


def held_bytes(engine, pieces):
    """Memory of rows of A_S, of those that are kept."""
    found = engine.gather([piece for of in pieces if of is not None for piece in of])
    return [piece.nbytes for piece in found]


def test_rows_are_kept_until_those_of_all_rounds_together_fill_their_memory(engine, fit):
    sizes = [sum(held_bytes(engine, [of])) for of in fit.sampled.pieces]
    assert max(sizes) < sum(sizes[:2]) < sum(sizes) == fit.sampled.kept_bytes
    found = sample_rows(engine, fit.prepared.scores, PARAMETERS, sum(sizes[:2]))
    assert [piece is not None for piece in found.pieces] == [True, True, False, False]
    assert sum(held_bytes(engine, found.pieces)) == found.kept_bytes == sum(sizes[:2])


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_coverage_made_again_is_the_same_to_the_last_bit(engine, fit, share):
    scores, sampled = fit.prepared.scores, fit.sampled
    # Partitions have equal shares of it, which 1.5 times as much is enough for.
    kept_bytes = int(1.5 * share * sampled.kept_bytes)
    table = engine.share("landmarks", list(sampled.blocks))
    pieces = affinity_rows_again(engine, scores, table, len(sampled.blocks), kept_bytes)
    coverage = cover_again(engine, scores, uncovered(engine, scores), table, pieces)
    again, expected = (coverage_of_rows(engine, of) for of in (coverage, sampled.coverage))
    assert np.count_nonzero(expected) == sampled.n_covered > 0
    assert again.tobytes() == expected.tobytes()
    held = [piece for part in engine.gather(pieces) for piece in part if piece is not None]
    assert report(engine, scores, coverage, Draw(0, 0, 4, 64)).piece_bytes == sum(
        piece.nbytes for piece in held
    )
    assert sum(piece.nbytes for piece in held) <= kept_bytes
    assert (len(held) > 0) == (share > 0)
    assert (len(held) == len(pieces) * len(sampled.blocks)) == (share == 1)


def test_a_restored_run_draws_on_as_if_it_had_not_stopped(engine, fit):
    first = fitted(engine, 8, replace(PARAMETERS, max_rows=128))
    state = arrays_of(first.prepared.scores.projection, first.sampled)
    assert sum(array.nbytes for array in state.values()) < 8 * len(first.prepared.scores.codes)
    restored = replace(sampled_from(state, 64), stop_reason="")
    again = sample_rows(engine, fit.prepared.scores, PARAMETERS, 2**30, sampled=restored)
    np.testing.assert_array_equal(again.rows, fit.sampled.rows)
    assert again.curve == fit.sampled.curve
    both = [coverage_of_rows(engine, of.coverage) for of in (again, fit.sampled)]
    assert both[0].tobytes() == both[1].tobytes()
    assert again.kept_bytes == fit.sampled.kept_bytes


def test_a_copy_keeps_its_coverage_when_the_sampler_goes_on(engine, fit):
    copies = []
    sampled = sample_rows(
        engine,
        fit.prepared.scores,
        PARAMETERS,
        0,
        on_round=lambda sampled: copies.append(sampled.copied(engine)),
    )
    assert [len(copy.blocks) for copy in copies] == [1, 2, 3, 4]
    for copy in copies:
        covered = np.count_nonzero(coverage_of_rows(engine, copy.coverage))
        assert covered == copy.n_covered == sampled.curve[len(copy.blocks) - 1].n_covered


def test_coverage_of_some_rows_is_that_of_all(engine, fit):
    coverage = coverage_of_rows(engine, fit.sampled.coverage)
    rows = np.sort(fit.sampled.rows)
    np.testing.assert_array_equal(
        coverage_of_rows(engine, fit.sampled.coverage, rows), coverage[rows]
    )
