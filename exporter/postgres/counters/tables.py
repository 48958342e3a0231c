"""The tables of watched indexes: who they are and what their counters say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from exporter.model import RelationName
from exporter.postgres.counters.figures import Figures
from exporter.postgres.requests import Request

# From here on planning a statement anew costs less than a plan that expects few rows.
MANY_TABLES = 100


@dataclass(frozen=True, slots=True)
class TableRow:
    """One table of a watched index. Source: pg_class. `catalogue_version` changes with its row there."""

    relid: int
    schemaname: str
    relname: str
    catalogue_version: str


@dataclass(frozen=True, slots=True)
class TableFigures:
    """The figures of all tables of watched indexes, each a list in the order of `oids`; None without any.

    Units: seconds since the epoch; estimated rows.
    Source: the functions behind pg_stat_user_tables.
    """

    oids: list[int] | None
    fingerprint: list[int | None]
    seq_scan: list[int | None] | None
    seq_tup_read: list[int | None] | None
    idx_scan: list[int | None] | None
    n_tup_ins: list[int | None] | None
    n_tup_upd: list[int | None] | None
    n_tup_hot_upd: list[int | None] | None
    n_tup_del: list[int | None] | None
    n_live_tup: list[int | None] | None
    n_mod_since_analyze: list[int | None] | None
    last_analyze: list[float | None] | None
    last_autoanalyze: list[float | None] | None

    @property
    def figures(self) -> Figures:
        """The same as columns."""
        columns = {
            "seq_scan": self.seq_scan or (),
            "seq_tup_read": self.seq_tup_read or (),
            "idx_scan": self.idx_scan or (),
            "n_tup_ins": self.n_tup_ins or (),
            "n_tup_upd": self.n_tup_upd or (),
            "n_tup_hot_upd": self.n_tup_hot_upd or (),
            "n_tup_del": self.n_tup_del or (),
            "n_live_tup": self.n_live_tup or (),
            "n_mod_since_analyze": self.n_mod_since_analyze or (),
            "last_analyze": self.last_analyze or (),
            "last_autoanalyze": self.last_autoanalyze or (),
        }
        return Figures(self.oids or (), self.fingerprint, columns)


def table_figures(relids: Sequence[int], declared: Collection[RelationName]) -> Request[TableFigures]:
    """Of the tables of these oids and of these names, as far as they exist."""
    parameters = {
        "relids": relids,
        "schemanames": [table.schemaname for table in declared],
        "relnames": [table.relname for table in declared],
    }
    return Request("table_figures", TableFigures, parameters, is_wide=len(relids) >= MANY_TABLES)


def table_rows(relids: Sequence[int]) -> Request[TableRow]:
    """Who these tables are."""
    return Request("table_identities", TableRow, {"relids": list(relids)}, is_wide=True)
