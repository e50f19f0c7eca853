"""Options from a file: the names of the flags, which win, and one line for what is wrong."""

import tomllib

import anndata
import pytest

from balans_dask.cli.options import PRESETS
from tests.support.commands import run, streams
from tests.support.screens import gaussian_screen
from tests.support.stores import files, files_but_input, write_anndata

SCREEN = gaussian_screen(600, n_features=6)


@pytest.fixture
def store(tmp_path):
    return write_anndata(
        tmp_path / "in.zarr", SCREEN.profiles, plate=SCREEN.batch, other=SCREEN.label
    )


@pytest.fixture
def config(tmp_path):
    def written(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return written


def parameters(store):
    return anndata.read_zarr(store).uns["balans"]["parameters"]


def test_options_come_from_a_file_and_flags_win(tmp_path, store, config):
    path = config(
        'batch_key = ["plate", "other"]\n'
        'operator = "smooth"\n'
        "n-neighbors = 3\n"
        "coverage-tol = 0\n"
        "max-scale-ratio = 1.5\n"
        "[correct]\n"
        "n_components = 4\n"
        "quiet = true\n"
        "[transform]\n"
        'memory-limit = "2GB"\n'
    )
    run("correct", store, tmp_path / "a.zarr", "--config", path, "--n-components", 2)
    found = parameters(tmp_path / "a.zarr")
    assert list(found["batch_key"]) == ["plate", "other"]
    assert [found[n] for n in ("n_neighbors", "n_components", "max_scale_ratio")] == [3, 2, 1.5]
    run("correct", store, tmp_path / "b.zarr", "--config", path, "--batch-key", "plate")
    found = parameters(tmp_path / "b.zarr")
    assert list(found["batch_key"]) == ["plate"]
    assert found["n_components"] == 4


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "n-neighbours = 3",
            "balans correct has no option n-neighbours: did you mean n-neighbors?",
        ),
        ("[corect]\nseed = 1", "unknown table [corect]: did you mean correct?"),
        ("n-neighbors = 'three'", "n-neighbors must be a whole number, got 'three'"),
        ("n_neighbors = 3.5", "n_neighbors must be a whole number, got 3.5"),
        ("seed = true", "seed must be a whole number, got True"),
        ("strength = 'all'", "strength must be a number, got 'all'"),
        ("overwrite = 1", "overwrite must be true or false, got 1"),
        ("basis = 3", "basis must be text, got 3"),
        ("batch-key = [1]", "batch-key must be text or a list of texts, got [1]"),
        ("operator = 'smoth'", "operator: 'smoth' is not one of 'align', 'smooth', 'nystrom', 'di"),
        ("workers = 0", "workers: 0 is not in the range x>=1."),
        ("max-scale-ratio = false", "max-scale-ratio must be as in --max-scale-ratio C|auto|none"),
        ("config = 'other.toml'", "balans correct has no option config"),
        ("seed = ", "is no TOML file"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, store, config, text, line):
    path = config(text)
    said = run("correct", store, tmp_path / "out.zarr", "--config", path, code=2)
    assert said.startswith(f"balans: error: {path}")
    assert line in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.zarr").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path, store):
    for path in (tmp_path / "nowhere.toml", tmp_path):
        said = run("correct", store, tmp_path / "out.zarr", "--config", path, code=2)
        assert said.startswith(f"balans: error: --config {path} cannot be read")
    (tmp_path / "latin.toml").write_bytes(b"basis = '\xe9'")
    said = run("check", store, "--config", tmp_path / "latin.toml", code=2)
    assert "latin.toml is no TOML file" in said


def test_a_required_option_is_still_required(store, config):
    said = run("check", store, "--config", config("seed = 1"), code=2)
    assert "Missing option '--batch-key'" in said


def test_the_printed_configuration_is_the_run_and_nothing_is_computed(tmp_path, store):
    given = ["--batch-key", "plate", "--n-passes", 1, "--n-components", 0, "--max-rows", 64,
             "--strength", 0.5, "--workers", 1]  # fmt: skip
    before = files(tmp_path)
    printed, said = streams("correct", store, tmp_path / "a.zarr", *given, "--print-config")
    assert files(tmp_path) == before
    assert said == ""
    (tmp_path / "run.toml").write_text(printed)
    assert tomllib.loads(printed)["operator"] == "align"
    again = ["--config", tmp_path / "run.toml"]
    assert streams("correct", store, "B", *again, "--print-config")[0] == printed
    run("correct", store, tmp_path / "a.zarr", *given)
    run("correct", store, tmp_path / "b.zarr", *again)
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")


