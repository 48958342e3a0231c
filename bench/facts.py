"""The facts of the comparison: every family of an index or a table that our page has, as SQL.

Two ways to the same rows: through PostgreSQL's views, as everybody writes it and as the peer is given it,
and by the functions behind them, the cheapest way known, which is the floor. What a family means in SQL
stands here once; which families there are says the exporter's catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from exporter.catalogue.indexes import INDEX_METRICS
from exporter.catalogue.metric import INDEX, TABLE, Metric
from exporter.catalogue.tables import TABLE_METRICS

Way = Literal["views", "functions"]
Expressions = Mapping[Way, str]


def _expressions(views: str, functions: str | None = None) -> Expressions:
    return MappingProxyType({"views": views, "functions": functions or views})


def _counters(columns: Mapping[str, str]) -> dict[str, Expressions]:
    """Columns of s by the function behind each."""
    return {
        column: _expressions(f"s.{column}", f"pg_stat_get_{function}(c.oid)")
        for column, function in columns.items()
    }


def _time(column: str, function: str) -> Expressions:
    return _expressions(
        f"date_part('epoch', s.{column})", f"date_part('epoch', pg_stat_get_{function}(c.oid))"
    )


_LOCKED = """SELECT l.relation FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND d.datname = current_database()"""
# Without the birth of the index, which an exporter must remember and SQL cannot say.
_EPOCH = """SELECT greatest(d.stats_reset, least(b.stats_reset, k.stats_reset, a.stats_reset, w.stats_reset,
    (SELECT min(r.stats_reset) FROM pg_stat_slru AS r)))
FROM pg_stat_database AS d, pg_stat_bgwriter AS b, pg_stat_checkpointer AS k,
    pg_stat_archiver AS a, pg_stat_wal AS w
WHERE d.datname = current_database()"""
# Families whose values the peer cannot know; their labels are compared all the same.
OURS_ALONE = frozenset({"observed_since"})

# By `field` of the catalogue, labels by their own names.
INDEX_EXPRESSIONS: Mapping[str, Expressions] = MappingProxyType(
    {
        "datname": _expressions("current_database()"),
        "schemaname": _expressions("s.schemaname", "n.nspname"),
        "relname": _expressions("s.relname", "t.relname"),
        "indexname": _expressions("s.indexrelname", "c.relname"),
        **_counters(
            {"idx_scan": "numscans", "idx_tup_read": "tuples_returned", "idx_tup_fetch": "tuples_fetched"}
        ),
        "last_idx_scan": _time("last_idx_scan", "lastscan"),
        "idx_blks_read": _expressions(
            "io.idx_blks_read", "pg_stat_get_blocks_fetched(c.oid) - pg_stat_get_blocks_hit(c.oid)"
        ),
        "idx_blks_hit": _expressions("io.idx_blks_hit", "pg_stat_get_blocks_hit(c.oid)"),
        "size_bytes": _expressions("pg_relation_size(c.oid)"),
        "indisvalid": _expressions("i.indisvalid"),
        "indisready": _expressions("i.indisready"),
        "locked": _expressions(f"i.indexrelid IN ({_LOCKED}) OR i.indrelid IN ({_LOCKED})"),
        "observed_since": _expressions(f"date_part('epoch', ({_EPOCH}))"),
        "info": _expressions("1"),
        "method": _expressions("a.amname"),
        "unique": _expressions("i.indisunique"),
        "primary": _expressions("i.indisprimary"),
        "constraint": _expressions(
            "CASE con.contype WHEN 'p' THEN 'primary_key' WHEN 'u' THEN 'unique' "
            "WHEN 'x' THEN 'exclusion' ELSE '' END"
        ),
        "partial": _expressions("i.indpred IS NOT NULL"),
        "expression": _expressions("i.indexprs IS NOT NULL"),
    }
)
TABLE_EXPRESSIONS: Mapping[str, Expressions] = MappingProxyType(
    {
        "datname": _expressions("current_database()"),
        "schemaname": _expressions("s.schemaname", "n.nspname"),
        "relname": _expressions("s.relname", "c.relname"),
        **_counters(
            {
                "seq_scan": "numscans",
                "seq_tup_read": "tuples_returned",
                "n_tup_ins": "tuples_inserted",
                "n_tup_upd": "tuples_updated",
                "n_tup_hot_upd": "tuples_hot_updated",
                "n_tup_del": "tuples_deleted",
                "n_live_tup": "live_tuples",
                "n_mod_since_analyze": "mod_since_analyze",
            }
        ),
        "idx_scan": _expressions(
            "s.idx_scan",
            "(SELECT sum(pg_stat_get_numscans(i.indexrelid))::int8"
            " FROM pg_index AS i WHERE i.indrelid = c.oid)",
        ),
        "last_analyze": _time("last_analyze", "last_analyze_time"),
        "last_autoanalyze": _time("last_autoanalyze", "last_autoanalyze_time"),
        "size_bytes": _expressions("pg_table_size(c.oid)"),
    }
)

_OF_USERS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
_INDEX_CATALOGUES = """JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS a ON a.oid = c.relam
LEFT JOIN pg_constraint AS con
    ON con.conrelid = i.indrelid AND con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')"""
