"""SQL text taken apart as the server's own scanner would, as far as CREATE INDEX needs it.

What a statement means is left to the server: here are only its tokens, where it ends, and the names that
stand before and after ON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exporter.sql_text import InvalidText, parse_identifier, parse_qualified

_TOKEN = re.compile(
    r"""
      (?P<blank> [ \t\n\r\f\v]+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<text> [eE]'(?: [^'\\] | \\. | '' )*' | (?: [uU]& | [bBxXnN] )? '(?: [^'] | '' )*' )
    | (?P<dollar> \$ (?P<tag> (?: [A-Za-z_\x80-\U0010ffff] [A-Za-z_0-9\x80-\U0010ffff]* )? ) \$
          .*? \$ (?P=tag) \$ )
    | (?P<name> (?: [uU]& )? "(?: [^"] | "" )*" )
    | (?P<word> [A-Za-z_\x80-\U0010ffff] [A-Za-z_0-9$\x80-\U0010ffff]* )
    | (?P<number> [0-9]+ )
    | (?P<cast> :: )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_OPENING, _CLOSING = {"(", "["}, {")", "]"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token and where it begins and ends in the text; `line` counts from 1."""

    kind: str
    text: str
    start: int
    end: int
    line: int

    @property
    def keyword(self) -> str:
        """The token in upper case where it can be a keyword, else nothing."""
        return self.text.upper() if self.kind == "word" else ""


@dataclass(frozen=True, slots=True)
class IndexStatement:
    """A CREATE INDEX statement: its names, and `rest`, which is all after the table, as it stands."""

    line: int
    name: str | None
    unique: bool
    table: tuple[str, ...]
    rest: str


@dataclass(frozen=True, slots=True)
class IndexParts:
    """What pg_get_indexdef shows from USING on, in its parts."""

    method: str
    columns: tuple[str, ...]
    include: tuple[str, ...]
    nulls_not_distinct: bool
    options: tuple[str, ...]
    where: str | None


class InvalidStatement(InvalidText):
    """A statement is not what it should be; `line` is where it begins."""

    def __init__(self, line: int, what: str, mend: str) -> None:
        super().__init__(what, mend)
        self.line = line


def tokens_of(text: str) -> Iterator[Token]:
    """The tokens of the text without blanks and comments.

    Raises: InvalidStatement.
    """
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise InvalidStatement(line, "a character that is no SQL", "remove it")
        end = _end_of_comment(text, match.end(), line) if match["comment"] else match.end()
        kind = "dollar" if match["dollar"] else match.lastgroup
        if kind not in ("blank", "comment"):
            yield Token(kind, text[position:end], position, end, line)
        line += text.count("\n", position, end)
        position = end


def _end_of_comment(text: str, position: int, line: int) -> int:
    """Where a comment ends, those inside it included, as in SQL."""
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, position)
        if mark is None:
            raise InvalidStatement(line, "a comment /* has no end", "close it: */")
        depth += 1 if mark[0] == "/*" else -1
        position = mark.end()
    return position


def index_statements(text: str) -> Iterator[IndexStatement]:
    """Each statement of the text, which is to be CREATE INDEX.

    Raises: InvalidStatement.
    """
    statement: list[Token] = []
    for token in tokens_of(text):
        _refuse_psql(token, text)
        if token.text != ";":
            statement.append(token)
        elif statement:
            yield _index_statement(statement, text)
            statement = []
    if statement:
        yield _index_statement(statement, text)


def _refuse_psql(token: Token, text: str) -> None:
    if token.text == "\\":
        command = text[token.start :].split(maxsplit=1)[0]
        raise InvalidStatement(
            token.line, f"a command of psql: {command}", "leave it out: only CREATE INDEX is read"
        )
    if token.text == ":" and re.match(r"[A-Za-z_'\"{]", text[token.end :]):
        raise InvalidStatement(
            token.line, "a variable of psql, which only psql would fill in", "write what it stands for"
        )
    if token.text in ("'", '"'):
        raise InvalidStatement(token.line, f"a quote {token.text} has no end", "close it")


def _index_statement(statement: Sequence[Token], text: str) -> IndexStatement:
    line = statement[0].line
    words = [token.keyword for token in statement]
    at = 1
    unique = words[at : at + 1] == ["UNIQUE"]
    at += unique
    if words[0] != "CREATE" or words[at : at + 1] != ["INDEX"]:
        begin = " ".join(token.text for token in statement[:3])
        raise InvalidStatement(
            line, f"{begin} … is not CREATE INDEX", "leave it out: a manifest declares indexes only"
        )
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
    at += words[at : at + 1] == ["ONLY"]
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
    return IndexStatement(line, name, unique, tuple(_identifier(one) for one in table), rest)


def _identifier(token: Token) -> str:
    try:
        return parse_identifier(token.text)
    except InvalidText as error:
        raise InvalidStatement(token.line, error.what, error.mend) from None


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
