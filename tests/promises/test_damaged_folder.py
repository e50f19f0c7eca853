"""Damage to the files of an unfinished run costs time, or a line, and never a result."""

import json
import os
import random
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from balans_dask.errors import BalansError, InputWarning, StoreExistsError
from balans_dask.io.run_folder import RunFolder
from balans_dask.io.store import open_store
from balans_dask.model.plan import plan_run
from balans_dask.parameters import Parameters
from balans_dask.passes.dask_engine import DaskEngine
from balans_dask.passes.engine import Engine
from balans_dask.passes.workers import embedded_client
from balans_dask.workflows.correct import WriteOptions, correct_store
from balans_dask.workflows.request import correction_request
from tests.support.screens import gaussian_screen
from tests.support.stores import files, files_but_input, write_anndata

PARAMETERS = Parameters(operator="smooth", n_components=4, n_passes=2, block_rows=16, patience=8)


@pytest.fixture(scope="module")
def engine():
    with embedded_client(2) as client:
        yield DaskEngine(client)


class Runs:
    """An input, its undisturbed output, and what a run left that was killed as it published."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        screen = gaussian_screen(200)
        self.folder, self.engine = folder, engine
        self.store = write_anndata(folder / "in.zarr", screen.profiles, plate=screen.batch)
        self.correct(folder / "undisturbed.zarr")
        self.expected = files_but_input(folder / "undisturbed.zarr")
        with pytest.MonkeyPatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(RunFolder, "publish", _killed)
            self.correct(folder / "killed.zarr")
        self.left = folder / "killed.zarr.partial"

    def correct(self, target: Path, **how: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            run = correction_request(open_store(self.store), ("plate",), PARAMETERS)
            plan = plan_run(run.inputs, PARAMETERS, self.engine.workers())
            correct_store(
                self.engine, run, plan, str(target), WriteOptions(checkpoint_seconds=0, **how)
            )

    def files(self) -> list[str]:
        """Names of all files that the killed run has left."""
        return [str(p.relative_to(self.left)) for p in sorted(self.left.rglob("*")) if p.is_file()]


def _killed(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def runs(tmp_path_factory, engine):
    return Runs(tmp_path_factory.mktemp("damaged"), engine)


def flipped(share: float, bit: int):
    """Change a bit of the byte that stands so far in the file."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[min(int(share * len(content)), len(content) - 1)] ^= 1 << bit
        path.write_bytes(content)

    return damage


def anywhere(seed: int):
    """Change a bit of any byte."""

    def damage(path: Path) -> None:
        draw = random.Random(f"{seed} {path.name}")
        flipped(draw.random(), draw.randrange(8))(path)

    return damage


def of_a_letter(path: Path) -> None:
    """Change the first letter of a value, so that JSON stays JSON."""
    text = path.read_bytes()
    place = text.find(b': "')
    if place >= 0:
        text = text[: place + 3] + bytes([text[place + 3] ^ 1]) + text[place + 4 :]
    path.write_bytes(text)


def retyped(value: object):
    """Give every value of a JSON document another type; other files hold the document alone."""

    def damage(path: Path) -> None:
        try:
            document = json.loads(path.read_bytes())
        except ValueError:
            document = value
        if isinstance(document, dict):
            document = dict.fromkeys(document, value)
        path.write_text(json.dumps(document))

    return damage


DAMAGES = {
    "first byte": flipped(0.0, 0),
    "early": flipped(0.25, 3),
    "middle": flipped(0.5, 6),
    "late": flipped(0.75, 1),
    "last byte": flipped(1.0, 0),
    "a letter": of_a_letter,
    **{f"anywhere {seed}": anywhere(seed) for seed in range(4)},
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "numbers": retyped(5),
    "lists": retyped([]),
    "nulls": retyped(None),
    "texts": retyped("x"),
    "objects": retyped({}),
    "a list alone": lambda path: path.write_text("[1]"),
}
SHARDS = ("store/X/c/", "store/obsm/X_pca_balans/c/")
KINDS = {
    "record": lambda name: name == "run.json",
    "checkpoints": lambda name: name.endswith("checkpoint.npz"),
    "units": lambda name: "units/" in name and name.endswith(".json"),
    "facts of rows": lambda name: "units/" in name and name.endswith(".npz"),
    "shards": lambda name: any(shards in name for shards in SHARDS),
    "metadata": lambda name: name.endswith("zarr.json"),
    "annotations": lambda name: "/c" in name and not any(shards in name for shards in SHARDS),
    "lock": lambda name: name == "lock",
}


