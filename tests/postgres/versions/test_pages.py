"""A whole target on every version, for every role, on primary and standby: what its page says."""

from collections.abc import Iterator, Mapping

import pytest

from exporter.catalogue.metrics import COLLECTORS, METRICS
from exporter.metrics.service import ServiceOptions, serving
from exporter.model import Target
from tests.faults.scraping import Scrape, scrape
from tests.postgres.versions.conftest import ABSENT, DECLARED, PARTITIONED, PRESENT, SCAN, SCANS, USED, View
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_for, wait_for_equal
from tests.unit.metrics.exposition.test_render import Labels

OPTIONS = ServiceOptions(listen_address="127.0.0.1:0", log_level="error")
# What a role with nothing may not know: the journal's definitions and the statements of others.
HIDDEN_FROM_NOBODY = {"journal", "statements"}
Figures = dict[tuple[str, Labels], float]


def page_of(view: View) -> Scrape:
    """The page that an exporter serves now which logs in as the view's role."""
    with serving([Target("default", (view.described(),))], OPTIONS) as url:
        answer = scrape(url)
    assert answer.status_code == 200
    return answer


@pytest.fixture(scope="session")
def pages() -> dict[View, Scrape]:
    """The pages that were asked for already: those who ask what stays as it is share them."""
    return {}


@pytest.fixture
def page(view: View, pages: dict[View, Scrape]) -> Scrape:
    """The page of the view."""
    if view not in pages:
        pages[view] = page_of(view)
    return pages[view]


# ------------------------------------------------------------------ figures, as PostgreSQL's views have them

INDEX_FAMILIES = {
    "idx_scan": "pg_stat_user_indexes_idx_scan_total",
    "idx_tup_read": "pg_stat_user_indexes_idx_tup_read_total",
    "idx_tup_fetch": "pg_stat_user_indexes_idx_tup_fetch_total",
    "last_idx_scan": "pg_stat_user_indexes_last_idx_scan_timestamp_seconds",
    "idx_blks_read": "pg_statio_user_indexes_idx_blks_read_total",
    "idx_blks_hit": "pg_statio_user_indexes_idx_blks_hit_total",
    "size": "pg_index_size_bytes",
    "valid": "pg_index_valid",
    "ready": "pg_index_ready",
}
INDEX_FIGURES = """
    SELECT
        c.relname, n.nspname, t.relname AS table,
        s.idx_scan, s.idx_tup_read, s.idx_tup_fetch, {last_idx_scan} AS last_idx_scan,
        io.idx_blks_read, io.idx_blks_hit,
        CASE WHEN c.relkind = 'i' THEN pg_relation_size(c.oid) END AS size,
        i.indisvalid::int AS valid, i.indisready::int AS ready
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace
    LEFT JOIN pg_stat_user_indexes s USING (indexrelid)
    LEFT JOIN pg_statio_user_indexes io USING (indexrelid)
    WHERE c.relname = ANY (%s)
"""
TABLE_FAMILIES = {
    "seq_scan": "pg_stat_user_tables_seq_scan_total",
    "seq_tup_read": "pg_stat_user_tables_seq_tup_read_total",
    "idx_scan": "pg_stat_user_tables_idx_scan_total",
    "n_tup_ins": "pg_stat_user_tables_n_tup_ins_total",
    "n_tup_upd": "pg_stat_user_tables_n_tup_upd_total",
    "n_tup_hot_upd": "pg_stat_user_tables_n_tup_hot_upd_total",
    "n_tup_del": "pg_stat_user_tables_n_tup_del_total",
    "n_live_tup": "pg_stat_user_tables_n_live_tup",
    "n_mod_since_analyze": "pg_stat_user_tables_n_mod_since_analyze",
    "last_analyze": "pg_stat_user_tables_last_analyze_timestamp_seconds",
    "last_autoanalyze": "pg_stat_user_tables_last_autoanalyze_timestamp_seconds",
    "size": "pg_table_size_bytes",
}
TABLE_FIGURES = """
    SELECT
        s.relname, s.schemaname, seq_scan, seq_tup_read, idx_scan,
        n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del, n_live_tup, n_mod_since_analyze,
        date_part('epoch', last_analyze) AS last_analyze,
        date_part('epoch', last_autoanalyze) AS last_autoanalyze,
        pg_table_size(c.oid) AS size
    FROM pg_stat_user_tables s
    JOIN pg_class c ON c.oid = s.relid
    WHERE c.relkind = 'r' AND s.relname = ANY (%s)
"""


def index_figures(view: View) -> Figures:
    """What the views say of the declared indexes; what is NULL there is not here."""
    since_16 = view.server.version_num >= 160000
    last = "date_part('epoch', s.last_idx_scan)" if since_16 else "NULL"
    query = INDEX_FIGURES.format(last_idx_scan=last)
    return dict(_figures(view, query, INDEX_FAMILIES, [index.name for index in DECLARED], "indexname"))


def table_figures(view: View) -> Figures:
    """What the view says of their tables; a partitioned one is counted by its partitions."""
    names = sorted({index.table.relname for index in DECLARED if index is not PARTITIONED})
    return dict(_figures(view, TABLE_FIGURES, TABLE_FAMILIES, names, "relname"))


def _figures(
    view: View, query: str, families: Mapping[str, str], names: list[str], label: str
) -> Iterator[tuple[tuple[str, Labels], float]]:
    with view.database.connect() as connection:
        cursor = connection.execute(query, [names])
        assert cursor.description is not None
        columns = [column.name for column in cursor.description]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor]
    for row in rows:
        labels = {"datname": view.stage.name, "schemaname": row.get("nspname") or row["schemaname"]}
        labels |= {"relname": row.get("table") or row["relname"], label: row["relname"]}
        for column, family in families.items():
            if row[column] is not None:
                yield (family, frozenset(labels.items())), float(row[column])


