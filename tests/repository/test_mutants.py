"""Faults that tests must notice still fit the code: ``make mutants`` tries them."""

import ast
import subprocess
import sys

import pytest

from tests.support import mutant_runs


@pytest.mark.parametrize("mutant", mutant_runs.mutants(), ids=lambda mutant: mutant.path.stem)
def test_a_fault_still_applies_and_names_tests_that_are_there(mutant):
    checked = mutant_runs.apply(mutant, mutant_runs.REPOSITORY, "--check")
    assert checked.returncode == 0, checked.stderr
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((mutant_runs.REPOSITORY / path).read_text())
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        marks = map(ast.unparse, functions[name.partition("[")[0]].decorator_list)
        assert "pytest.mark.long" not in marks, "the default tests notice every fault"


CODE = "def twice(x):\n    return 2 * x\n"
PATCH = """Twice is thrice.
tests/test_twice.py::{test}
diff --git a/twice.py b/twice.py
--- a/twice.py
+++ b/twice.py
@@ -1,2 +1,2 @@
 def twice(x):
-    return {was} * x
+    return 3 * x
"""


def outcome(tree, *tests):
    """What pytest would say of tests of 2 * 1 and 2 * 0; there are no others."""
    scope = {}
    exec((tree / "twice.py").read_text(), scope)
    fails = {"tests/test_twice.py::of_one": scope["twice"](1) != 2}
    fails["tests/test_twice.py::of_zero"] = scope["twice"](0) != 0
    return max(fails.get(test, 4) for test in tests)


@pytest.mark.parametrize(
    ("test", "was", "said"),
    [
        ("of_one", 2, "thrice: killed"),
        ("of_zero", 2, "thrice: SURVIVED tests/test_twice.py::of_zero"),
        ("of_two", 2, "not all of these pass without a fault: tests/test_twice.py::of_two"),
        ("of_one", 4, "thrice: NO LONGER APPLIES: error: patch failed: twice.py"),
    ],
)
def test_a_fault_is_killed_only_by_a_test_that_fails_for_it(
    tmp_path, monkeypatch, capsys, test, was, said
):
    (tmp_path / "twice.py").write_text(CODE)
    (tmp_path / "mutants").mkdir()
    (tmp_path / "mutants/thrice.patch").write_text(PATCH.format(test=test, was=was))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.setattr(mutant_runs, "REPOSITORY", tmp_path)
    monkeypatch.setattr(mutant_runs, "MUTANTS", tmp_path / "mutants")
    monkeypatch.setattr(mutant_runs, "outcome", outcome)
    monkeypatch.setattr(sys, "argv", ["mutant_runs.py"])
    assert mutant_runs.main() == (said != "thrice: killed")
    assert capsys.readouterr().out.startswith(said)
    assert (tmp_path / "twice.py").read_text() == CODE