def test_a_configuration_is_printed_without_any_store():
    printed = tomllib.loads(streams("correct", "--print-config")[0])
    assert printed["n-neighbors"] == 5
    assert "batch-key" not in printed


def test_the_paper_is_printed_and_recorded_with_all_that_it_fixes(tmp_path, store, config):
    given = ["--batch-key", "plate", "--max-rows", 64]
    fixed = {"paper": True, "operator": "smooth", "stopping": "patience", "patience": 50,
             "n-passes": 1, "max-scale-ratio": "none"}  # fmt: skip
    (tmp_path / "other.toml").write_text('operator = "displace"\nn-passes = 2\n')
    beside = [[], ["--config", tmp_path / "other.toml"], ["--operator", "smooth"]]
    printed = {streams("correct", *given, "--paper", *of, "--print-config")[0] for of in beside}
    assert len(printed) == 1
    asked = printed.pop()
    assert tomllib.loads(asked).items() >= fixed.items()
    run("correct", store, tmp_path / "a.zarr", "--config", config(asked))
    assert parameters(tmp_path / "a.zarr")["correct_single_batch"]
    record = anndata.read_zarr(tmp_path / "a.zarr").uns["balans"]["configuration"]
    assert tomllib.loads(record).items() >= fixed.items()
    run("correct", store, tmp_path / "b.zarr", "--config", config(record))
    assert files_but_input(tmp_path / "a.zarr") == files_but_input(tmp_path / "b.zarr")
    wrong = config(record.replace("smooth", "displace"))
    said = run("check", store, "--config", wrong, code=2)
    assert "--paper fixes --operator: leave out one of them" in said


@pytest.mark.long
def test_the_store_holds_the_configuration_that_makes_it_again(tmp_path, store):
    query = "plate == 'plate0' or plate == 'plate1' or plate == 'plate2'"
    given = ["--batch-key", "plate", "--operator", "displace", "--anchor", query, "--max-neighbors",
             300, "--max-scale-ratio", "none"]  # fmt: skip
    run("correct", store, tmp_path / "a.zarr", *given, "--model", tmp_path / "m.zarr")
    (tmp_path / "run.toml").write_text(
        anndata.read_zarr(tmp_path / "a.zarr").uns["balans"]["configuration"]
    )
    run("correct", store, tmp_path / "b.zarr", "--config", tmp_path / "run.toml", "--workers", 1)
    assert files_but_input(tmp_path / "a.zarr") == files_but_input(tmp_path / "b.zarr")
    run("transform", tmp_path / "m.zarr", store, tmp_path / "c.zarr", "--batch-key", "plate")
    record = anndata.read_zarr(tmp_path / "c.zarr").uns["balans"]
    assert tomllib.loads(record["configuration"]) == {"batch-key": ["plate"]}


def test_other_commands_take_a_file_too(tmp_path, store, config):
    path = config(
        'batch-key = "plate"\n'
        "[sweep]\n"
        'label-key = "other"\n'
        "n-neighbors = [3, 5]\n"
        'operator = "smooth"\n'
        "max-scale-ratio = ['none', 2]\n"
        "quiet = true\n"
    )
    assert "600 rows x 6 features" in streams("check", store, "--config", path)[0]
    table = streams("sweep", store, "--config", path)[0]
    assert "balans correct" in table


@pytest.mark.parametrize("command", ["correct", "preprocess"])
def test_a_file_may_name_a_preset_which_its_other_lines_and_flags_override(command, config):
    path = config('preset = "jump"\n[correct]\nbatch-key = "Well"\n')
    asked, _ = streams(command, "--config", path, "--print-config")
    flags = ["--batch-key", "Well"] if command == "correct" else []
    assert asked == streams(command, "--preset", "jump", *flags, "--print-config")[0]
    key, expected = {
        "correct": ("batch-key", ["Well"]),
        "preprocess": ("by", list(PRESETS["jump"].plate_keys)),
    }[command]
    assert tomllib.loads(asked)[key] == expected