def published(page: Scrape, families: Mapping[str, str], label: str, names: set[str]) -> Figures:
    """What the page says of these names in these families."""
    return {
        (name, labels): value
        for (name, labels), value in page.samples.items()
        if name in families.values() and dict(labels)[label] in names
    }


def test_figures_are_those_of_the_views(view: View) -> None:
    indexes = {index.name for index in DECLARED}
    tables = {index.table.relname for index in DECLARED if index is not PARTITIONED}

    def compare() -> tuple[Figures, Figures]:
        page = page_of(view)
        said = published(page, INDEX_FAMILIES, "indexname", indexes)
        said |= published(page, TABLE_FAMILIES, "relname", tables)
        return said, index_figures(view) | table_figures(view)

    # Before PostgreSQL 15 a collector process writes the statistics down, now and then.
    wait_for_equal(compare)

    figures = index_figures(view)
    labels = {
        "datname": view.stage.name,
        "schemaname": "public",
        "relname": "messages",
        "indexname": USED.name,
    }
    used = frozenset(labels.items())
    assert figures[(INDEX_FAMILIES["idx_scan"], used)] == SCANS
    assert ((INDEX_FAMILIES["last_idx_scan"], used) in figures) == (view.server.version_num >= 160000)


# ------------------------------------------------------------------ what is known of the target


def test_the_target_is_described(view: View, page: Scrape) -> None:
    ((identifier, version),) = view.database.execute(
        "SELECT system_identifier::text, current_setting('server_version') FROM pg_control_system()"
    )

    assert page.target_up == 1
    assert page.value("pg_index_exporter_database_up", datname=view.stage.name) == 1
    assert page.value("pg_in_recovery") == (1 if view.node == "standby" else 0)
    assert page.value("pg_system_info", system_identifier=identifier, version=version) == 1


def test_standbys_are_counted_by_who_may_see_them(view: View, every_standby: PostgresServer) -> None:
    def replaying() -> bool | None:
        # It streams a moment before it tells what it replayed, by which it is known as a standby.
        query = "SELECT state, replay_lsn IS NOT NULL FROM pg_stat_replication"
        return True if view.stage.primary.execute(query) == [("streaming", True)] else None

    wait_for(f"the standby on port {every_standby.port}", replaying)
    walsenders = page_of(view).value("pg_stat_replication_walsenders")

    if view.node == "standby":
        assert walsenders == 0
    else:
        assert walsenders in ((1, None) if view.role == "nobody" else (1,))


def test_every_family_is_one_that_the_version_has(view: View, page: Scrape) -> None:
    since = {metric.name: metric.since for metric in METRICS}
    major = view.server.version_num // 10000

    too_new = {name for name, _ in page.samples if since.get(name, 0) > major}
    assert too_new == set()


# ------------------------------------------------------------------ what is declared, and who may know what


def test_every_declared_index_has_its_series(page: Scrape) -> None:
    for index in DECLARED:
        labels = {"indexname": index.name, "relname": index.table.relname}
        assert page.value("pg_index_declared", **labels) == 1
        assert page.value("pg_index_present", **labels) == (0 if index is ABSENT else 1)
    partitioned = {name for name, labels in page.samples if ("indexname", PARTITIONED.name) in labels}
    assert not partitioned & {"pg_stat_user_indexes_idx_scan_total", "pg_index_size_bytes"}


def test_definitions_are_compared_by_who_may_read_the_journal(view: View, page: Scrape) -> None:
    known = {
        dict(labels)["indexname"]: value
        for (name, labels), value in page.samples.items()
        if name == "pg_index_definition_matches"
    }

    assert known == ({} if view.role == "nobody" else {index.name: 1 for index in PRESENT})


def test_collectors_say_what_they_may_not_know(view: View, page: Scrape) -> None:
    succeeded = {
        name: page.value("pg_index_exporter_collector_success", collector=name) for name in COLLECTORS
    }
    failed = {name for name, value in succeeded.items() if value == 0}

    assert None not in succeeded.values()
    if view.role == "nobody":
        assert failed >= HIDDEN_FROM_NOBODY
        assert not failed & {"indexes", "tables", "sizes"}
    else:
        assert failed == set()


def test_statements_are_counted_for_who_may_read_them(view: View, page: Scrape) -> None:
    # The extension keeps the statements of databases that are gone.
    query = """
        SELECT queryid::text, calls FROM elsewhere.pg_stat_statements
        WHERE query LIKE %s AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    pattern = SCAN.replace("7", "$1")
    ((queryid, calls),) = view.database.execute(query, [pattern])
    families = {name for name, _ in page.samples if name.startswith("pg_stat_statements_")}

    if view.role == "nobody":
        assert not any(name.endswith(("_calls_total", "_rows_total", "_query_info")) for name in families)
        return
    assert page.value("pg_stat_statements_calls_total", queryid=queryid) == calls == SCANS
    assert page.value("pg_stat_statements_query_info", queryid=queryid, query=pattern) == 1
    assert page.value("pg_stat_statements_dealloc_total") is not None


@pytest.mark.parametrize("role", ["monitor"])
def test_reads_of_the_monitor_add_nothing(view: View) -> None:
    before = index_figures(view), table_figures(view)

    for _ in range(3):
        page_of(view)

    assert (index_figures(view), table_figures(view)) == before
