"""What the documentation shows runs, page by page, and what it names exists."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

import balans_dask
from balans_dask import plot
from balans_dask.cli.app import cli
from tests.support import REPOSITORY
from tests.support.commands import streams

DOCS = REPOSITORY / "docs"
PAGES = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.md"))}
FIRST = "quickstart"
NOT_RUN = {"text", "{toctree}", "{include}", "{eval-rst}"}
NEEDS = re.compile(r"---\nneeds: \[(.*)\]\n---\n")
"""Extras that the blocks of a page need; `make test-evaluate` has them."""
BALANS = f'balans() {{ {shlex.quote(sys.executable)} -m balans_dask "$@"; }}\n'
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OPTIONS = {
    name: {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    for name, command in cli.commands.items()
}
LARGEST_PICTURE = 100_000
DRAWN = {"rooms.svg"}
"""What docs/conf.py draws when the site is built."""
WIDEST_LINE = 88
"""What a page shows without scrolling."""


def tokens(text: str) -> Iterator[Token]:
    for token in MarkdownIt().enable("table").parse(NEEDS.sub("", text)):
        yield token
        yield from token.children or ()


def run_page(name: str, folder: Path) -> None:
    """Run the blocks of a page one after another, the Python ones in one namespace.

    To start the installed command takes longer than most of what it does here: what it calls is
    called in this process, unless a block is more than that.
    """
    namespace: dict[str, object] = {}
    for block in tokens(PAGES[name]):
        if block.type != "fence":
            continue
        if block.info == "python":
            exec(compile(block.content, f"{name}.md", "exec"), namespace)
        elif block.info == "bash" and not only_balans(block.content):
            given = ["bash", "-eu", "-c", BALANS + block.content]
            ended = subprocess.run(given, cwd=folder, capture_output=True, text=True, timeout=240)
            assert ended.returncode == 0, block.content + ended.stderr
        elif block.info == "bash":
            for words in lines(block.content):
                streams(*words[1:])


def has_blocks(name: str) -> bool:
    return any(block.info in ("python", "bash") for block in tokens(PAGES[name]))


def lines(block: str) -> list[list[str]]:
    """Words of every line of a block."""
    joined = block.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in joined) if words]


def only_balans(block: str) -> bool:
    return {words[0] for words in lines(block)} == {"balans"}


def commands(text: str) -> Iterator[list[str]]:
    """Every `balans` command of the blocks of a page, in words."""
    for token in tokens(text):
        if token.type in ("fence", "code_block") and "balans " in token.content:
            yield from (words[1:] for words in lines(token.content) if words[0] == "balans")


@pytest.fixture(scope="session")
def first_steps(tmp_path_factory) -> Path:
    """The folder that the quick start leaves, in which the other pages begin."""
    folder = tmp_path_factory.mktemp(FIRST)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_page(FIRST, folder)
    return folder


@pytest.mark.pages
@pytest.mark.parametrize("name", [name for name in PAGES if name != FIRST and has_blocks(name)])
def test_the_blocks_of_a_page_run(name, first_steps, tmp_path, monkeypatch):
    needs = NEEDS.match(PAGES[name])
    for library in needs[1].split(", ") if needs else ():
        pytest.importorskip(library, reason=f"{name}.md needs it")
    shutil.copytree(first_steps, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run_page(name, tmp_path)


def test_the_quick_start_runs_and_leaves_what_it_says(first_steps):
    files = ("corrected.zarr/zarr.json", "corrected.zarr.events.jsonl", "new_corrected.zarr")
    for name in (*files, "model.zarr", "corrected.html"):
        assert (first_steps / name).exists()


@pytest.mark.parametrize("name", PAGES)
def test_no_block_escapes_by_its_language_or_leaves_the_page(name):
    blocks = [token for token in tokens(PAGES[name]) if token.type == "fence"]
    assert {block.info.split()[0] for block in blocks} <= NOT_RUN | {"python", "bash"}
    assert all(len(line) <= WIDEST_LINE for b in blocks for line in b.content.splitlines())
    assert not [token.content for token in tokens(PAGES[name]) if token.type == "code_block"]


@pytest.mark.parametrize("name", PAGES)
def test_its_commands_and_their_options_are_there(name):
    for words in commands(PAGES[name]):
        assert words[0] in OPTIONS
        assert {word for word in words if OPTION.fullmatch(word)} <= OPTIONS[words[0]]


@pytest.mark.parametrize("name", PAGES)
def test_options_that_it_names_are_those_of_some_command(name):
    code = " ".join(token.content for token in tokens(PAGES[name]) if token.type == "code_inline")
    known = set().union(*OPTIONS.values(), {"--help", "--version"})
    assert set(OPTION.findall(code)) <= known


def test_the_table_of_options_is_that_of_the_command():
    table = PAGES["cli"][PAGES["cli"].index("| option of") :].split("\n\n")[0]
    given = {flag for flag in OPTIONS["correct"] if flag.startswith("--")}
    assert set(OPTION.findall(table)) == given


def test_the_options_of_the_sweep_are_there():
    assert set(OPTION.findall(PAGES["sweep"])) <= OPTIONS["sweep"] | {"--anchor"}


def test_the_figures_for_notebooks_are_there():
    named = set(re.findall(r"^\| `(\w+_figure)` ", PAGES["report"], flags=re.MULTILINE))
    assert named == set(plot.__all__)
    assert all(callable(getattr(plot, name)) for name in named)
    assert all(f":: balans_dask.plot.{name}\n" in PAGES["api"] for name in named)


def test_the_reference_has_every_public_name():
    for name in set(balans_dask.__all__) - {"__version__"}:
        assert f":: balans_dask.{name}\n" in PAGES["api"]


def test_every_picture_is_drawn_by_the_script_and_shown(tmp_path):
    runpy.run_path(str(DOCS / "pictures.py"))["draw"](tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "pictures").iterdir()}
    assert drawn == set(re.findall(r"\(pictures/(\S+)\)", "".join(PAGES.values())))
    assert all(path.stat().st_size < LARGEST_PICTURE for path in (DOCS / "pictures").iterdir())


def test_links_to_files_lead_somewhere():
    texts = {REPOSITORY: (REPOSITORY / "README.md").read_text(), DOCS: "".join(PAGES.values())}
    for folder, text in texts.items():
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("https://") or (folder / link).exists() or link in DRAWN, link
