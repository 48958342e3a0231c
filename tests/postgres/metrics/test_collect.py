"""What a collection says, held against PostgreSQL's own views."""

from itertools import count
from time import monotonic
from types import SimpleNamespace

import pytest
from psycopg import sql

from exporter.catalogue.metrics import COLLECTORS
from exporter.evidence import definitions
from exporter.metrics.collect import size_cache
from exporter.metrics.collect.context import CollectOptions
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.snapshot import DatabaseSnapshot
from exporter.model import RelationName
from exporter.postgres.journal import EventStatus, Journal, Phase
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import (
    collect_once,
    collected,
    collected_within,
    collector_of,
    declare,
    described,
    failures,
    index_names,
    index_row,
    index_rows,
    page_of,
    table_row,
    table_rows,
)
from tests.support.statistics import wait_for_statistics
from tests.unit.metrics.exposition.test_render import samples

IDX = "idx_messages_sender_created"
DECLARED = declare(IDX, "messages", "sender_id", "created_at DESC")
CREATE = f"CREATE INDEX {IDX} ON messages (sender_id, created_at DESC)"
SCAN = "SELECT id FROM messages WHERE sender_id = (SELECT id FROM users LIMIT 1) ORDER BY created_at DESC"


def use_index(database: TestDatabase) -> None:
    """Runs a query that the declared index serves and waits for its counters."""
    with database.connect() as connection:
        pid = connection.info.backend_pid
        connection.execute("SET enable_seqscan = off")
        connection.execute(SCAN)
    wait_for_statistics(database, pid)


def write_journal(database: TestDatabase, definition: str, index_name: str = IDX) -> None:
    with database.connect() as connection:
        journal = Journal(connection, "public", "090_test", "run")
        journal.ensure()
        journal.append(Phase.DONE, EventStatus.DONE, index_name=index_name, definition=definition)


def indexdef(database: TestDatabase, indexname: str) -> str:
    ((definition,),) = database.execute("SELECT pg_get_indexdef(%s::regclass)", [indexname])
    return str(definition)


def test_index_counters_are_those_of_the_views(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)
    use_index(nova_database)

    row = index_row(collect_once(described(nova_database, DECLARED)), IDX)

    query = (
        "SELECT idx_scan, idx_tup_read, idx_tup_fetch, idx_blks_read, idx_blks_hit, relid, indexrelid "
        "FROM pg_stat_user_indexes JOIN pg_statio_user_indexes USING (relid, indexrelid) "
        "WHERE pg_stat_user_indexes.indexrelname = %s"
    )
    assert nova_database.execute(query, [IDX]) == [
        (
            *(row.idx_scan, row.idx_tup_read, row.idx_tup_fetch),
            *(row.idx_blks_read, row.idx_blks_hit, row.relid, row.indexrelid),
        )
    ]
    assert row.idx_scan == 1


def test_table_counters_are_those_of_the_view(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)
    use_index(nova_database)
    nova_database.execute(
        "UPDATE messages SET deleted_at = now() WHERE id IN (SELECT id FROM messages LIMIT 3)"
    )
    nova_database.execute("SELECT count(*) FROM messages")
    wait_for_statistics(nova_database)

    snapshot = collect_once(described(nova_database, DECLARED))

    row = table_row(snapshot, "messages")
    columns = (
        *("relid", "schemaname", "relname", "seq_scan", "seq_tup_read", "idx_scan"),
        *("n_tup_ins", "n_tup_upd", "n_tup_hot_upd", "n_tup_del", "n_live_tup", "n_mod_since_analyze"),
        *("last_analyze", "last_autoanalyze"),
    )
    epochs = "extract(epoch FROM last_analyze)::float8, extract(epoch FROM last_autoanalyze)::float8"
    query = f"SELECT {', '.join(columns[:-2])}, {epochs} FROM pg_stat_user_tables WHERE relname = 'messages'"
    assert nova_database.execute(query) == [tuple(getattr(row, column) for column in columns)]
    assert row.n_tup_upd == 3


