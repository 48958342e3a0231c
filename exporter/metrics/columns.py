"""Families with a sample for every index or every table, as pieces of a page that are kept while they last.

Their values come as columns, their labels stay. A family of which neither changed is not written again, and
one that changed is written and compressed a thousand lines at a time, never all of it in memory as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from exporter.metrics.segment import Segment
from exporter.metrics.snapshot import Value

LINES = 1000


@dataclass(frozen=True, slots=True)
class Column:
    """A family's samples in one database. Its labels are the same as long as `rows` is the same object."""

    datname: str
    rows: Sequence[object]
    values: Sequence[Value]
    labels: Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Written:
    """What a segment was made of; not the column itself, which leads to all else that was known then."""

    datname: str
    rows: Sequence[object]
    values: Sequence[Value]

    def is_same(self, other: _Written) -> bool:
        """True when both make the same lines."""
        is_of_same = self.datname == other.datname and self.rows is other.rows
        return is_of_same and self.values == other.values


class ColumnCache:
    """What the pages of one target have in common with those before."""

    def __init__(self) -> None:
        self._segments: dict[str, tuple[Sequence[_Written], Segment]] = {}
        self._labels: dict[tuple[str, str], tuple[Sequence[object], Sequence[str]]] = {}
        self._used: set[object] = set()

    def segment(self, name: str, columns: Sequence[Column]) -> Segment:
        """The lines of the family `name`, which are the same in both formats."""
        self._used.add(name)
        before, segment = self._segments.get(name, ((), None))
        written = [_Written(column.datname, column.rows, column.values) for column in columns]
        is_same = len(before) == len(written) and all(map(_Written.is_same, written, before))
        if segment is None or not is_same:
            segment = Segment.compress(piece.encode() for piece in lines(name, columns))
            self._segments[name] = (written, segment)
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
        self._segments = {name: kept for name, kept in self._segments.items() if name in self._used}
        self._labels = {key: kept for key, kept in self._labels.items() if key in self._used}
        self._used = set()


def lines(name: str, columns: Sequence[Column]) -> Iterator[str]:
    """The samples of a family, many lines at a time; one without a value is left out."""
    for column in columns:
        labels, values = column.labels(), column.values
        has_gaps = None in values
        for start in range(0, len(values), LINES):
            pairs = zip(labels[start : start + LINES], values[start : start + LINES], strict=True)
            if has_gaps:
                yield "".join([f"{name}{block} {value}\n" for block, value in pairs if value is not None])
            else:
                yield "".join([f"{name}{block} {value}\n" for block, value in pairs])
