"""The language of queries: what it means, and that nothing of it is ever run."""

import sys
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import zarr
from anndata import AnnData
from anndata.io import read_elem, write_elem
from hypothesis import given, note
from hypothesis import strategies as st

from balans_dask import pp
from balans_dask.errors import InvalidInputError
from balans_dask.model.anchors import rows_by_query
from balans_dask.model.query import DEEPEST
from balans_dask.model.saved import load_model, save_model
from tests.support.commands import run
from tests.support.hostile_queries import CANARY, HOSTILE, nothing_ran
from tests.support.screens import gaussian_screen
from tests.support.stores import write_anndata

OBS = pd.DataFrame(
    {
        "kind": np.array(["negcon", "trt", None, "poscon", "", "trt"], dtype=object),
        "tag": pd.array(["a", "trt", None, "c", "a", ""], dtype="string"),
        "group": pd.Categorical(["a", "b", None, "c", "a", "b"]),
        "rank": pd.Categorical([1, 2, None, 3, 1, 2], ordered=True),
        "dose": [0, 1, 2, 3, -1, 1],
        "dose (uM)": [0, 1, 2, 3, 4, 5],
        "level": [0.0, 0.5, np.nan, 1.0, np.inf, -1.0],
        "small": np.array([0.1, 0.5, np.nan, 1, np.inf, -1], dtype=np.float32),
        "count": pd.array([0, 1, None, 3, None, -1], dtype="Int64"),
        "flag": [True, False, True, False, True, False],
        "maybe": pd.array([True, False, None, True, None, False], dtype="boolean"),
        "told": np.array([True, False, True, False, True, False], dtype=object),
        "lost": np.array([True, None, False, True, None, False], dtype=object),
        "class": list("xxyyzz"),
        "it's `here`": list("abcdef"),
    },
    index=pd.Index([f"row{i}" for i in range(6)], name="well"),
)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("kind == 'negcon'", [0]),
        ('"negcon" == kind', [0]),
        ("kind in ['negcon', 'poscon'] and `dose (uM)` > 0", [3]),
        ("kind == ['negcon', 'poscon',]", [0, 3]),
        ("kind not in ('negcon', 'trt')", [2, 3, 4]),
        ("'trt' in kind", [1, 5]),
        ("kind in tag and kind == kind", [1, 4, 5]),
        ("kind == tag", [1]),
        ("dose == -1 or dose >= 2.5e0", [3, 4]),
        ("-dose > 0", [4]),
        ("0 < dose <= 2", [1, 2, 5]),
        ("dose == `dose (uM)` != 0", [1, 2, 3]),
        ("flag", [0, 2, 4]),
        ("not flag", [1, 3, 5]),
        ("told", [0, 2, 4]),
        ("flag == False", [1, 3, 5]),
        ("~flag & dose == 1 | kind == 'negcon'", [0, 1, 5]),
        ("not (flag or dose == 1) and dose == 3", [3]),
        ("not dose == 1 and flag", [0, 2, 4]),
        ("(dose > 0) == flag", [2]),
        ("well == 'row1' or index == 'row2'", [1, 2]),
        ("`class` == 'x'", [0, 1]),
        ("`it's ``here``` == 'c'", [2]),
        ("group > 'a'", None),
        ("rank >= 2", [1, 3, 5]),
        ("dose in []", []),
        ("dose == '1'", []),
        (r"kind == 'tr\x74'", [1, 5]),
        ("\n kind == 'trt'\n", [1, 5]),
        ("(" * DEEPEST + "dose == 1" + ")" * DEEPEST, None),
        ("dose == 1 or " * 300 + "flag", [0, 1, 2, 4, 5]),
    ],
)
def test_a_query_names_rows(query, rows):
    if rows is None:
        with pytest.raises(InvalidInputError, match="the query"):
            rows_by_query(OBS, query)
    else:
        np.testing.assert_array_equal(np.flatnonzero(rows_by_query(OBS, query)), rows)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        # Missing text is unlike every text.
        ("kind != 'trt'", [0, 2, 3, 4]),
        ("tag != 'trt'", [0, 2, 3, 4, 5]),
        ("group != 'a'", [1, 2, 3, 5]),
        ("not tag == 'a'", [1, 2, 3, 5]),
        ("kind == kind", [0, 1, 3, 4, 5]),
        ("kind == None", []),
        ("kind in [None]", [2]),
        # A missing number of numpy is unlike every number, one that is nullable is neither.
        ("level != 1", [0, 1, 2, 4, 5]),
        ("not level > 0", [0, 2, 5]),
        ("count != 1", [0, 3, 5]),
        ("not count > 0", [0, 5]),
        ("count not in [1]", [0, 2, 3, 4, 5]),
        # A missing yes is no yes, nor is its opposite; with a yes, or is yes all the same.
        ("maybe", [0, 3]),
        ("not maybe", [1, 5]),
        ("maybe or flag", [0, 2, 3, 4]),
        ("maybe == False", [1, 5]),
        ("lost == True", [0, 3]),
    ],
)
def test_missing_values_compare_as_in_pandas(query, rows):
    np.testing.assert_array_equal(np.flatnonzero(rows_by_query(OBS, query)), rows)
    assert list(OBS.query(query).index) == [f"row{i}" for i in rows]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("kind < 3", "'kind < 3' cannot be used ("),
        ("kind", "does not say yes or no"),
        ("lost", "does not say yes or no"),
        ("dose and flag", "does not say yes or no"),
        ("flag and True", "does not say yes or no"),
        ("Metadata_Kind == 'a'", "obs has no column 'Metadata_Kind': did you mean kind?"),
        ("other == 'negcon'", "obs has no column 'other', but 15 others: 'kind', 'tag', "),
        ("3 == 3", "two values that are no column"),
        ("dose < [1, 2]", "a list has no order"),
        ("dose in 5", "in asks for a list"),
        ("kind == 'a' == 'b'", "two values that are no column"),
        ("kind.str == 'a'", "'.' at character 5 has no meaning here"),
        ("kind == 'a' 'b'", "\"'b'\" at character 13 is not expected there"),
        ("kind ==", "ends too soon"),
        ("class == 'x'", "put a column of that name in backticks"),
        ("not " * 3000 + "flag", f"more than {DEEPEST} levels"),
        ("flag or " * 20_000 + "flag", "160,004 characters of at most 100,000"),
    ],
)
def test_a_refusal_says_why(query, reason):
    with pytest.raises(InvalidInputError) as refused:
        rows_by_query(OBS, query)
    assert reason in str(refused.value)
    assert "compare columns of obs with values" in str(refused.value)
    assert len(str(refused.value)) < 400


