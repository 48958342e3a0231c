"""Rows that are read when the catalogue changed, and figures that are read at every collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from exporter.metrics.collect.reads import Figures
from exporter.metrics.snapshot import Watched
from exporter.postgres.target import Connection

Row = TypeVar("Row")


class RowCache(Generic[Row]):
    """The rows of one database while the fingerprint that comes with their figures is the same."""

    def __init__(self) -> None:
        self._rows: tuple[Row, ...] = ()
        self._oids: Sequence[int] = ()
        self._fingerprint: Sequence[int | None] | None = None

    def read(
        self,
        connection: Connection,
        read_figures: Callable[[], Figures],
        read_rows: Callable[[Sequence[int]], Mapping[int, Row]],
    ) -> Watched[Row]:
        """The rows with their figures of now."""
        if self._fingerprint is not None:
            figures = read_figures()
            if (figures.fingerprint, figures.oids) == (self._fingerprint, self._oids):
                return Watched(self._rows, figures.columns)
        # The same snapshot of the catalogue for both, whatever is changed in between.
        with _one_snapshot(connection):
            figures = read_figures()
            rows = read_rows(figures.oids) if figures.oids else {}
        self._rows = tuple(rows[oid] for oid in figures.oids)
        self._oids, self._fingerprint = figures.oids, figures.fingerprint
        return Watched(self._rows, figures.columns)


@contextmanager
def _one_snapshot(connection: Connection) -> Iterator[None]:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
