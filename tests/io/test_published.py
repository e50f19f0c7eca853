"""What is on disk before a store appears, and what becomes of the store that it replaces."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from balans_dask.errors import InvalidInputError
from balans_dask.io.in_place import InPlaceFolder
from balans_dask.io.run_folder import RunFolder
from balans_dask.workflows import run as whole_run
from tests.support.commands import run
from tests.support.screens import gaussian_screen
from tests.support.stores import files, write_anndata

OPTIONS = ["--batch-key", "plate", "--checkpoint-seconds", 0, "--operator", "smooth"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    screen = gaussian_screen(300)
    place = tmp_path_factory.mktemp("published") / "in.zarr"
    return write_anndata(place, screen.profiles, plate=screen.batch)


class Journal:
    """What was synced and renamed while a run wrote, in order."""

    def __init__(self, monkeypatch) -> None:
        self.steps: list[tuple[str, Path, Path | None]] = []
        self.inside: dict[Path, set[Path]] = {}
        fsync, self._rename = os.fsync, os.rename
        replace = os.replace

        def noting_fsync(descriptor):
            self.steps.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")), None))
            fsync(descriptor)

        def noting(rename):
            def noted(source, target, **named):
                source, target = Path(source), Path(target)
                if source.is_dir():
                    self.inside[target] = {p for p in source.rglob("*") if p.is_file()}
                self.steps.append(("rename", source, target))
                rename(source, target, **named)

            return noted

        monkeypatch.setattr(os, "fsync", noting_fsync)
        monkeypatch.setattr(os, "rename", noting(self._rename))
        monkeypatch.setattr(os, "replace", noting(replace))

    def moment(self, kind: str, place: Path) -> int:
        """When a file was synced, or something was renamed to a place, first; -1 for never."""
        at = {"sync": 1, "rename": 2}[kind]
        steps = enumerate(self.steps)
        return next((n for n, step in steps if step[0] == kind and step[at] == place), -1)


@pytest.fixture
def journal(store, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        noted = Journal(patched)
        run("correct", store, tmp_path / "out.zarr", *OPTIONS)
    return noted


def test_every_file_of_a_store_is_on_disk_before_it_appears(journal, tmp_path):
    appears = journal.moment("rename", tmp_path / "out.zarr")
    assert len(journal.inside[tmp_path / "out.zarr"]) > 20
    for file in journal.inside[tmp_path / "out.zarr"]:
        assert 0 <= journal.moment("sync", file) < appears, file
    assert journal.moment("sync", tmp_path) > appears


def test_every_file_of_a_converted_store_is_on_disk_before_it_appears(tmp_path, monkeypatch):
    pd.DataFrame({"Metadata_p": ["a", "b"], "f": [1.0, 2.0]}).to_parquet(tmp_path / "t.parquet")
    with monkeypatch.context() as patched:
        journal = Journal(patched)
        run("convert", tmp_path / "t.parquet", tmp_path / "out.zarr")
    appears = journal.moment("rename", tmp_path / "out.zarr")
    assert len(journal.inside[tmp_path / "out.zarr"]) > 10
    for file in journal.inside[tmp_path / "out.zarr"]:
        assert 0 <= journal.moment("sync", file) < appears, file


def test_shards_are_on_disk_before_a_record_vouches_for_them(journal, tmp_path):
    folder = tmp_path / "out.zarr.partial"
    [recorded] = [n for n, step in enumerate(journal.steps) if step[0] == "rename"
                  and step[2].parent == folder / "units" and step[2].suffix == ".json"]  # fmt: skip
    shards = [p for p in journal.inside[tmp_path / "out.zarr"] if "/X/c/" in str(p)]
    assert shards
    for shard in shards:
        assert 0 <= journal.moment("sync", shard) < recorded, shard


@pytest.mark.parametrize("name", ["checkpoint.npz", "run.json"])
def test_a_state_is_on_disk_before_it_replaces_another(journal, tmp_path, name):
    place = tmp_path / "out.zarr.partial" / name
    renamed = [(n, step[1]) for n, step in enumerate(journal.steps) if step[2] == place]
    assert renamed
    before = -1
    for at, temporary in renamed:
        assert ("sync", temporary, None) in journal.steps[before + 1 : at]
        before = at


def test_a_store_that_was_replaced_does_not_come_back_over_the_new_one(tmp_path):
    """A run was killed between the rename of its store and the removal of the one before."""
    folder = RunFolder(str(tmp_path / "out.zarr"))
    with folder.held():
        folder.write_record({"identity": {}})
        folder.last.units.mkdir()
        for place, content in ((folder.target, "new"), (folder.path / "replaced", "old")):
            place.mkdir()
            (place / "zarr.json").write_text(content)
    assert (folder.path / "replaced").exists()
    with folder.held():
        assert (folder.target / "zarr.json").read_text() == "new"
        folder.discard()
    assert files(folder.target) == {"zarr.json": b"new"}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"gone": [], "came": []}', '{"gone": 5, "came": ["obs/a"]}',
     '{"gone": ["obs"], "came": ["obs/a"]}', '{"gone": [], "came": ["../a"]}'],
)  # fmt: skip
def test_a_damaged_journal_of_moves_moves_nothing(store, tmp_path, content):
    folder = InPlaceFolder(store, ["obs/a", "uns/balans"])
    before = files(store)
    with folder.held():
        folder.last.store.mkdir()
        (folder.last.store / "journal.json").write_text(content)
    with pytest.raises(InvalidInputError, match=r"journal\.json is damaged, so nobody knows"):
        folder.held().__enter__()
    assert files(store) == before
    shutil.rmtree(folder.path)


def test_an_unfinished_overwrite_is_not_dropped_unless_asked(store, tmp_path, monkeypatch):
    def stop(*arguments):
        raise InvalidInputError("stopped here")

    with monkeypatch.context() as patched:
        patched.setattr(whole_run, "fit_operator", stop)
        run("correct", store, tmp_path / "out.zarr", *OPTIONS, "--overwrite", code=2)
    partial = tmp_path / "out.zarr.partial"
    before = files(partial)
    assert "checkpoint.npz" in before
    err = run("correct", store, tmp_path / "out.zarr", *OPTIONS, code=2)
    assert "holds an unfinished run: add --resume to continue it, or --overwrite" in err
    assert files(partial) == before
    assert np.load(partial / "checkpoint.npz")["rows"].size
