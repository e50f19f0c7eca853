"""What the README shows runs as it stands, and what it names exists."""

import re

import numpy as np
import pandas as pd
import pytest

from balans_dask.cli.app import run
from tests.repository.test_docs import OPTION, OPTIONS, commands
from tests.support import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def after_the_demo(tmp_path_factory):
    """The folder of a new user who has seen the demo."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["demo"]) == 0
        yield folder


def test_the_three_ways_in_do_what_they_say(after_the_demo):
    [words] = [
        words for words in commands(README) if words[:2] == ["correct", "demo/profiles.parquet"]
    ]
    assert run(words) == 0
    in_pandas, in_scanpy = {}, {}
    for block, names in zip(BLOCKS, (in_pandas, in_scanpy), strict=True):
        assert len(block.splitlines()) <= 6
        exec(compile(block, "README.md", "exec"), names)
    profiles, corrected = in_pandas["profiles"], in_pandas["corrected"]
    assert list(corrected.columns) == list(profiles.columns)
    pd.testing.assert_frame_equal(pd.read_parquet("corrected.parquet"), corrected)
    scores = in_scanpy["adata"].obsm["X_pca_balans"]
    assert scores.shape == (len(profiles), 50)
    assert np.isfinite(scores).all()


def test_its_commands_and_their_options_are_those_of_the_program():
    for words in commands(README):
        assert {word for word in words if OPTION.fullmatch(word)} <= OPTIONS[words[0]]


def test_it_is_read_in_two_minutes():
    assert len(README.splitlines()) <= 110
