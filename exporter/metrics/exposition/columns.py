"""Families with a sample for every index or every table, as pieces of a page that are kept while current.

Their values come as columns, their labels stay. A family of which neither changed is not written again, and
one that changed is written and compressed a thousand lines at a time, never all of it in memory as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from exporter.metrics.exposition.segment import Segment
from exporter.postgres.counters.figures import Value

LINES = 1000


@dataclass(frozen=True, slots=True)
class Column:
    """A family's samples in one database.

    Its labels are the same as long as `rows` is the same object, its values while `source` is too.
    """

    datname: str
    rows: Sequence[object]
    source: object
    values: Callable[[], Sequence[Value]]
    labels: Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Written:
    """What a segment was made of; not the column itself, which refers to the whole snapshot."""

    rows: Sequence[object]
    source: object
    values: Sequence[Value]

    def is_of(self, column: Column) -> bool:
        """True when the column has these values for certain, without a look at them."""
        return self.rows is column.rows and self.source is column.source

    def is_same(self, other: _Written) -> bool:
        """True when both make the same lines."""
        return self.rows is other.rows and self.values == other.values


class ColumnCache:
    """What the pages of one target have in common with those before."""

    def __init__(self) -> None:
        self._segments: dict[object, tuple[Sequence[_Written], Segment | None]] = {}
        self._between: dict[str, Segment] = {}
        self._labels: dict[object, tuple[Sequence[object], Sequence[str]]] = {}
        self._texts: dict[object, Mapping[Value, str | None]] = {}
        self._used: set[object] = set()

    def segment(self, name: str, columns: Sequence[Column]) -> Segment | None:
        """The lines of the family `name`, which are the same in both formats; None where nothing is known."""
        key = (name, *(column.datname for column in columns))
        self._used.add(key)
        before, segment = self._segments.get(key, (None, None))
        if before is not None and all(map(_Written.is_of, before, columns)):
            return segment
        written = [_Written(column.rows, column.source, column.values()) for column in columns]
        if before is None or not all(map(_Written.is_same, written, before)):
            segment = self._write(name, columns, written)
        self._segments[key] = (written, segment)
        return segment

    def between(self, text: str) -> Segment:
        """The text between two wide families, often no more than the header of the second."""
        self._used.add(text)
        segment = self._between.get(text)
        if segment is None:
            segment = self._between[text] = Segment.of(text.encode())
        return segment

    def labels(
        self, scope: str, datname: str, rows: Sequence[object], make: Callable[[], Sequence[str]]
    ) -> Sequence[str]:
        """The label blocks of all rows, made when the rows changed."""
        key = (scope, datname)
        self._used.add(key)
        before, blocks = self._labels.get(key, ((), None))
        if blocks is None or before is not rows:
            blocks = make()
            self._labels[key] = (rows, blocks)
        return blocks

    def end_page(self) -> None:
        """Forgets what this page did not use."""
        used = self._used
        self._segments = {key: kept for key, kept in self._segments.items() if key in used}
        self._between = {key: kept for key, kept in self._between.items() if key in used}
        self._texts = {key: kept for key, kept in self._texts.items() if key in used}
        self._labels = {key: kept for key, kept in self._labels.items() if key in used}
        self._used = set()

    def _write(self, name: str, columns: Sequence[Column], written: Sequence[_Written]) -> Segment | None:
        if not any(map(is_known, (each.values for each in written))):
            return None

        def pieces() -> Iterator[bytes]:
            for column, each in zip(columns, written, strict=True):
                texts = self._texts_of((name, column.datname), each.values)
                yield from (piece.encode() for piece in lines(name, column.labels(), texts))

        return Segment.compress(pieces())

    def _texts_of(self, key: object, values: Sequence[Value]) -> Sequence[str | None]:
        """The values as texts, floats from those of the page before.

        Writing one costs several times what looking it up does. They are times, few of which change from one
        page to the next, and many of which are the same.
        """
        self._used.add(key)
        if not isinstance(next((value for value in values if value is not None), None), float):
            return texts_of(values)
        known = self._texts.get(key, {})
        texts = {value: None if value is None else known.get(value) or repr(value) for value in set(values)}
        self._texts[key] = texts
        return [texts[value] for value in values]


def is_known(values: Sequence[Value]) -> bool:
    """True when there is any value."""
    return values.count(None) < len(values)


def texts_of(values: Sequence[Value]) -> list[str | None]:
    """The values as both formats write them; None stays."""
    if None in values:
        return [None if value is None else repr(value) for value in values]
    return list(map(repr, values))


def lines(name: str, labels: Sequence[str], texts: Sequence[str | None]) -> Iterator[str]:
    """The samples of a family, many lines at a time; one without a value is left out.

    `labels` are blocks with the blank that follows them.
    """
    if None in texts:
        known = [text is not None for text in texts]
        labels, texts = list(compress(labels, known)), list(compress(texts, known))
    next_line = f"\n{name}"
    for start in range(0, len(texts), LINES):
        some = texts[start : start + LINES]
        # One join of all parts takes two thirds of the time of a formatted text for each line.
        parts: list[str | None] = [next_line] * (3 * len(some))
        parts[0] = name
        parts[1::3] = labels[start : start + LINES]
        parts[2::3] = some
        parts.append("\n")
        yield "".join(parts)  # type: ignore[arg-type]  # None was left out
