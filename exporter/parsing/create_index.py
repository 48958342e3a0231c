"""The CREATE INDEX statements of an SQL text, and what the server shows of an index, in parts.

What a statement means is left to the server: here is only where it ends, and the names that stand before and
after ON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exporter.parsing.text import InvalidText, parse_identifier, parse_qualified
from exporter.parsing.tokens import InvalidStatement, Token, tokens_of

_PSQL_HINTS: dict[str, str] = dict.fromkeys(
    ("\\i", "\\ir", "\\include", "\\include_relative"),
    "leave it out, and import the file that it names by itself",
)
_IN_NO_TRANSACTION = "leave it out: init builds concurrently, outside of transactions"
_OTHER_HINTS: dict[tuple[str, ...], str] = {
    ("BEGIN",): _IN_NO_TRANSACTION,
    ("START", "TRANSACTION"): _IN_NO_TRANSACTION,
    ("COMMIT",): _IN_NO_TRANSACTION,
    ("END",): _IN_NO_TRANSACTION,
    ("ROLLBACK",): _IN_NO_TRANSACTION,
    ("SET", "SEARCH_PATH"): "leave it out, and name the schemas: --search-path",
    ("SET",): "leave it out: init sets what a build needs",
    ("ANALYZE",): "leave it out: init analyzes the tables that it builds on",
    ("REINDEX",): "leave it out: a manifest says what stands, not when it is built anew",
    ("DROP", "INDEX"): "leave it out: init drops nothing that stands, rollback only what init created",
    (
        "ALTER",
        "INDEX",
    ): "leave it out: what it sets is written in CREATE INDEX; partitions are attached by init",
    ("COMMENT",): "leave it out: comments are not kept",
    ("ALTER", "TABLE"): "leave it out; for a unique constraint write CREATE UNIQUE INDEX instead",
    ("CREATE", "TABLE"): "leave it out: the tables are there when a manifest is written",
    ("COPY",): "leave it out, and its rows: a manifest declares indexes only",
}
_OPENING, _CLOSING = {"(", "["}, {")", "]"}


@dataclass(frozen=True, slots=True)
class IndexStatement:
    """A CREATE INDEX statement: its names, and `rest`, which is all after the table, as it stands.

    `only` where it is to be ON ONLY a partitioned table.
    """

    line: int
    name: str | None
    unique: bool
    table: tuple[str, ...]
    rest: str
    only: bool = False


@dataclass(frozen=True, slots=True)
class IndexParts:
    """What pg_get_indexdef shows from USING on, in its parts."""

    method: str
    columns: tuple[str, ...]
    include: tuple[str, ...]
    nulls_not_distinct: bool
    options: tuple[str, ...]
    where: str | None


def index_statements(text: str) -> Iterator[IndexStatement | InvalidStatement]:
    """Each statement of the text, which is to be CREATE INDEX; where it is not, why and what to do.

    After what has no end nothing more is read: what follows could be anything.
    """
    statement: list[Token] = []
    is_broken = False
    try:
        for token in tokens_of(text):
            fault = _fault_of(token, text)
            if fault is not None:
                is_broken = True
                yield fault
            elif token.text != ";":
                statement.append(token)
            if token.text == ";" or _sends(token):
                if statement and not is_broken:
                    yield _read(statement, text)
                statement, is_broken = [], False
            elif not statement:
                # A command of psql between statements.
                is_broken = False
    except InvalidStatement as error:
        yield error
        return
    if statement and not is_broken:
        yield _read(statement, text)


def _read(statement: Sequence[Token], text: str) -> IndexStatement | InvalidStatement:
    try:
        return _index_statement(statement, text)
    except InvalidStatement as error:
        return error


def _fault_of(token: Token, text: str) -> InvalidStatement | None:
    """What only psql understands, and quotes without an end."""
    if token.kind == "psql":
        command = token.text.split(maxsplit=1)[0]
        hint = _PSQL_HINTS.get(command, "leave it out: only CREATE INDEX is read")
        return InvalidStatement(token.line, f"a command of psql: {command}", hint)
    if token.text == ":" and re.match(r"[A-Za-z_'\"{]", text[token.end : token.end + 1]):
        what = "a variable of psql, which only psql would fill in"
        return InvalidStatement(token.line, what, "write what it stands for")
    if token.text in ("'", '"'):
        raise InvalidStatement(token.line, f"a quote {token.text} has no end", "close it")
    return None


def _sends(token: Token) -> bool:
    """True for a command of psql that sends the statement before it."""
    return token.kind == "psql" and token.text.startswith(("\\g", "\\;"))


def _not_an_index(statement: Sequence[Token]) -> InvalidStatement:
    words = [token.keyword for token in statement]
    begin = " ".join(token.text for token in statement[:3])
    return InvalidStatement(
        statement[0].line,
        f"{begin}{' …' if len(statement) > 3 else ''} is not CREATE INDEX",
        next(
            (hint for beginning, hint in _OTHER_HINTS.items() if words[: len(beginning)] == [*beginning]),
            "leave it out: a manifest declares indexes only",
        ),
    )


def _index_statement(statement: Sequence[Token], text: str) -> IndexStatement:
    line = statement[0].line
    words = [token.keyword for token in statement]
    at = 1
    unique = words[at : at + 1] == ["UNIQUE"]
    at += unique
    if words[0] != "CREATE" or words[at : at + 1] != ["INDEX"]:
        raise _not_an_index(statement)
    at += 1
    at += words[at : at + 1] == ["CONCURRENTLY"]
    if words[at : at + 3] == ["IF", "NOT", "EXISTS"]:
        at += 3
    name: str | None = None
    if words[at : at + 1] != ["ON"] and at < len(statement):
        name = _identifier(statement[at])
        at += 1
    if words[at : at + 1] != ["ON"]:
        raise InvalidStatement(line, "CREATE INDEX without ON and a table", "correct the statement")
    at += 1
    only = words[at : at + 1] == ["ONLY"]
    at += only
    table: list[Token] = statement[at : at + 1]  # type: ignore[assignment]  # a slice of a sequence of tokens
    at += 1
    while at + 1 < len(statement) and statement[at].text == ".":
        table = [*table, statement[at + 1]]
        at += 2
    if at < len(statement) and statement[at].text == "*":
        at += 1
    if not table or at >= len(statement):
        raise InvalidStatement(line, "CREATE INDEX without a table and columns", "correct the statement")
    rest = text[statement[at].start : statement[-1].end]
    return IndexStatement(line, name, unique, tuple(_identifier(one) for one in table), rest, only)


def _identifier(token: Token) -> str:
    try:
        return parse_identifier(token.text)
    except InvalidText as error:
        raise InvalidStatement(token.line, error.what, error.hint) from None


def index_parts(nature: str) -> IndexParts:
    """The parts of what the server shows of an index from USING on."""
    tokens = list(tokens_of(nature))
    (method,) = parse_qualified(tokens[1].text)
    columns, at = _group(tokens, 2, nature)
    include: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    nulls_not_distinct = False
    where: str | None = None
    while at < len(tokens):
        match tokens[at].keyword:
            case "INCLUDE":
                include, at = _group(tokens, at + 1, nature)
            case "NULLS":
                nulls_not_distinct, at = True, at + 3
            case "WITH":
                options, at = _group(tokens, at + 1, nature)
            case "WHERE":
                where, at = nature[tokens[at + 1].start :], len(tokens)
            case _:
                raise ValueError(f"the server shows an index in a way that is not known here: {nature}")
    return IndexParts(method, columns, include, nulls_not_distinct, options, where)


def _group(tokens: Sequence[Token], at: int, text: str) -> tuple[tuple[str, ...], int]:
    """The items between the parenthesis at that place and its counterpart, and the place after it."""
    items: list[str] = []
    depth, start = 0, tokens[at].end
    for place in range(at, len(tokens)):
        token = tokens[place]
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if depth == 0 or (depth == 1 and token.text == ","):
            items.append(text[start : token.start].strip())
            start = token.end
        if depth == 0:
            return tuple(items), place + 1
    raise ValueError(f"a parenthesis has no end: {text}")
