"""SQL text taken apart as the server's own scanner would, as far as CREATE INDEX needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from exporter.parsing.text import InvalidText

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
    | (?P<psql> \\[^\n]* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_END_OF_ROWS = re.compile(r"^\\\.[^\n]*$", re.MULTILINE)


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


class InvalidStatement(InvalidText):
    """A statement is not what it should be; `line` is where it begins."""

    def __init__(self, line: int, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.line = line


def tokens_of(text: str) -> Iterator[Token]:
    """The tokens of the text without blanks, comments and the rows after COPY … FROM stdin.

    Raises: InvalidStatement.
    """
    position, line = 0, 1
    words: list[str] = []
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise InvalidStatement(line, "a character that is no SQL", "remove it")
        end = _end_of_comment(text, match.end(), line) if match["comment"] else match.end()
        kind = "dollar" if match["dollar"] else match.lastgroup
        if kind not in ("blank", "comment"):
            token = Token(kind, text[position:end], position, end, line)
            yield token
            if token.text == ";" and words[:1] == ["COPY"] and "STDIN" in words:
                end = _end_of_rows(text, end)
            words = [] if token.text == ";" or kind == "psql" else [*words, token.keyword]
        line += text.count("\n", position, end)
        position = end


def _end_of_rows(text: str, position: int) -> int:
    """Where the rows after COPY … FROM stdin end."""
    mark = _END_OF_ROWS.search(text, position)
    return len(text) if mark is None else mark.end()


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
