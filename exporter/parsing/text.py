"""What can be said of SQL text without a server: identifiers, placeholders, parentheses.

Identifiers are read as the server's own scanner reads them. SQL is not parsed: quoted strings, dollar
quotes and comments are skipped where the difference matters, the rest is left to the server.
"""

from __future__ import annotations

import re

MAX_IDENTIFIER_BYTES = 63  # NAMEDATALEN - 1

# The server's blanks, which are fewer than Python's \s.
_PART = re.compile(
    r"""[ \t\n\r\f\v]*(?:
        (?P<unicode> [Uu]&" )
      | " (?P<quoted> (?: [^"] | "" )* ) "
      | (?P<bare> [A-Za-z_\x80-\U0010ffff] [A-Za-z_0-9$\x80-\U0010ffff]* )
    )[ \t\n\r\f\v]*""",
    re.VERBOSE,
)
_UPPER_TO_LOWER = {ord(upper): ord(upper) + 32 for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}

# psycopg looks at every percent sign, inside quotes too, as soon as there are parameters.
_PERCENT = re.compile(r"%(?:(?P<literal>%)|\((?P<name>[^)]*)\)(?P<format>.?)|(?P<other>.?))", re.DOTALL)
_QUOTED = re.compile(
    r"""
      (?<![A-Za-z0-9_$]) [eE]'(?: [^'\\] | \\. | '' )*'
    | ' (?: [^'] | '' )* '
    | " (?: [^"] | "" )* "
    | \$ (?P<tag> (?: [A-Za-z_\x80-\U0010ffff] [A-Za-z_0-9\x80-\U0010ffff]* )? ) \$ .*? \$ (?P=tag) \$
    | -- [^\n]*
    | /\* .*? \*/
    """,
    re.VERBOSE | re.DOTALL,
)
# The same, and what the end of a text that was cut leaves open.
_CONSTANT = re.compile(
    r"""
      (?P<name> [uU]&"(?: [^"] | "" )*"? | "(?: [^"] | "" )*"? )
    | (?P<comment> --[^\n]* | /\*.*?(?: \*/ | \Z ) )
    | (?: (?<![A-Za-z0-9_$]) (?: [eE]'(?: [^'\\] | \\. | '' )* | (?: [bBxXnN] | [uU]& )'(?: [^'] | '' )* )
        | '(?: [^'] | '' )*
      ) (?: ' | \\?\Z )
    | (?<![A-Za-z0-9_$]) \$ (?P<tag> (?: [A-Za-z_\x80-\U0010ffff] [A-Za-z_0-9\x80-\U0010ffff]* )? ) \$
        .*? (?: \$ (?P=tag) \$ | \Z )
    | (?<![A-Za-z0-9_$.])
        (?: 0[xX][0-9a-fA-F_]+ | [0-9][0-9_]*(?: \.[0-9_]* )?(?: [eE][+-]?[0-9]+ )? | \.[0-9]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_POSITIONAL = re.compile(r"%[sbt](?![A-Za-z0-9_])")


class InvalidText(ValueError):
    """A text is not what it should be: `what` says why, `hint` what to write instead."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def parse_identifier(text: str) -> str:
    """The name that the server understands when it reads `text` as one identifier.

    Raises: InvalidText.
    """
    parts = parse_qualified(text)
    if len(parts) != 1:
        raise InvalidText(
            f"{text!r} is a qualified name where a single name is wanted",
            'write one name; a dot that belongs to it needs double quotes: "a.b"',
        )
    return parts[0]


def parse_qualified(text: str) -> tuple[str, ...]:
    """The parts of a dotted name such as `public."Odd Name"`, folded and unquoted.

    Raises: InvalidText.
    """
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None or match["unicode"]:
            raise _not_an_identifier(text)
        parts.append(_name(match))
        position = match.end()
        if position == len(text):
            return tuple(parts)
        if text[position] != ".":
            raise _not_an_identifier(text)
        position += 1


def _name(match: re.Match[str]) -> str:
    if match["bare"] is not None:
        name = match["bare"].translate(_UPPER_TO_LOWER)
    else:
        name = match["quoted"].replace('""', '"')
    if not name:
        raise InvalidText("an empty name", "write the name between the double quotes")
    if "\0" in name:
        raise InvalidText("a name holds the character NUL", "remove it: PostgreSQL cannot store it")
    size_bytes = len(name.encode(errors="surrogatepass"))
    if size_bytes > MAX_IDENTIFIER_BYTES:
        raise InvalidText(
            f"{name!r} is {size_bytes} bytes long, PostgreSQL keeps {MAX_IDENTIFIER_BYTES}",
            "choose a shorter name; the server would cut this one without an error",
        )
    return name


def _not_an_identifier(text: str) -> InvalidText:
    return InvalidText(
        f"{text!r} is not a PostgreSQL identifier",
        "put odd names into double quotes, inside the quotes of YAML: '\"Odd Name\"'",
    )


def placeholder_names(sql: str) -> tuple[str, ...]:
    """The names in `%(name)s` placeholders, each once, in order."""
    names = (match["name"] for match in _PERCENT.finditer(sql) if match["name"] is not None)
    return tuple(dict.fromkeys(names))


def placeholder_faults(sql: str) -> list[tuple[str, str]]:
    """What is wrong with the placeholders of `sql`, each with its hint."""
    if _POSITIONAL.search(_QUOTED.sub(" ", sql)):
        return [
            (
                "a positional parameter %s",
                "give it a name: %(name)s, name being a column of the sample",
            )
        ]
    if not placeholder_names(sql):
        return []
    faults: list[tuple[str, str]] = []
    for match in _PERCENT.finditer(sql):
        if match["name"] is not None and (match["format"] not in ("s", "b", "t") or not match["name"]):
            faults.append((f"an incomplete placeholder {match[0]!r}", "write it as %(name)s"))
        elif match["other"] is not None:
            faults.append(("a single percent sign beside parameters", "write %% for a literal percent sign"))
    return faults


def without_constants(sql: str) -> str:
    """The text on one line with `?` for every constant, without comments: fit to print, whatever it held."""
    text = _CONSTANT.sub(lambda found: found["name"] or (" " if found["comment"] else "?"), sql)
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())


def unbalanced_parentheses(sql: str) -> bool:
    """Whether parentheses or brackets outside quotes do not match."""
    closing = {")": "(", "]": "["}
    open_ones: list[str] = []
    for character in _QUOTED.sub(" ", sql):
        if character in "([":
            open_ones.append(character)
        elif character in closing and (not open_ones or open_ones.pop() != closing[character]):
            return True
    return bool(open_ones)