INDEX_SOURCES: Mapping[Way, str] = MappingProxyType(
    {
        "views": f"""FROM pg_stat_user_indexes AS s
JOIN pg_statio_user_indexes AS io USING (indexrelid)
JOIN pg_index AS i USING (indexrelid)
{_INDEX_CATALOGUES}""",
        "functions": f"""FROM pg_index AS i
{_INDEX_CATALOGUES}
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'i' AND {_OF_USERS}""",
    }
)
TABLE_SOURCES: Mapping[Way, str] = MappingProxyType(
    {
        "views": "FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid",
        "functions": f"""FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND {_OF_USERS}""",
    }
)


@dataclass(frozen=True, slots=True)
class Facts:
    """The families of one kind of thing: their labels, and what each is in SQL."""

    name: str
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    expressions: Mapping[str, Expressions]
    sources: Mapping[Way, str]

    def query(self, way: Way, columns: Sequence[str] | None = None) -> str:
        """The statement that gives these columns, all of them by default, one row a thing."""
        columns = self.columns if columns is None else columns
        if unknown := set(columns) - self.expressions.keys():
            raise LookupError(f"bench/facts.py lacks the SQL of {sorted(unknown)}, which the catalogue has")
        terms = (f"{self.expressions[column][way]} AS {column}" for column in columns)
        return f"SELECT {', '.join(terms)} {self.sources[way]}"

    @property
    def columns(self) -> tuple[str, ...]:
        """All labels, those of the info families too, then the fields that are no constants."""
        labels = dict.fromkeys(label for metric in self.metrics for label in metric.labels)
        fields = (metric.field for metric in self.metrics if metric.kind != "info")
        return (*labels, *fields)

    @property
    def peer_families(self) -> dict[str, Metric]:
        """Our families by the names that the peer publishes them under: namespace, then column."""
        return {f"{self._namespace(metric)}_{metric.field}": metric for metric in self.metrics}

    def peer_queries(self) -> dict[str, object]:
        """The namespaces of the peer's query file; all columns of one share its labels."""
        namespaces: dict[str, object] = {}
        for labels in dict.fromkeys(metric.labels for metric in self.metrics):
            metrics = [metric for metric in self.metrics if metric.labels == labels]
            columns: list[dict[str, object]] = [
                {label: {"usage": "LABEL", "description": label}} for label in labels
            ]
            columns += [
                {
                    metric.field: {
                        "usage": "COUNTER" if metric.kind == "counter" else "GAUGE",
                        "description": metric.help_text,
                    }
                }
                for metric in metrics
            ]
            names = (*labels, *(metric.field for metric in metrics))
            namespace = self._namespace(metrics[0])
            namespaces[namespace] = {"query": self.query("views", names), "metrics": columns}
        return namespaces

    def _namespace(self, metric: Metric) -> str:
        extra = len(metric.labels) - len(self.labels)
        return f"{self.name}_with_{extra}_more_labels" if extra else self.name


INDEX_FACTS = Facts("index_facts", INDEX, INDEX_METRICS, INDEX_EXPRESSIONS, INDEX_SOURCES)
TABLE_FACTS = Facts("table_facts", TABLE, TABLE_METRICS, TABLE_EXPRESSIONS, TABLE_SOURCES)
ALL_FACTS = (INDEX_FACTS, TABLE_FACTS)
