"""A warning stands at the line that called the package, and names what this caller can give."""

import linecache
import warnings
from contextlib import contextmanager

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import balans_dask
from balans_dask import Balans, correct_batches
from balans_dask.errors import InputWarning, setting, speaking_of_flags
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(120, n_features=4)
WELLS = np.arange(120) // 2


@contextmanager
def at_this_line(line):
    """There are warnings, all of this file and of the line with this text."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    assert said
    for warning in said:
        assert warning.category is InputWarning
        assert warning.filename == __file__, warning
        assert line in linecache.getline(__file__, warning.lineno)


def test_every_way_to_fit_warns_at_its_line():
    with at_this_line("Balans().fit("):
        model = Balans().fit(SCREEN.profiles)
    with at_this_line("Balans().fit_transform("):
        Balans().fit_transform(SCREEN.profiles)
    with at_this_line("correct_batches("):
        correct_batches(SCREEN.profiles, WELLS)
    with at_this_line("model.transform("):
        model.transform(SCREEN.profiles[:4], batch=np.repeat("new", 4))
    with at_this_line("make_pipeline("):
        make_pipeline(StandardScaler(), Balans()).fit(SCREEN.profiles)
    frame = pd.DataFrame(SCREEN.profiles).add_prefix("x")
    with at_this_line('set_output(transform="pandas")'):
        Balans().set_output(transform="pandas").fit_transform(frame)


def test_an_annotated_object_warns_at_its_line():
    adata = anndata.AnnData(SCREEN.profiles, obsm={"X_pca": SCREEN.profiles[:, :3]})
    adata.obs["well"] = WELLS
    with at_this_line("balans_integrate("):
        balans_dask.pp.balans_integrate(adata, "well")


OURS = """
from contextlib import contextmanager
from balans_dask.errors import warn_of_input

@contextmanager
def between():
    warn_of_input("said between")
    yield

def work():
    with between():
        pass
"""


def test_the_caller_is_found_behind_a_with_statement_of_ours():
    ours = {"__name__": "balans_dask.of_a_test"}
    exec(OURS, ours)
    with at_this_line('ours["work"]()'):
        ours["work"]()


@pytest.mark.parametrize(
    ("given", "argument", "flag"),
    [
        (("max_scale_ratio", None), "max_scale_ratio=None", "--max-scale-ratio none"),
        (("shared_populations", True), "shared_populations=True", "--shared-populations yes"),
        (("n_passes", 1), "n_passes=1", "--n-passes 1"),
        (("stopping", "patience"), "stopping='patience'", "--stopping patience"),
        (("batch",), "batch", "--batch-key"),
        (("controls",), "controls", "--sphering"),
        (
            ("controls", "kind == 'negcon'"),
            """controls="kind == 'negcon'\"""",
            """--sphering "kind == 'negcon'\"""",
        ),
        (
            ("controls", '`well kind` == "negcon"'),
            """controls='`well kind` == "negcon"'""",
            """--sphering '`well kind` == "negcon"'""",
        ),
    ],
)
def test_a_setting_is_spelled_for_python_and_for_the_command(given, argument, flag):
    assert setting(*given) == argument
    with speaking_of_flags():
        assert setting(*given) == flag
    assert setting(*given) == argument


def test_a_remedy_is_one_that_the_caller_can_give(tmp_path):
    few = {"operator": "smooth", "max_rows": 3, "max_scale_ratio": None}
    with pytest.warns(InputWarning, match="nearest one: raise max_rows to cover more"):
        Balans(**few).fit(SCREEN.profiles, batch=SCREEN.batch)
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, plate=SCREEN.batch)
    said = run(
        "correct", store, tmp_path / "out.zarr", "--batch-key", "plate", "--operator", "smooth",
        "--max-rows", 3, "--max-scale-ratio", "none",
    )  # fmt: skip
    assert "nearest one: raise --max-rows to cover more" in said