LONG = [pytest.mark.long]
OF_JSON = {"a letter", "numbers", "lists", "nulls", "texts", "objects"}
NOT_JSON = {"checkpoints", "facts of rows", "shards", "lock"}


def test_every_file_is_of_some_kind(runs):
    assert [name for name in runs.files() if not any(of(name) for of in KINDS.values())] == []
    for of in KINDS.values():
        assert any(of(name) for name in runs.files())


USUAL = {
    "record": {"a letter", "numbers"},
    "checkpoints": {"middle"},
    "units": {"a letter"},
    "facts of rows": {"cut"},
    "shards": {"middle"},
    "metadata": {"middle", "a letter", "cut", "gone", "numbers"},
    "annotations": {"middle"},
    "lock": {"gone"},
}
CASES = [
    pytest.param(kind, damage, marks=[] if damage in USUAL[kind] else LONG)
    for kind in KINDS
    for damage in DAMAGES
    if not (damage in OF_JSON and kind in NOT_JSON)
]


@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_damage_to_all_files_of_a_kind(runs, tmp_path, kind, damage):
    hurt(runs, tmp_path, [name for name in runs.files() if KINDS[kind](name)], damage)


@pytest.mark.parametrize("name", [f"store/{group}zarr.json" for group in ("", "obsm/", "uns/")])
def test_a_letter_of_one_groups_metadata(runs, tmp_path, name):
    changed = shutil.copy(runs.left / name, tmp_path / "changed.json")
    of_a_letter(changed)
    assert json.loads(changed.read_bytes()) != json.loads((runs.left / name).read_bytes())
    hurt(runs, tmp_path, [name], "a letter")


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_one_file(runs, tmp_path, damage):
    for number, name in enumerate(runs.files()):
        (tmp_path / str(number)).mkdir()
        hurt(runs, tmp_path / str(number), [name], damage)


def hurt(runs: Runs, folder: Path, names: list[str], damage: str) -> None:
    """Damage files of a killed run and continue it."""
    target = folder / "out.zarr"
    partial = folder / "out.zarr.partial"
    shutil.copytree(runs.left, partial)
    for name in names:
        DAMAGES[damage](partial / name)
    try:
        runs.correct(target, resume=True)
    except BalansError:
        # A folder of which nobody can tell whose it is must be moved, as the error says.
        assert not target.exists()
        shutil.rmtree(partial)
        runs.correct(target)
    assert files_but_input(target) == runs.expected
    assert not partial.exists()


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", ["", "lock", "run.json", "units", "store/X", "pass_0/store"])
def test_what_no_run_makes_is_refused_before_it_is_opened(runs, tmp_path, kind, name):
    """A link leads into another store, and a pipe waits for ever."""
    others = shutil.copytree(runs.folder / "undisturbed.zarr", tmp_path / "others.zarr")
    before = files(others)
    partial = shutil.copytree(runs.left, tmp_path / "out.zarr.partial")
    place = partial / name
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    if kind == "link":
        place.symlink_to(others / "zarr.json" if name in {"lock", "run.json"} else others)
    else:
        os.mkfifo(place)
    folder = RunFolder(str(tmp_path / "out.zarr"))
    for begin in (folder.held().__enter__, lambda: folder.require_droppable(True)):
        with pytest.raises(StoreExistsError, match=r"1 links, pipes or the like|is not ours"):
            begin()
    assert files(others) == before
    assert folder.path.is_symlink() or folder.path.exists()


def test_no_other_store_is_written_through_a_link(runs, tmp_path):
    others = shutil.copytree(runs.folder / "undisturbed.zarr", tmp_path / "others.zarr")
    before = files(others)
    partial = shutil.copytree(runs.left, tmp_path / "out.zarr.partial")
    shutil.rmtree(partial / "store")
    (partial / "store").symlink_to(others)
    for how in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(StoreExistsError, match=r"\(store\): remove them"):
            runs.correct(tmp_path / "out.zarr", **how)
    assert files(others) == before
    (partial / "store").unlink()
    runs.correct(tmp_path / "out.zarr", resume=True)
    assert files_but_input(tmp_path / "out.zarr") == runs.expected