def test_sizes_are_those_of_the_functions(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)

    snapshot = collect_once(described(nova_database, DECLARED))

    query = "SELECT pg_relation_size(%s::regclass), pg_table_size('messages')"
    ((index_bytes, table_bytes),) = nova_database.execute(query, [IDX])
    row = index_row(snapshot, IDX)
    assert snapshot.sizes == {row.indexrelid: index_bytes, row.relid: table_bytes}


@pytest.mark.pg(">= 16")
def test_last_scan_is_absent_until_there_is_one(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)
    database = described(nova_database, DECLARED)

    assert index_row(collect_once(database), IDX).last_idx_scan is None

    use_index(nova_database)

    query = (
        "SELECT extract(epoch FROM last_idx_scan)::float8 FROM pg_stat_user_indexes WHERE indexrelname = %s"
    )
    assert nova_database.execute(query, [IDX]) == [(index_row(collect_once(database), IDX).last_idx_scan,)]


def test_every_collector_succeeds_and_its_page_parses(nova_database: TestDatabase) -> None:
    nova_database.execute("CREATE EXTENSION pg_stat_statements")
    nova_database.execute(CREATE)
    use_index(nova_database)

    snapshot = collect_once(described(nova_database, DECLARED))

    assert snapshot.up
    assert tuple(outcome.collector for outcome in snapshot.outcomes) == COLLECTORS
    assert failures(snapshot) == {}
    assert samples(page_of([snapshot])) == samples(
        page_of([snapshot], PageFormat.OPENMETRICS) + "# EOF\n", PageFormat.OPENMETRICS
    )


def test_a_missing_declared_index_is_not_present_and_its_table_is_there(nova_database: TestDatabase) -> None:
    snapshot = collect_once(described(nova_database, DECLARED))

    assert index_rows(snapshot) == ()
    assert [row.relname for row in table_rows(snapshot)] == ["messages"]
    assert f'indexname="{IDX}"}} 0' in page_of([snapshot])


def test_counters_move_with_one_persistent_connection(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)
    with collector_of(described(nova_database, DECLARED)) as collector:
        before = index_row(collected(collector), IDX).idx_scan
        use_index(nova_database)
        after = index_row(collected(collector), IDX).idx_scan
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'pg-index-exporter'"
        )
        connections = nova_database.execute(query)

    assert (before, after) == (0, 1)
    assert connections == [(1,)]


def test_a_connection_that_died_between_collections_costs_nothing(nova_database: TestDatabase) -> None:
    query = (
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'pg-index-exporter'"
    )
    with collector_of(described(nova_database, DECLARED)) as collector:
        collected(collector)
        assert nova_database.execute(query) == [(1,)]
        snapshot = collected(collector)

    assert snapshot.up
    assert set(failures(snapshot)) == {"statements"}


def test_nothing_is_started_after_the_deadline(nova_database: TestDatabase) -> None:
    with collector_of(described(nova_database, DECLARED)) as collector:
        snapshot = collected_within(collector, -1)

    assert snapshot.up
    assert set(failures(snapshot)) == set(COLLECTORS) - {"server"}
    assert snapshot.indexes is None
    assert "pg_index_declared" in page_of([snapshot])
    assert "pg_index_present" not in page_of([snapshot])


def test_a_database_that_was_not_asked_is_down(nova_database: TestDatabase) -> None:
    with collector_of(described(nova_database, DECLARED)) as collector:
        snapshot = collector.unknown(collector.database)

    assert not snapshot.up
    assert set(failures(snapshot)) == set(COLLECTORS)


