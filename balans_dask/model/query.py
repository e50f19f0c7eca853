"""The language of queries: text becomes a small tree, of which nothing is ever run.

A store or a model carries its query to other machines. So we read it ourselves, by the grammar
below, which is a part of that of ``DataFrame.query``:

    either     := both (("or" | "|") both)*
    both       := opposite (("and" | "&") opposite)*
    opposite   := "not" opposite | compared
    compared   := operand (("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in") operand)*
    operand    := ("~" | "-") operand | "(" either ")" | list | column | constant
    list       := "[" constants "]" | "(" constant "," constants ")"
"""

import keyword
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeAlias

from balans_dask.errors import InvalidInputError

__all__ = [
    "Column",
    "Compared",
    "Constant",
    "Joined",
    "Listed",
    "Minus",
    "Node",
    "Opposite",
    "parse_query",
    "query_error",
    "shown_query",
]

LONGEST = 100_000
"""Characters of a query."""
DEEPEST = 50
"""Parentheses, ``not`` and signs within each other: each takes some frames of Python's stack."""
SHOWN = 100
"""Characters of a query in a message."""
EXAMPLE = "compare columns of obs with values, as in \"Metadata_pert_type == 'negcon'\""
END = "end"
WORDS: dict[str, bool | None] = {"True": True, "False": False, "None": None}
SIGNS = ("==", "!=", "<", "<=", ">", ">=")
JOINS = {"and": "and", "&": "and", "or": "or", "|": "or"}
ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
TOKEN = re.compile(
    r"""
    (?P<space>   [ \t\r\n\f]+)
  | (?P<text>    '(?:[^'\\\r\n\0]|\\[^\r\n\0])*' | "(?:[^"\\\r\n\0]|\\[^\r\n\0])*")
  | (?P<quoted>  `(?:[^`\0]|``)+`)
  | (?P<number>  (?:[0-9]+(?:\.[0-9]*)? | \.[0-9]+) (?:[eE][+-]?[0-9]+)? (?![\w.]))
  | (?P<name>    [^\W0-9]\w*)
  | (?P<sign>    == | != | <= | >= | [][<>(),&|~-])
    """,
    re.VERBOSE,
)
ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """A column, or the index, by its name."""

    name: str


@dataclass(frozen=True)
class Constant:
    """Text, a number, ``True``, ``False`` or ``None``."""

    value: str | float | bool | None


@dataclass(frozen=True)
class Listed:
    """Constants in brackets."""

    values: tuple[str | float | bool | None, ...]


@dataclass(frozen=True)
class Minus:
    """A column with the other sign."""

    operand: "Node"


@dataclass(frozen=True)
class Opposite:
    """``not``."""

    operand: "Node"


@dataclass(frozen=True)
class Joined:
    """Conditions, with ``and`` or ``or`` between them."""

    word: str
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Compared:
    """Operands, each compared with the next one: ``0 < dose <= 5`` is one of three."""

    operands: tuple["Node", ...]
    signs: tuple[str, ...]


Node: TypeAlias = Column | Constant | Listed | Minus | Opposite | Joined | Compared


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def parse_query(query: str) -> Node:
    """Read a query, such as ``Metadata_pert_type == 'negcon' and not `dose (uM)` > 5``.

    Parameters
    ----------
    query : str
        Of at most 100,000 characters, and at most 50 levels.

    Raises
    ------
    InvalidInputError
        If it is no text, or says anything that the grammar does not know.
    """
    # A record that another machine wrote may hold anything.
    if not isinstance(query, str):
        raise InvalidInputError(f"a query is of type {type(query).__name__}, not text: {EXAMPLE}")
    if len(query) > LONGEST:
        raise query_error(query, f"it has {len(query):,} characters of at most {LONGEST:,}")
    return _Parser(query).whole()


def query_error(query: str, reason: str) -> InvalidInputError:
    """Say in one line why a query cannot be used."""
    return InvalidInputError(f"the query {shown_query(query)} cannot be used ({reason}): {EXAMPLE}")


def shown_query(query: str) -> str:
    """Return a query in quotes, and of a long one the beginning."""
    return repr(query if len(query) <= SHOWN else query[:SHOWN] + "...")


