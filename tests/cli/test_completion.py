"""The shell completes commands, options, folders, and columns of the store at hand."""

import os
import subprocess
import sys

import pytest

from tests.support.commands import streams
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

SCREEN = gaussian_screen(50, n_features=3)


def completions(*words):
    """What bash is told of the last word."""
    environment = os.environ | {
        "_BALANS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["balans", *map(str, words)]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "balans_dask"], env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    return [tuple(line.split(",", 1)) for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how(shell):
    script, _ = streams("completion", shell)
    assert f"_BALANS_COMPLETE={shell}_complete" in script


def test_bash_takes_the_script(tmp_path):
    (tmp_path / "script").write_text(streams("completion", "bash")[0])
    subprocess.run(["bash", "-n", tmp_path / "script"], check=True)


def test_commands_options_and_folders_are_completed():
    assert ("plain", "correct") in completions("co")
    assert ("plain", "--print-config") in completions("correct", "--pr")
    assert completions("correct", "some") == [("dir", "some")]


@pytest.mark.parametrize("zarr_format", [pytest.param(2, marks=pytest.mark.long), 3])
def test_columns_are_those_of_the_store(tmp_path, zarr_format):
    store = write_anndata(
        tmp_path / "in.zarr",
        SCREEN.profiles,
        zarr_format,
        Metadata_Plate=SCREEN.batch,
        Metadata_Well=SCREEN.label,
        other=SCREEN.label,
    )
    for command in (["check", store], ["evaluate", store], ["correct", store, "out.zarr"]):
        found = completions(*command, "--batch-key", "Metadata_")
        assert found == [("plain", "Metadata_Plate"), ("plain", "Metadata_Well")]
    assert completions("check", tmp_path / "nowhere", "--batch-key", "M") == []