def test_sizes_for_which_there_is_no_time_follow_in_the_next_scrapes(
    nova_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_cache, "BATCH_RELATIONS", 1)
    found = []
    with collector_of(described(nova_database, watch="all")) as collector:
        wanted = collected(collector).sizes
    with collector_of(described(nova_database, watch="all")) as collector:
        for _ in range(50):
            # A server that takes a second for each batch, and has time for one of them.
            monkeypatch.setattr(size_cache, "time", SimpleNamespace(monotonic=count(monotonic()).__next__))
            found.append(collected_within(collector, 6.0))
            if len(found[-1].sizes) == len(wanted):
                break

    counts = [len(snapshot.sizes) for snapshot in found]
    assert counts == sorted(set(counts))
    assert len(counts) > 1
    assert found[-1].sizes.keys() == wanted.keys()
    assert "sizes" not in failures(found[-1])
    for snapshot in found[:-1]:
        assert "there was no time for the sizes" in failures(snapshot)["sizes"]
        assert not failures(snapshot).keys() & {"indexes", "tables", "epoch"}
    page = page_of([found[0]])
    assert page.count("\npg_index_size_bytes{") < page.count("\npg_stat_user_indexes_idx_scan_total{")


def test_the_last_success_is_remembered_over_failures(nova_database: TestDatabase) -> None:
    with collector_of(described(nova_database, DECLARED)) as collector:
        first = {outcome.collector: outcome.last_success for outcome in collected(collector).outcomes}
        second = {
            outcome.collector: outcome.last_success for outcome in collected_within(collector, -1).outcomes
        }

    assert first["sizes"] is not None
    assert second["sizes"] == first["sizes"]
    assert second["statements"] is None


# ------------------------------------------------------------------ definitions


def matches(snapshot: DatabaseSnapshot) -> dict[RelationName, bool]:
    return dict(snapshot.definition_matches)


def test_without_a_journal_nothing_is_said_of_the_definition(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)

    snapshot = collect_once(described(nova_database, DECLARED))

    assert matches(snapshot) == {}
    assert set(failures(snapshot)) == {"statements"}


def test_the_definition_is_held_against_the_journal(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)
    write_journal(nova_database, indexdef(nova_database, IDX))
    with collector_of(described(nova_database, DECLARED)) as collector:
        assert matches(collected(collector)) == {DECLARED.relation: True}

        nova_database.execute(f"DROP INDEX {IDX}")
        assert matches(collected(collector)) == {}

        nova_database.execute(f"CREATE INDEX {IDX} ON messages (sender_id)")
        assert matches(collected(collector)) == {DECLARED.relation: False}


