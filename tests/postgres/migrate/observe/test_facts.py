"""What the catalogue and the tables say after a build, and that what cannot be known stays unknown."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import TransactionStatus

from exporter.migrate.observe.facts import read_index_facts
from exporter.migrate.observe.indexes import observe
from exporter.migrate.verify import verify
from exporter.model import DeclaredIndex, IndexFacts, IndexState, Manifest, RelationName, Verdict
from exporter.postgres import ddl
from tests.conftest import TestDatabase

MESSAGES = RelationName("public", "messages")
INDEX = DeclaredIndex(
    "idx_messages_sender_created",
    MESSAGES,
    ("sender_id", "created_at DESC"),
    where="deleted_at IS NULL",
    max_size_ratio=0.20,
    not_null=("sender_id",),
)
Connection = psycopg.Connection[Any]


@pytest.fixture
def nova(nova_database: TestDatabase) -> Iterator[Connection]:
    """A session in Nova, as init has it: autocommit, search_path pinned."""
    with nova_database.connect() as connection:
        connection.execute("SET search_path = pg_catalog")
        yield connection


def build(connection: Connection, index: DeclaredIndex) -> None:
    ddl.run_single(connection, ddl.create_index(index))


def read(
    connection: Connection, *indexes: DeclaredIndex, budget_seconds: float = 30.0
) -> tuple[IndexFacts, ...]:
    """The facts of the indexes as they stand; the session is left idle."""
    manifest = Manifest("m.yaml", "090", ("public",), (), indexes)
    observed = observe(connection, manifest, {})
    facts = read_index_facts(connection, observed, budget_seconds=budget_seconds)
    assert connection.info.transaction_status is TransactionStatus.IDLE
    return facts


def scalar(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_a_built_index_shows_flags_sizes_and_the_time_of_analyze(nova: Connection) -> None:
    build(nova, INDEX)
    built_at = scalar(nova, "SELECT clock_timestamp()")
    nova.execute("ANALYZE public.messages")

    (facts,) = read(nova, INDEX)

    assert facts.observed.state is IndexState.PRESENT
    assert (facts.indisvalid, facts.indisready) == (True, True)
    oid = "'public.idx_messages_sender_created'::regclass"
    assert facts.size_bytes == scalar(nova, f"SELECT pg_relation_size({oid})")
    assert facts.table_size_bytes == scalar(nova, "SELECT pg_table_size('public.messages')")
    assert facts.table_pages == scalar(nova, "SELECT pg_relation_size('public.messages') / 8192")
    assert facts.table_last_analyze is not None
    assert facts.table_last_analyze >= built_at
    assert (facts.nullable, facts.unproven) == ((), ())
    verdicts = {finding.verdict for finding in verify([facts], (), (), built_at={INDEX.name: built_at})}
    assert Verdict.FAIL not in verdicts


def test_an_absent_index_has_a_table_but_no_flags_and_no_size(nova: Connection) -> None:
    (facts,) = read(nova, INDEX)

    assert facts.observed.state is IndexState.ABSENT
    assert (facts.indisvalid, facts.indisready, facts.size_bytes) == (None, None, None)
    assert facts.table_size_bytes is not None


def test_an_invalid_index_shows_its_flags(nova_database: TestDatabase, nova: Connection) -> None:
    nova.execute("SET statement_timeout = '500ms'")
    with nova_database.connect() as writer, writer.transaction():
        writer.execute("DELETE FROM messages WHERE false")
        with pytest.raises(psycopg.errors.QueryCanceled):
            build(nova, INDEX)
    nova.execute("RESET statement_timeout")

    (facts,) = read(nova, INDEX)

    assert facts.observed.state is IndexState.INVALID_FOREIGN
    assert facts.indisvalid is False


def test_a_covered_index_has_the_facts_of_its_twin(nova: Connection) -> None:
    build(nova, replace(INDEX, name="Older Twin"))

    (facts,) = read(nova, INDEX)

    assert facts.observed.state is IndexState.COVERED
    assert facts.indisvalid is True
    assert facts.size_bytes == scalar(nova, """SELECT pg_relation_size('public."Older Twin"')""")


def test_null_is_found_and_its_absence_proven(nova: Connection) -> None:
    nova.execute("""ALTER TABLE public.messages ADD "odd ""column" int DEFAULT 1, ADD half int DEFAULT 1""")
    nova.execute(
        "UPDATE public.messages SET half = NULL WHERE id = (SELECT max(id::text)::uuid FROM public.messages)"
    )
    index = replace(INDEX, not_null=("sender_id", 'odd "column', "half", "missing"))

    (facts,) = read(nova, index)

    assert facts.nullable == ("half",)
    assert facts.unproven == ("missing",)


@pytest.mark.pg(">= 18")
def test_a_constraint_that_is_not_validated_proves_nothing(database: TestDatabase) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE t (v int)")
        connection.execute("INSERT INTO t VALUES (NULL)")
        connection.execute("ALTER TABLE t ADD CONSTRAINT t_v NOT NULL v NOT VALID")
        index = DeclaredIndex("t_v", RelationName("public", "t"), ("v",), not_null=("v",))

        (facts,) = read(connection, index)

    assert facts.nullable == ("v",)


def test_a_column_that_takes_too_long_is_unproven(nova: Connection) -> None:
    nova.execute("ALTER TABLE public.messages ADD slow int DEFAULT 1")
    (facts,) = read(nova, replace(INDEX, not_null=("slow",)), budget_seconds=0.0)

    assert (facts.nullable, facts.unproven) == ((), ("slow",))


def test_what_the_role_may_not_read_is_unproven(nova: Connection) -> None:
    nova.execute("ALTER TABLE public.messages ADD secret int DEFAULT 1")
    manifest = Manifest("m.yaml", "090", ("public",), (), (replace(INDEX, not_null=("secret",)),))
    observed = observe(nova, manifest, {})
    role = sql.Identifier(f"stranger_{nova.info.dbname}")
    nova.execute(sql.SQL("CREATE ROLE {}").format(role))
    nova.execute(sql.SQL("SET ROLE {}").format(role))

    (facts,) = read_index_facts(nova, observed, budget_seconds=30.0)

    nova.execute("RESET ROLE")
    nova.execute(sql.SQL("DROP ROLE {}").format(role))
    assert (facts.nullable, facts.unproven) == ((), ("secret",))
    assert facts.table_size_bytes is not None


def test_behind_an_exclusive_lock_sizes_are_unknown_and_flags_are_not(
    nova_database: TestDatabase, nova: Connection
) -> None:
    build(nova, INDEX)
    nova.execute("ALTER TABLE public.messages ADD other int DEFAULT 1")
    index = replace(INDEX, not_null=("other",))
    observed = observe(nova, Manifest("m.yaml", "090", ("public",), (), (index,)), {})
    locked, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold_lock, args=(nova_database, locked, release))
    holder.start()
    try:
        assert locked.wait(60)
        (facts,) = read_index_facts(nova, observed, budget_seconds=30.0)
    finally:
        release.set()
        holder.join()

    assert (facts.size_bytes, facts.table_size_bytes, facts.table_pages) == (None, None, None)
    assert facts.indisvalid is True
    assert facts.unproven == ("other",)


def hold_lock(database: TestDatabase, locked: threading.Event, release: threading.Event) -> None:
    with database.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        locked.set()
        release.wait(60)


def test_names_that_need_quotes_are_read(database: TestDatabase) -> None:
    relation = RelationName('Odd."Schema', "t\n<b>")
    with database.connect() as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(relation.schemaname)))
        connection.execute(sql.SQL("CREATE TABLE {} (v int)").format(ddl.qualified(relation)))
        index = DeclaredIndex('i"dx ünïcödé', relation, ("v",), not_null=("v",))
        build(connection, index)

        (facts,) = read(connection, index)

    assert facts.indisvalid is True
    assert facts.table_pages == 0
    assert (facts.nullable, facts.unproven) == ((), ())


def test_several_indexes_are_read_in_their_order(nova: Connection) -> None:
    other = replace(INDEX, name="idx_messages_created", columns=("created_at",), where=None)
    build(nova, other)

    facts = read(nova, INDEX, other)

    assert [one.observed.declared.name for one in facts] == [INDEX.name, other.name]
    assert [one.indisvalid for one in facts] == [None, True]
