"""A report as Markdown: CommonMark with the tables of GitHub."""

from __future__ import annotations

import re
from collections.abc import Iterator

from exporter.text.characters import printable
from exporter.text.content import Content, Item, Section

# An underscore inside a word is no emphasis; left alone, names stay readable in the source.
_SPECIAL = re.compile(r"[\\`*\[\]#|~!$]|(?<![^\W_])_|_(?![^\W_])")
_LINE_START = re.compile(r"^([-+]|\d+[.)])(?=\s|$)")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def write(content: Content) -> str:
    """Return the whole report, ending in a newline."""
    lines = [f"# pg-index-exporter {escape(content.title)}", ""]
    lines += [f"- {escape(line)}" for line in content.origin]
    for line in content.summary:
        lines += ["", f"**{escape(line)}**"]
    for section in content.sections:
        lines += ["", f"## {escape(section.title)}", "", *_section(section)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return the text escaped so that Markdown shows every character, also at the start of a line."""
    return _LINE_START.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", _escape_inside(text))


def _escape_inside(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", printable(text)).translate(_ENTITIES)


def _section(section: Section) -> Iterator[str]:
    if section.rows:
        yield _cells(["", *section.columns, ""])
        yield _cells(["---", *["---:"] * len(section.columns), "---"])
        for row in section.rows:
            yield _cells([*map(_escape_inside, (row.name, *row.figures, row.note))])
        return
    for item in section.items:
        yield from _item(item)


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _item(item: Item) -> Iterator[str]:
    label = f"**{escape(item.label)}** " if item.label else ""
    aside = f" ({item.aside})" if item.aside else ""
    indent = "  " * item.depth
    yield f"{indent}- {label}{escape(item.line)}{aside}"
    if item.sql is not None:
        yield from ("", *(f"{indent}  {line}".rstrip() for line in _fenced(item.sql)), "")
    if item.code is not None:
        yield from ("", *(f"{indent}  {line}".rstrip() for line in _fenced(item.code, "text")), "")
    for detail in item.details:
        yield f"{indent}  - {escape(detail)}"
    if item.hint is not None:
        yield f"{indent}  - → {escape(item.hint)}"


def _fenced(code: str, language: str = "sql") -> Iterator[str]:
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}{language}"
    yield from map(printable, code.splitlines())
    yield fence