@contextmanager
def nothing_runs():
    """Fail if text is compiled, or code or a command run, meanwhile."""
    seen.clear()
    watching.append(True)
    try:
        yield
    finally:
        watching.pop()
    assert not seen


seen: list[str] = []
watching: list[bool] = []
RUNS = ("compile", "exec", "os.system", "os.posix_spawn", "subprocess.Popen")


def _notice(event, _):
    if watching and event in RUNS:
        seen.append(event)


@pytest.fixture(scope="module", autouse=True)
def audited():
    """Python tells what it compiles and runs; a hook for that cannot be taken away again."""
    sys.addaudithook(_notice)
    with pytest.raises(AssertionError), nothing_runs():
        eval("1")
    # What pandas imports when it is first wanted.
    for query in ("tag == 'a' and count < 1", "rank >= 2 or group == 'a'", "lost == level"):
        rows_by_query(OBS, query)


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_query_is_refused_in_one_line_and_nothing_of_it_runs(
    query, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError) as refused, nothing_runs():
        rows_by_query(OBS, query)
    said = str(refused.value)
    assert said.isprintable()
    assert len(said) < 400
    assert nothing_ran(tmp_path)


@pytest.mark.parametrize("query", [None, 3, ["kind"], {"kind": 1}, b"flag"])
def test_what_is_no_text_is_refused(query):
    with pytest.raises(InvalidInputError, match=f"of type {type(query).__name__}, not text"):
        rows_by_query(OBS, query)


def listed(constants):
    some = st.lists(constants, max_size=3).map(", ".join)
    pair = st.lists(constants, min_size=2, max_size=3).map(", ".join)
    return some.map(lambda text: f"[{text}]") | pair.map(lambda text: f"({text})")


COLUMNS = st.sampled_from(
    [name if name.isidentifier() and name != "class" else f"`{name}`" for name in OBS.columns[:-1]]
    + ["index", "well"]
)
CONSTANTS = st.sampled_from(
    ["'negcon'", "'a'", '"trt"', "''", "'row1'", "1", "-1", "0", "2.5", ".5", "1e3", "True",
     "False", "None"]
)  # fmt: skip
SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", " in ", " not in "])


@st.composite
def comparisons(draw, operands):
    pairs = draw(st.lists(st.tuples(SIGNS, operands), min_size=1, max_size=2))
    return draw(operands) + "".join(sign + operand for sign, operand in pairs)


def deeper(conditions):
    operands = COLUMNS | CONSTANTS | conditions.map("({})".format)
    joined = st.tuples(conditions, st.sampled_from([" and ", " or ", " & ", "|"]), conditions)
    return (
        comparisons(operands)
        | joined.map("".join)
        | conditions.map("not {}".format)
        | conditions.map("~({})".format)
        | conditions.map("({})".format)
    )


SIMPLE = comparisons(COLUMNS | CONSTANTS | listed(CONSTANTS))
QUERIES = st.recursive(SIMPLE | COLUMNS, deeper, max_leaves=6)


def answered(query):
    """The rows, or None after a refusal in one line; nothing runs meanwhile."""
    note(query)
    refusals = []
    with nothing_runs():
        try:
            return rows_by_query(OBS, query)
        except InvalidInputError as error:
            refusals.append(str(error))
    assert refusals[0].isprintable()
    return None


