"""Hypothesis strategies for hostile stores, values, labels, tables and options."""

import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import zarr
from anndata.io import write_elem
from hypothesis import strategies as st

# ---------------------------------------------------------------------------- text

MARKUP = ["[red]x[/red]", "[/]", "[/nothing]", "<script>alert(1)</script>", "&amp;", "$\\frac$"]
CONTROL = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "a\nb",
    "a\rb",
    "\x00",
    "a\x00",
    "\x9b2J",
    "\t",
]
UNICODE = ["שלום", "‮abc", "e\u0301", "é", "👩‍🔬", "プレート", "\u200b", "\ufeffp", "ﬁ", "İ", "𝔘"]
ODD = [
    "",
    " ",
    "nan",
    "None",
    "True",
    "1",
    "1.0",
    "-0.0",
    "_index",
    "zarr.json",
    "a|b",
    " | ",
    "--",
]

hostile_text = st.one_of(
    st.sampled_from(MARKUP + CONTROL + UNICODE + ODD),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.integers(1_000, 10_000).map(lambda n: "long" * (n // 4)),
)
"""Anything that UTF-8 can write."""

any_argument = st.one_of(hostile_text, st.sampled_from(["\udc80", "p\udcff", "💥\ud800"]))
"""What a shell can pass on, among it bytes that are no UTF-8."""

# -------------------------------------------------------------------------- values

NUMERIC = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">f4", ">i2", ">f8"]
SCALES = [1.0, 1e-300, 1e-160, 1e-40, 1e-20, 1e-6, 1e6, 1e19, 1e30, 1e150, 1e300]


@dataclass(frozen=True)
class Values:
    """Profiles, and whether they must be corrected, must be refused, or may be either."""

    profiles: np.ndarray
    fate: str


def _column(kind: str, scale: float, rng: np.random.Generator, n_rows: int) -> np.ndarray:
    if kind == "normal":
        return scale * rng.normal(size=n_rows)
    if kind == "constant":
        return np.full(n_rows, scale)
    if kind == "two values":
        return scale * rng.integers(2, size=n_rows)
    if kind == "outlier":
        return np.where(np.arange(n_rows) == n_rows - 1, scale, rng.normal(size=n_rows))
    if kind == "far away":
        return scale * (1e6 + rng.normal(size=n_rows))
    return rng.integers(-4, 5, size=n_rows) * 5e-324  # subnormal


_columns = st.tuples(
    st.sampled_from(["normal", "normal", "constant", "two values", "outlier", "far away", "tiny"]),
    st.one_of(st.just(1.0), st.sampled_from(SCALES)),
)


@st.composite
def values(draw: st.DrawFn) -> Values:
    """Any numbers that a matrix can hold."""
    n_rows = draw(st.sampled_from([2, 3, 5, 30, 30, 120]))
    columns = draw(st.lists(_columns, min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    matrix = np.stack([_column(*column, rng, n_rows) for column in columns], axis=1)
    if draw(st.booleans()):
        matrix = matrix[rng.integers(max(1, n_rows // 4), size=n_rows)]  # exact duplicates
    if draw(st.integers(0, 7)) == 0:
        matrix[draw(st.integers(0, n_rows - 1)), 0] = draw(st.sampled_from([np.nan, np.inf]))
    kind = np.dtype(draw(st.sampled_from(NUMERIC)))
    profiles = as_kind(matrix, kind)
    return Values(profiles, fate_of(profiles))


def as_kind(matrix: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    with np.errstate(all="ignore"):
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            matrix = np.nan_to_num(matrix)
            if np.abs(matrix).max() <= 8:
                matrix = np.round(matrix * 12)
            return np.clip(matrix, float(limits.min), np.nextafter(limits.max, 0)).astype(kind)
        return matrix.astype(kind)


def fate_of(profiles: np.ndarray) -> str:
    """What must become of a matrix; the border of what float64 can square may go either way."""
    wide = profiles.astype(np.float64)
    if not np.isfinite(wide).all() or len(wide) < 2 or (wide == wide[:1]).all():
        return "refused"
    spread = wide.max(axis=0) / 2 - wide.min(axis=0) / 2
    spread = spread[spread > 0]
    usual = spread.min() > 1e-100 and spread.max() < 1e100 and np.abs(wide).max() < 1e290
    return "corrected" if usual else "either"


# -------------------------------------------------------------------------- stores


@dataclass(frozen=True)
class Layout:
    """How a store lies on disk."""

    zarr_format: int = 3
    chunks: tuple[int, int] = (8, 2)
    consolidated: bool = True


layouts = st.builds(
    Layout,
    st.sampled_from([2, 3]),
    st.tuples(st.sampled_from([5, 7, 8, 200]), st.sampled_from([1, 2, 9])),
    st.booleans(),
)


def write_store(
    path: Path, profiles: np.ndarray, obs: pd.DataFrame, layout: Layout, **more: Any
) -> str:
    """A store of any values and annotations; ``more`` holds ``var`` and ``obsm``."""
    root = zarr.create_group(path, zarr_format=layout.zarr_format)
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    chunks = tuple(max(1, min(pair)) for pair in zip(layout.chunks, profiles.shape, strict=True))
    matrix = root.create_array(
        "X",
        shape=profiles.shape,
        dtype=profiles.dtype,
        chunks=chunks,
        # A chunk of zeros that is left out could as well be lost, and is refused.
        config={"write_empty_chunks": True},
    )
    matrix[:] = profiles
    matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    var = more.get("var", pd.DataFrame(index=names(profiles.shape[1], "Cells_")))
    for name, element in {"obs": obs, "var": var, "obsm": more.get("obsm", {})}.items():
        write_elem(root, name, element)
    if layout.consolidated:
        zarr.consolidate_metadata(root.store)
    return str(path)


def names(n: int, prefix: str) -> pd.Index:
    return pd.Index([f"{prefix}{i}" for i in range(n)], dtype=object)


def plate_obs(n_rows: int) -> pd.DataFrame:
    return pd.DataFrame({"p": pd.Categorical(plates(n_rows))}, index=names(n_rows, "well"))


def plates(n_rows: int) -> list[str]:
    return [f"plate{i % 3}" for i in range(n_rows)]


# -------------------------------------------------------------------------- damage


def chunk_files(store: Path) -> list[Path]:
    """Chunks of what a correction reads."""
    return [
        file
        for file in sorted(store.rglob("*"))
        if file.is_file() and _is_read(file, store) and not _is_metadata(file)
    ]


def metadata_files(store: Path) -> list[Path]:
    return [file for file in sorted(store.rglob("*")) if file.is_file() and _is_metadata(file)]


def _is_metadata(file: Path) -> bool:
    return file.name in {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


def _is_read(file: Path, store: Path) -> bool:
    return file.relative_to(store).parts[0] in {"X", "obs", "var"}


def delete(file: Path, rng: random.Random) -> None:
    file.unlink()


def truncate(file: Path, rng: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def garble(file: Path, rng: random.Random) -> None:
    file.write_bytes(b"\xff\xfe" + rng.randbytes(40))


def replace_json(file: Path, rng: random.Random) -> None:
    file.write_text(rng.choice(["", "null", "[]", "{}", "NaN", "3", '{"a":', '"text"', "[[" * 999]))


HOSTILE_JSON = [None, [], {}, -1, 0, 99, "nonsense", [0, 0], [-1, 5], 1e300, True, [None]]


def change_json(file: Path, rng: random.Random) -> None:
    """Set one value, at any depth, to something that it cannot be."""
    document = json.loads(file.read_text())
    places = list(_places(document))
    if places:
        holder, key = rng.choice(places)
        holder[key] = rng.choice(HOSTILE_JSON)
    file.write_text(json.dumps(document))


def drop_json(file: Path, rng: random.Random) -> None:
    """Forget one key, at any depth."""
    document = json.loads(file.read_text())
    places = [(holder, key) for holder, key in _places(document) if isinstance(holder, dict)]
    if places:
        holder, key = rng.choice(places)
        del holder[key]
    file.write_text(json.dumps(document))


def _places(node: Any) -> Any:
    for key, value in list(node.items()) if isinstance(node, dict) else enumerate(node):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


CHUNK_DAMAGE: dict[str, Callable[[Path, random.Random], None]] = {
    "deleted": delete,
    "truncated": truncate,
    "garbled": garble,
}
METADATA_DAMAGE: dict[str, Callable[[Path, random.Random], None]] = {
    "deleted": delete,
    "truncated": truncate,
    "garbled": garble,
    "replaced": replace_json,
    "changed": change_json,
    "dropped": drop_json,
}

# -------------------------------------------------------------------------- labels

_repeats = st.sampled_from([1, 2, 3, 24])
N_LABELS = 24


@st.composite
def label_columns(draw: st.DrawFn) -> pd.Series:
    """A column of 24 labels, as a store can hold it."""
    make = draw(st.sampled_from([_text, _numbers, _categories, _nullable, _flags]))
    column: pd.Series = draw(make())
    return column.set_axis(names(len(column), "well"))


def _fill(draw: st.DrawFn, pool: list[Any]) -> list[Any]:
    rng = random.Random(draw(st.integers(0, 99)))
    return [rng.choice(pool) for _ in range(N_LABELS)]


def _pool(draw: st.DrawFn, elements: st.SearchStrategy[Any]) -> list[Any]:
    n = draw(_repeats)
    return draw(st.lists(elements, min_size=n, max_size=n))


@st.composite
def _text(draw: st.DrawFn) -> pd.Series:
    return pd.Series(_fill(draw, _pool(draw, hostile_text)), dtype=object)


@st.composite
def _numbers(draw: st.DrawFn) -> pd.Series:
    kind = np.dtype(draw(st.sampled_from(["i1", "i8", "u8", "f2", "f4", "f8"])))
    limits = None if kind.kind == "f" else np.iinfo(kind)
    if limits is None:
        element = st.floats(width=kind.itemsize * 8)
    else:
        element = st.integers(int(limits.min), int(limits.max))
    return pd.Series(np.array(_fill(draw, _pool(draw, element)), dtype=kind))


@st.composite
def _flags(draw: st.DrawFn) -> pd.Series:
    return pd.Series(_fill(draw, _pool(draw, st.booleans())), dtype=bool)


@st.composite
def _categories(draw: st.DrawFn) -> pd.Series:
    """Categories of one type, some unused, perhaps with missing labels."""
    element = draw(st.sampled_from([hostile_text, st.integers(-9, 9), st.floats(-1, 1)]))
    levels = draw(st.lists(element, min_size=1, max_size=6, unique=True))
    used = draw(st.lists(st.sampled_from(levels), min_size=1))
    if draw(st.integers(0, 5)) == 0:
        used.append(None)
    ordered = draw(st.booleans())
    return pd.Series(pd.Categorical(_fill(draw, used), categories=levels, ordered=ordered))


@st.composite
def _nullable(draw: st.DrawFn) -> pd.Series:
    kind, pool = draw(
        st.sampled_from([("Int64", [1, -(2**62), 3]), ("boolean", [True, False]), ("UInt8", [7])])
    )
    missing = [None] if draw(st.integers(0, 3)) == 0 else []
    return pd.Series(_fill(draw, pool + missing), dtype=kind)


# -------------------------------------------------------------------------- tables

_words = st.sampled_from(
    [
        "plate1",
        "007",
        "Ä",
        "日本",
        'quo"te',
        "com,ma",
        "line\nbreak",
        " sp ",
        "=1+1",
        "[red]",
        "a;b",
    ]
)
_headers = st.one_of(
    st.sampled_from(["a", "a/b", "Metadata_a/b", "..", "_index", "a.1", "Ä", "[red]", "x" * 5000]),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=6),
)


@dataclass(frozen=True)
class Table:
    """A table whose features and labels are known."""

    features: dict[str, list[float]]
    labels: dict[str, list[str]]

    @property
    def columns(self) -> dict[str, list[Any]]:
        return self.features | self.labels


@st.composite
def tables(draw: st.DrawFn) -> Table:
    n_rows = draw(st.sampled_from([1, 2, 12, 40]))
    headers = draw(st.lists(_headers, min_size=2, max_size=5, unique=True))
    n_labels = draw(st.integers(1, len(headers) - 1))
    rng = random.Random(draw(st.integers(0, 99)))
    pool = draw(st.lists(_words, min_size=1, max_size=4))
    labels = {
        "Metadata_" + name.removeprefix("Metadata_"): [rng.choice(pool) for _ in range(n_rows)]
        for name in headers[:n_labels]
    }
    features = {
        name: [rng.gauss(0, 1) for _ in range(n_rows)]
        for name in headers[n_labels:]
        if not name.startswith("Metadata_") and name not in labels
    }
    return Table(features, labels)


def csv_text(table: Table, delimiter: str = ",", **options: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, **options)
    writer.writerow(table.columns)
    writer.writerows(zip(*table.columns.values(), strict=True))
    return text.getvalue()


def with_commas(table: Table) -> Table:
    """Write the numbers as they are written where a comma stands before decimals."""
    features = {
        name: [str(value).replace(".", ",") for value in column]
        for name, column in table.features.items()
    }
    return Table(features, table.labels)  # type: ignore[arg-type]


csv_damages = st.sampled_from(
    ["none", "cut", "ragged", "bom", "latin-1", "utf-16", "semicolons", "decimal commas", "tabs",
     "null bytes", "twice", "all quoted", "text below", "blank lines", "header only", "empty",
     "old mac"]
)  # fmt: skip


def csv_bytes(table: Table, damage: str) -> bytes:
    """A csv file with one thing about it that readers trip over."""
    text = csv_text(table)
    header = text.split("\r\n", 1)[0]
    encoded = {
        "latin-1": lambda: text.encode("latin-1", "replace"),
        "utf-16": lambda: text.encode("utf-16"),
        "bom": lambda: b"\xef\xbb\xbf" + text.encode(),
        "cut": lambda: text.encode()[: len(text) * 2 // 3],
        "old mac": lambda: text.replace("\r\n", "\r").encode(),
    }
    changed = {
        "ragged": lambda: text + "1,2,3,4,5,6,7,8,9,10,11,12\r\n1\r\n",
        "semicolons": lambda: csv_text(table, ";"),
        "decimal commas": lambda: csv_text(with_commas(table), ";"),
        "tabs": lambda: csv_text(table, "\t"),
        "null bytes": lambda: text + "\x00\x00,\x00\r\n",
        "twice": lambda: text + text,
        "all quoted": lambda: csv_text(table, quoting=csv.QUOTE_ALL),
        "text below": lambda: text + ",".join(["words"] * len(table.columns)) + "\r\n",
        "blank lines": lambda: text.replace("\r\n", "\r\n\r\n"),
        "header only": lambda: header + "\r\n",
        "empty": lambda: "",
        "none": lambda: text,
    }
    return encoded[damage]() if damage in encoded else changed[damage]().encode()


ARROW_COLUMNS: dict[str, Callable[[int], pa.Array]] = {
    "float16": lambda n: pa.array(np.arange(n, dtype=np.float16)),
    "decimal": lambda n: pa.array(range(n), pa.int64()).cast(pa.decimal128(20, 1)),
    "nulls": lambda n: pa.array([None, *range(n - 1)], pa.int64()),
    "all null": lambda n: pa.nulls(n),
    "all null floats": lambda n: pa.nulls(n, pa.float32()),
    "uint64": lambda n: pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()),
    "huge": lambda n: pa.array([1e300 * i for i in range(n)]),
    "bool": lambda n: pa.array([i % 2 == 0 for i in range(n)]),
    "text": lambda n: pa.array([f"t{i % 3}" for i in range(n)]),
    "large text": lambda n: pa.array([f"t{i % 3}" for i in range(n)], pa.large_string()),
    "dictionary": lambda n: pa.array([f"t{i % 3}" for i in range(n)]).dictionary_encode(),
    "numbers as dictionary": lambda n: pa.array([i % 3 for i in range(n)]).dictionary_encode(),
    "bytes": lambda n: pa.array([b"\xff\xfe"] * n),
    "date": lambda n: pa.array(range(n), pa.int32()).cast(pa.date32()),
    "time": lambda n: pa.array(range(n), pa.time64("us")),
    "timestamp": lambda n: pa.array(range(n), pa.timestamp("ns", "Europe/Berlin")),
    "far timestamp": lambda n: pa.array([2**60 + i for i in range(n)], pa.timestamp("us")),
    "duration": lambda n: pa.array(range(n), pa.duration("s")),
    "list": lambda n: pa.array([[1, 2]] * n),
    "struct": lambda n: pa.array([{"a": 1, "b": "x"}] * n),
    "map": lambda n: pa.array([[("k", 1)]] * n, pa.map_(pa.string(), pa.int32())),
    "control": lambda n: pa.array(["\x1b[31m", "\x00"] * n)[:n],
    "long": lambda n: pa.array(["x" * 10_000] * n),
}
"""Every type that a parquet column can have, by what is odd about it."""


@st.composite
def arrow_tables(draw: st.DrawFn) -> pa.Table:
    n_rows = draw(st.sampled_from([2, 6, 40]))
    kinds = draw(st.lists(st.sampled_from(sorted(ARROW_COLUMNS)), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    columns = [rng.normal(size=n_rows), pa.array(plates(n_rows))]
    headers = ["Cells_a", "Metadata_p"]
    for number, kind in enumerate(kinds):
        columns.append(ARROW_COLUMNS[kind](n_rows))
        headers.append(draw(_headers) if draw(st.booleans()) else f"Metadata_{number}")
    return pa.Table.from_arrays([pa.array(column) for column in columns], headers)


# ------------------------------------------------------------------------- options

VALID = {
    "--n-neighbors": st.integers(1, 40),
    "--block-rows": st.integers(1, 200),
    "--coverage-tol": st.floats(0, 0.99),
    "--max-rows": st.integers(1, 2**63 - 1),
    "--n-components": st.integers(0, 2**63 - 1),
    "--seed": st.integers(0, 2**64 - 1),
    "--max-neighbors": st.integers(1, 2**63 - 1),
    "--workers": st.integers(1, 8),
    "--memory-limit": st.sampled_from(["2GB", "900MiB", "1e10", "4 GB"]),
    "--worker-timeout": st.floats(1, 1e6),
    "--checkpoint-seconds": st.floats(0, 1e6),
    "--basis": st.sampled_from(["B"]),
}
_uncovered = ["nearest", "keep"]
_passes = {
    "--patience": st.integers(1, 2**63 - 1),
    "--stopping": st.sampled_from(["share", "patience", "auto"]),
    "--n-passes": st.integers(1, 2),
}
VALID_WITH = {
    "--operator=align": {
        **_passes,
        "--shared-populations": st.sampled_from(["auto", "yes"]),
        "--uncovered": st.sampled_from(["offset", *_uncovered]),
    },
    "--operator=smooth": {
        **_passes,
        "--max-scale-ratio": st.floats(1, 1e308),
        "--uncovered": st.sampled_from(_uncovered),
    },
    "--paper": {"--uncovered": st.sampled_from(_uncovered)},
}
"""What goes with some methods only."""
_no_numbers = st.sampled_from(["", "nan", "-inf", "1e", "0x10", "1,5", "٣x", "-1", "None", "[red]"])
INVALID = {
    "--n-neighbors": st.one_of(st.integers(max_value=0), _no_numbers, st.just("5.0")),
    "--patience": st.one_of(st.integers(max_value=0), st.just(2**70), _no_numbers),
    "--block-rows": st.one_of(st.integers(4097), _no_numbers),
    "--coverage-tol": st.one_of(st.floats(1), st.floats(max_value=-1e-9), _no_numbers),
    "--max-rows": st.one_of(st.integers(max_value=0), st.just(2**70), _no_numbers),
    "--n-components": st.one_of(st.integers(max_value=-1), st.just(2**70), _no_numbers),
    "--seed": st.one_of(st.integers(2**64), _no_numbers),
    "--max-scale-ratio": st.one_of(st.floats(max_value=0.99), st.just("inf"), _no_numbers),
    "--max-neighbors": st.one_of(st.integers(max_value=0), st.just(2**70), _no_numbers),
    "--n-passes": st.one_of(st.integers(max_value=0), st.just(2**70), _no_numbers),
    "--uncovered": any_argument,
    "--shared-populations": any_argument,
    "--paper": any_argument,
    "--stopping": any_argument,
    "--operator": any_argument,
    "--workers": st.one_of(st.integers(max_value=0), _no_numbers),
    "--memory-limit": st.sampled_from(
        ["", "0", "-2GB", "1B", "2 elephants", "nan", "inf", "1e400"]
    ),
    "--worker-timeout": st.one_of(st.floats(max_value=0.9), st.just("x")),
    "--checkpoint-seconds": st.one_of(st.floats(max_value=-1e-9), st.just("x")),
    "--basis": any_argument,
    "--cluster": any_argument.filter(lambda text: text not in ("threads", "local")),
    "--batch-key": any_argument,
    "--unknown": any_argument,
}


@st.composite
def valid_options(draw: st.DrawFn) -> list[str]:
    method = draw(st.sampled_from(sorted(VALID_WITH)))
    known = VALID | VALID_WITH[method]
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=5, unique=True))
    return [method, *(f"{name}={draw(known[name])}" for name in chosen)]


@st.composite
def invalid_options(draw: st.DrawFn) -> list[str]:
    """Valid options and one that is not."""
    name = draw(st.sampled_from(sorted(INVALID)))
    return [*draw(valid_options()), f"{name}={draw(INVALID[name])}"]