def test_a_renamed_column_is_noticed_when_the_definition_is_read_again(
    nova_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    nova_database.execute(CREATE)
    write_journal(nova_database, indexdef(nova_database, IDX))
    with collector_of(described(nova_database, DECLARED)) as collector:
        collected(collector)
        nova_database.execute("ALTER TABLE messages RENAME COLUMN sender_id TO author_id")
        monkeypatch.setattr(definitions, "AGE_SECONDS", 0.0)

        assert matches(collected(collector)) == {DECLARED.relation: False}


def test_an_index_of_that_name_on_another_table_does_not_match(nova_database: TestDatabase) -> None:
    nova_database.execute(CREATE)
    write_journal(nova_database, indexdef(nova_database, IDX))
    nova_database.execute(f"DROP INDEX {IDX}")
    nova_database.execute(f"CREATE INDEX {IDX} ON posts (created_at)")

    snapshot = collect_once(described(nova_database, DECLARED))

    assert matches(snapshot) == {DECLARED.relation: False}
    assert (
        f'pg_index_present{{datname="{nova_database.name}",schemaname="public",relname="messages",'
        f'indexname="{IDX}"}} 0'
    ) in page_of([snapshot])


def test_a_foreign_relation_called_migration_events_is_a_gap(nova_database: TestDatabase) -> None:
    nova_database.execute("CREATE TABLE migration_events (name text)")

    snapshot = collect_once(described(nova_database, DECLARED))

    assert failures(snapshot)["journal"] == "public.migration_events exists and is not this tool's"


def test_the_journal_lies_in_the_schema_of_the_settings(nova_database: TestDatabase) -> None:
    nova_database.execute('CREATE SCHEMA "Jour""nal"')
    nova_database.execute(CREATE)
    with nova_database.connect() as connection:
        journal = Journal(connection, 'Jour"nal', "090_test", "run")
        journal.ensure()
        definition = indexdef(nova_database, IDX)
        journal.append(Phase.DONE, EventStatus.DONE, index_name=IDX, definition=definition)

    snapshot = collect_once(described(nova_database, DECLARED), CollectOptions(journal_schema='Jour"nal'))

    assert matches(snapshot) == {DECLARED.relation: True}


def test_a_partitioned_index_is_present_and_its_leaves_have_the_counters(database: TestDatabase) -> None:
    database.execute("CREATE TABLE events (id int, at date) PARTITION BY RANGE (at)")
    database.execute(
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
    )
    database.execute("CREATE INDEX events_id ON events (id)")
    declared = declare("events_id", "events")
    write_journal(database, "CREATE INDEX events_id ON public.events USING btree (id)", "events_id")

    snapshot = collect_once(described(database, declared))

    row, leaf = index_row(snapshot, "events_id"), index_row(snapshot, "events_1_id_idx")
    assert (row.idx_scan, row.idx_blks_hit, row.parents) == (None, None, None)
    assert (leaf.idx_scan, leaf.parents) == (0, [row.indexrelid])
    assert set(snapshot.sizes) == {leaf.indexrelid, leaf.relid}
    assert row.indisvalid
    assert matches(snapshot) == {declared.relation: True}
    assert set(failures(snapshot)) == {"statements"}


# ------------------------------------------------------------------ names

NAMES = (
    "quo\"te's",
    "line\nbreak\ttab",
    "<script>alert(1)</script>&amp;",
    "back\\slash{brace}%s %(x)s",
    "ä" * 31,
    "🐘" * 15,
    "{schema}",
    "select",
    "$1",
)


@pytest.mark.parametrize("watch", ["declared", "all"])
def test_every_name_is_published_as_it_is(database: TestDatabase, watch: str) -> None:
    declared = []
    for number, name in enumerate(NAMES):
        schema = sql.Identifier(f"s{number}{name[:8]}")
        table = sql.Identifier(schema.as_string()[1:-1].replace('""', '"'), f"t {name[:8]}")
        database.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        database.execute(sql.SQL("CREATE TABLE {} (id int)").format(table))
        database.execute(sql.SQL("CREATE INDEX {} ON {} (id)").format(sql.Identifier(name), table))
        declared.append(declare(name, f"t {name[:8]}", schemaname=f"s{number}{name[:8]}"))
    given = described(database, *(declared if watch == "declared" else ()), watch=watch)  # type: ignore[arg-type]  # one of two literals

    snapshot = collect_once(given)

    assert index_names(snapshot) == sorted(NAMES)
    published = {
        tuple(dict(labels)[key] for key in ("schemaname", "relname", "indexname"))
        for name, labels in samples(page_of([snapshot]))
        if name == "pg_index_size_bytes"
    }
    assert published == {(index.table.schemaname, index.table.relname, index.name) for index in declared}


def test_a_name_that_is_no_utf8_is_a_gap_and_not_a_lost_page(database: TestDatabase) -> None:
    database.execute(
        sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0").format(
            sql.Identifier(f"{database.name}_ascii")
        )
    )
    ascii_database = TestDatabase(database.server, f"{database.name}_ascii")
    with ascii_database.connect() as connection:
        # The texts of all databases are in one file, which other tests read.
        connection.execute("SET pg_stat_statements.track = none")
        connection.execute(b'CREATE TABLE "\xff\xfe" (id int PRIMARY KEY)')

    snapshot = collect_once(described(ascii_database, watch="all"))
    database.server.drop_database(ascii_database.name)

    assert snapshot.up
    failed = failures(snapshot)
    assert set(failed) == {"indexes", "tables", "epoch", "statements", "sizes", "definitions"}
    assert "invalid byte sequence" in failed["indexes"]
    assert snapshot.facts is not None