@given(st.lists(QUERIES, min_size=8, max_size=8))
def test_rows_are_those_of_pandas_wherever_both_understand(queries):
    both = []
    for query in queries:
        ours = answered(query)
        # pandas refuses with whatever it comes across.
        with suppress(Exception):
            theirs = OBS.index.isin(OBS.query(query, engine="python").index)
            both.append((query, ours, theirs))
    for query, ours, theirs in both:
        assert ours is None or list(ours) == list(theirs), query


PIECES = st.sampled_from(
    ["`", "'", '"', "\\", "(", ")", "[", "]", "@", ".", ",", ":", ":=", "{", "}", "#", "\n", "\0",
     "f'", "lambda: ", "__import__", "kind.to_csv('x')", " if ", "not ", "~", "-", "*", "=", "==",
     "in ", "１", "ﬁ", "\u2028", "\ud800", "\\N{A}"]
)  # fmt: skip


@st.composite
def mutations(draw):
    query = draw(QUERIES)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(query)))
        stop = draw(st.integers(start, min(len(query), start + 3)))
        query = query[:start] + draw(PIECES | st.text(max_size=2)) + query[stop:]
    return query


@given(st.lists(mutations(), min_size=4, max_size=4))
def test_whatever_is_not_understood_is_refused_and_nothing_runs(queries):
    for query in queries:
        found = answered(query)
        assert found is None or (found.dtype == bool and found.shape == (len(OBS),))


SCREEN = gaussian_screen(120, n_features=4)
TRICKS = [
    f"kind == '`' or kind.to_csv({CANARY!r}) == '`'",
    "not " * 3000 + "kind",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store, a model with anchors, and what was corrected by them."""
    place = tmp_path_factory.mktemp("queries")
    kind = np.where(np.arange(120) % 2, "negcon", "trt")
    columns = {"plate": SCREEN.batch, "kind": kind, "drug": SCREEN.label.astype(str)}
    write_anndata(place / "in.zarr", SCREEN.profiles, **columns)
    anchors = ["--operator", "displace", "--anchor", "kind == 'negcon'", "--quiet"]
    made = ["--model", place / "model.zarr", "--batch-key", "plate", *anchors]
    run("correct", place / "in.zarr", place / "out.zarr", *made)
    return place


@pytest.fixture
def hostile_record(folder, tmp_path):
    """Write a query into the records of a model and of a corrected store, soundly."""

    def write(query):
        model = load_model(str(folder / "model.zarr"))
        hostile = replace(model, record={**model.record, "anchor": query})
        save_model(hostile, str(tmp_path / "model.zarr"))
        root = zarr.open_group(folder / "out.zarr", mode="a", use_consolidated=False)
        record = read_elem(root["uns/balans"])
        record["parameters"]["anchor"] = query
        write_elem(root["uns"], "balans", record)
        zarr.consolidate_metadata(root.store)

    return write


@pytest.mark.parametrize("query", TRICKS, ids=range(len(TRICKS)))
def test_every_command_refuses_a_hostile_query(
    folder, hostile_record, query, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    hostile_record(query)
    source, out, new = folder / "in.zarr", folder / "out.zarr", tmp_path / "new.zarr"
    keys = ["--batch-key", "plate"]
    anchored = [*keys, "--operator", "displace", "--anchor", query]
    normalized = ["--normalize", "mad", "--by", "plate"]
    scored = [*keys, "--label-key", "drug", "--control", query]
    page = tmp_path / "page.html"
    left = sorted(tmp_path.iterdir())
    for command in (
        ["correct", source, new, *anchored],
        ["check", source, *anchored],
        ["sweep", source, *anchored, "--label-key", "drug"],
        ["preprocess", source, new, *normalized, "--controls", query],
        ["preprocess", source, new, "--select", "variance", "--controls", query],
        ["evaluate", source, out, *scored],
        ["transform", tmp_path / "model.zarr", source, new, *keys],
        [
            "transform",
            folder / "model.zarr",
            source,
            new,
            "--batch-key",
            "plate",
            "--anchor",
            query,
        ],
        ["report", out, "--html", page],
        ["report", out, "--html", page, "--control", query],
    ):
        said = run(*command, code=2).strip()
        assert "the query" in said, command
        assert "cannot be used" in said, command
        assert said.count("\n") == 0, command
    assert nothing_ran(tmp_path)
    assert sorted(tmp_path.iterdir()) == left


def test_a_query_on_an_object_in_memory_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    obs = pd.DataFrame({"plate": SCREEN.batch.astype(str), "kind": "trt"})
    obs.index = obs.index.astype(str)
    adata = AnnData(SCREEN.profiles, obs)
    for query in TRICKS:
        with pytest.raises(InvalidInputError, match="the query"):
            pp.balans_integrate(adata, "plate", basis=None, anchor=query, operator="displace")
    assert nothing_ran(tmp_path)
