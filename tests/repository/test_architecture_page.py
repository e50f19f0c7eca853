"""The page about the architecture: its tree is that of the code, and what it names is there."""

import ast
import re
import runpy

import pytest

from tests.repository.test_architecture import FACES, FLOORS, MODULES, PACKAGE, WORDS, room
from tests.support import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "architecture.md").read_text()
ROOMS = runpy.run_path(str(DOCS / "rooms.py"))
QUESTIONS = re.findall(r"^\| ([^|]+\?) \| `(\S+)` \|$", PAGE, flags=re.MULTILINE)
STEPS = re.findall(r"`(\S+\.py)`,\s+`([\w.]+)`", PAGE.partition("\n## One profile")[2])
DEFINED = ast.FunctionDef | ast.ClassDef


def names_of(tree: ast.AST, before: str = "") -> set[str]:
    """Names of functions, of classes and of what these define."""
    nodes = [node for node in ast.iter_child_nodes(tree) if isinstance(node, DEFINED)]
    inner = (names_of(node, f"{node.name}.") for node in nodes if isinstance(node, ast.ClassDef))
    return {before + node.name for node in nodes}.union(*inner)


def test_the_tree_is_that_of_the_code():
    assert ROOMS["tree"]() in PAGE, "a room says another thing: python docs/rooms.py"


def test_every_module_is_in_a_room_of_the_tree():
    assert {room(path) for path in MODULES} == set().union(*FLOORS)


def test_a_file_is_named_for_every_question():
    assert len(QUESTIONS) >= 20
    assert len(QUESTIONS) == len(re.findall(r"^\| .*\?", PAGE, flags=re.MULTILINE))
    assert not [name for _, name in QUESTIONS if not (PACKAGE / name).is_file()]


@pytest.mark.parametrize(("name", "function"), STEPS)
def test_a_step_of_the_flow_is_there(name, function):
    assert function in names_of(ast.parse((PACKAGE / name).read_text()))


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"`([\w/]+/[\w.]*\w)`", PAGE))
    assert len(named) > 30
    assert not [n for n in named if not (PACKAGE / n).exists() and not (REPOSITORY / n).exists()]


def test_the_picture_has_every_room(tmp_path):
    ROOMS["draw"](tmp_path / "rooms.svg")
    drawn = (tmp_path / "rooms.svg").read_text()
    for name in {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}:
        assert f">{name}</text>" in drawn
    assert all(name in drawn for name in WORDS | FACES)