class _Parser:
    """Reads the tokens of one query from left to right, a method for each rule of the grammar."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = list(self._cut())
        self._next = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._either()
        if self._token.kind != END:
            self._refuse_token()
        return node

    def _either(self) -> Node:
        return self._joined("or")

    def _both(self) -> Node:
        return self._joined("and")

    def _joined(self, word: str) -> Node:
        part = self._both if word == "or" else self._opposite
        parts = [part()]
        while JOINS.get(self._token.text) == word and self._token.kind in ("sign", "name"):
            self._take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _opposite(self) -> Node:
        if not self._is("not"):
            return self._compared()
        self._take()
        self._deeper()
        node = Opposite(self._opposite())
        self._depth -= 1
        return node

    def _compared(self) -> Node:
        operands, signs = [self._operand()], []
        while sign := self._comparison():
            signs.append(sign)
            operands.append(self._operand())
        return Compared(tuple(operands), tuple(signs)) if signs else operands[0]

    def _comparison(self) -> str | None:
        if self._token.kind == "sign" and self._token.text in SIGNS:
            return self._take().text
        if self._is("in"):
            return self._take().text
        if self._is("not"):
            self._take()
            self._expect("in")
            return "not in"
        return None

    def _operand(self) -> Node:
        self._deeper()
        node = self._any_operand()
        self._depth -= 1
        return node

    def _any_operand(self) -> Node:
        if self._is("~"):
            self._take()
            return Opposite(self._operand())
        if self._is("-"):
            self._take()
            return self._minus(self._operand())
        if self._is("("):
            return self._in_parentheses()
        if self._is("["):
            self._take()
            return Listed(self._constants("]"))
        if self._token.kind == "quoted":
            return Column(self._take().text[1:-1].replace("``", "`"))
        if self._token.kind == "name" and self._token.text not in WORDS:
            return Column(self._bare_name())
        return Constant(self._constant())

    def _in_parentheses(self) -> Node:
        self._take()
        if self._is(")"):
            self._take()
            return Listed(())
        node = self._either()
        if isinstance(node, Constant) and self._is(","):
            self._take()
            return Listed((node.value, *self._constants(")")))
        self._expect(")")
        return node

    def _constants(self, closing: str) -> tuple[str | float | bool | None, ...]:
        values = []
        while not self._is(closing):
            values.append(self._signed_constant())
            if not self._is(","):
                break
            self._take()
        self._expect(closing)
        return tuple(values)

    def _signed_constant(self) -> str | float | bool | None:
        node = self._operand() if self._is("-") else Constant(self._constant())
        if not isinstance(node, Constant):
            self._refuse("a list holds text and numbers")
        return node.value

    def _constant(self) -> str | float | bool | None:
        token = self._token
        if token.kind == "text":
            return self._unescaped(self._take().text[1:-1])
        if token.kind == "number":
            return self._number(self._take().text)
        if token.kind == "name" and token.text in WORDS:
            return WORDS[self._take().text]
        self._refuse_token()

    def _minus(self, operand: Node) -> Node:
        if not isinstance(operand, Constant):
            return Minus(operand)
        if isinstance(operand.value, bool | str) or operand.value is None:
            self._refuse(f"-{operand.value!r} is no number")
        return Constant(-operand.value)

    def _bare_name(self) -> str:
        name = self._token.text
        if keyword.iskeyword(name):
            self._refuse(f"{name!r} is a word of Python: put a column of that name in backticks")
        if not name.isidentifier() or not unicodedata.is_normalized("NFKC", name):
            self._refuse(f"{name!r} has letters that look like others: put it in backticks")
        return self._take().text

    def _number(self, text: str) -> float:
        if not text.isdecimal():
            return float(text)
        if text[0] == "0" and text != "0":
            self._refuse(f"{text[:SHOWN]} is no number: write it without zeros in front")
        try:
            return int(text)
        except ValueError:
            self._refuse(f"a number has {len(text):,} digits")

    def _unescaped(self, text: str) -> str:
        def meant(found: re.Match[str]) -> str:
            code = found[1] or found[2] or found[3]
            if code is not None and int(code, 16) <= 0x10FFFF:
                return chr(int(code, 16))
            if code is not None or found[4] not in ESCAPES:
                self._refuse(rf"{found[0]!r} in a text has no meaning: write \\ for a backslash")
            return ESCAPES[found[4]]

        return ESCAPED.sub(meant, text)

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _is(self, text: str) -> bool:
        return self._token.text == text and self._token.kind in ("sign", "name")

    def _take(self) -> _Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _expect(self, text: str) -> None:
        if not self._is(text):
            self._refuse_token()
        self._take()

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(f"it has more than {DEEPEST} levels")

    def _cut(self) -> Iterator[_Token]:
        place = 0
        while place < len(self._query):
            found = TOKEN.match(self._query, place)
            if found is None:
                self._refuse(f"{self._query[place]!r} at character {place + 1} has no meaning here")
            if found.lastgroup != "space":
                yield _Token(str(found.lastgroup), found[0], place)
            place = found.end()
        yield _Token(END, "", place)

    def _refuse_token(self) -> NoReturn:
        token = self._token
        if token.kind == END:
            self._refuse("it ends too soon" if self._next else "it is empty")
        self._refuse(f"{token.text[:SHOWN]!r} at character {token.place + 1} is not expected there")

    def _refuse(self, reason: str) -> NoReturn:
        raise query_error(self._query, reason)
