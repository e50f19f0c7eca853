"""The demo of a new user: scores rise and a picture is there."""

import re

import pytest

from balans_dask.cli.app import run


@pytest.mark.long
def test_the_table_shows_that_both_scores_rise_and_a_picture_is_written(tmp_path, capsys):
    assert run(["demo", "--folder", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out
    for score in ("same label", "batch mixing"):
        before, after = map(float, re.search(rf"{score}.*?(\d\.\d+).*?(\d\.\d+)", said).groups())
        assert after > before + 0.1
    picture = (tmp_path / "demo" / "before_after.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000
    assert run(["demo", "--folder", str(tmp_path / "demo")]) == 0
