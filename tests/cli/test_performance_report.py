"""``--performance-report``: one file about the run, or one line about why not."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(600, n_features=6)
WITHOUT_BOKEH = (
    "import sys; sys.modules['bokeh'] = None; from balans_dask.__main__ import main; main()"
)


@pytest.fixture
def command(tmp_path):
    store = write_anndata(tmp_path / "in.zarr", SCREEN.profiles, plate=SCREEN.batch)
    return ["correct", store, tmp_path / "out.zarr", "--batch-key", "plate", "--operator", "smooth",
            "--performance-report", tmp_path / "run.html"]  # fmt: skip


def test_without_bokeh_it_is_refused_before_any_work(command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BOKEH, *command], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        'balans: error: --performance-report needs bokeh: pip install "balans-dask[dashboard]"\n'
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


@pytest.mark.skipif(find_spec("bokeh") is None, reason="bokeh is not installed")
@pytest.mark.parametrize("where", [(), ("--cluster", "local", "--workers", 1)], ids=str)
def test_the_report_is_one_file_that_names_the_passes(command, tmp_path, where):
    run(*command, *where)
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "balans-correct" in page
    assert "cdn.bokeh.org" not in page
    assert not (tmp_path / "run.html.writing").exists()
    said = run(*command, "--resume", code=2)
    assert "add --overwrite" in said
