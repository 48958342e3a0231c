"""Rows that are read when the catalogue changed, and figures that are read at every collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from exporter.metrics.snapshot import Watched
from exporter.postgres.counters.figures import Figures
from exporter.postgres.target import Connection

Row = TypeVar("Row")


class RowCache(Generic[Row]):
    """The rows of one database while the fingerprint that comes with their figures is the same."""

    def __init__(self) -> None:
        self._rows: tuple[Row, ...] = ()
        self._oids: Sequence[int] = ()
        self._fingerprint: Sequence[int | None] | None = None

    @property
    def is_filled(self) -> bool:
        """True when rows were read before, so that the figures alone may be enough."""
        return self._fingerprint is not None

    def unchanged(self, figures: Figures) -> Watched[Row] | None:
        """The known rows with these figures; None when the rows are to be read again."""
        if (figures.fingerprint, figures.oids) != (self._fingerprint, self._oids):
            return None
        return Watched(self._rows, figures.columns)

    def renew(self, figures: Figures, rows: Mapping[int, Row]) -> Watched[Row]:
        """The rows, by oid, with the figures that were read in the same snapshot of the catalogue."""
        self._rows = tuple(rows[oid] for oid in figures.oids)
        self._oids, self._fingerprint = figures.oids, figures.fingerprint
        return Watched(self._rows, figures.columns)


@contextmanager
def one_snapshot(connection: Connection) -> Iterator[None]:
    """The same snapshot of the catalogue for all reads inside, whatever is changed in between."""
    # In one round trip, which `connection.transaction()` and SET TRANSACTION are not.
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    try:
        yield
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise
    connection.execute("COMMIT")
