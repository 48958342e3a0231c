"""Probes against a real server: what their plans and runs show, and that hostile text does nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import TransactionStatus

from exporter.evidence.measure.plans import (
    MAX_SAMPLES,
    TIMED_RUNS,
    ProbeOptions,
    measure_probe,
    measure_probes,
)
from exporter.model import DeclaredIndex, Manifest, Probe, ProbeMeasurement, RelationName
from exporter.postgres import ddl
from tests.conftest import TestDatabase

PROBE = Probe(
    "message_history",
    """SELECT id, content, created_at FROM messages
    WHERE sender_id = %(sender_id)s AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 50""",
    "SELECT DISTINCT sender_id FROM messages WHERE deleted_at IS NULL LIMIT 30",
    0.010,
)
INDEX = DeclaredIndex(
    "idx_messages_sender_created",
    RelationName("public", "messages"),
    ("sender_id", "created_at DESC"),
    where="deleted_at IS NULL",
    probes=(PROBE,),
)
Connection = psycopg.Connection[Any]


def build(connection: Connection, index: DeclaredIndex) -> None:
    ddl.run_single(connection, ddl.create_index(index, concurrently=False))
    ddl.run_single(connection, ddl.analyze(index.table))


@pytest.fixture
def nova(nova_database: TestDatabase) -> Iterator[Connection]:
    """A session in Nova, as init has it: autocommit, with a search_path that finds nothing."""
    with nova_database.connect() as connection:
        connection.execute("SET search_path = pg_catalog")
        yield connection


def measure(
    connection: Connection,
    probe: Probe = PROBE,
    index: DeclaredIndex = INDEX,
    budget_seconds: float = 30.0,
    timed: bool = True,
    covered_by: str | None = None,
) -> ProbeMeasurement:
    """The measurement; afterwards the session is as it was before."""
    settings = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s) ORDER BY name"
    names = ["search_path", "statement_timeout", "transaction_read_only", "plan_cache_mode"]
    before = connection.execute(settings, [names]).fetchall()
    options = ProbeOptions(["public"], budget_seconds, timed=timed, covered_by=covered_by)
    measured = measure_probe(connection, index, probe, options)
    assert connection.info.transaction_status is TransactionStatus.IDLE
    assert connection.execute(settings, [names]).fetchall() == before
    return measured


def test_before_the_build_no_plan_uses_the_index_and_after_it_all_do(nova: Connection) -> None:
    before = measure(nova)
    build(nova, INDEX)
    after = measure(nova)

    assert (before.samples, before.samples_using_index) == (MAX_SAMPLES, 0)
    assert before.node == "Seq Scan"
    assert (after.samples, after.samples_using_index) == (MAX_SAMPLES, MAX_SAMPLES)
    assert after.node is not None
    assert after.node.endswith("using idx_messages_sender_created")
    assert before.total_cost is not None
    assert after.total_cost is not None
    assert after.total_cost < before.total_cost
    for measured in (before, after):
        assert measured.runs == TIMED_RUNS
        assert measured.median_seconds is not None
        assert measured.median_seconds > 0
        assert (measured.reason, measured.detail) == (None, None)


def test_the_plan_is_kept_as_text_without_a_single_value_of_the_sample(nova: Connection) -> None:
    build(nova, INDEX)
    measured = measure(nova)

    senders = [value for (value,) in nova.execute("SELECT DISTINCT sender_id::text FROM public.messages")]
    assert measured.plan is not None
    assert measured.plan.startswith("Limit  (cost=")
    assert "idx_messages_sender_created" in measured.plan
    assert "Index Cond: (messages.sender_id = ?" in measured.plan
    assert [value for value in senders if value in measured.plan] == []


def test_every_probe_of_a_manifest_is_measured_in_order(nova: Connection) -> None:
    posts = replace(
        INDEX,
        name="idx_posts_user_created",
        table=RelationName("public", "posts"),
        columns=("user_id", "created_at DESC"),
        probes=(
            Probe(
                "user_timeline",
                "SELECT id FROM posts WHERE user_id = %(user_id)s AND deleted_at IS NULL",
                "SELECT user_id FROM posts LIMIT 5",
                None,
            ),
            Probe("posts_of_all", "SELECT count(*) FROM posts WHERE content LIKE '%a%'", None, None),
        ),
    )
    build(nova, posts)
    manifest = Manifest("m.yaml", "090", ("public",), (), (INDEX, posts))

    measured = measure_probes(nova, manifest, budget_seconds_per_probe=30.0)

    assert [(one.index_name, one.probe) for one in measured] == [
        ("idx_messages_sender_created", "message_history"),
        ("idx_posts_user_created", "user_timeline"),
        ("idx_posts_user_created", "posts_of_all"),
    ]
    assert [one.samples_using_index for one in measured] == [0, measured[1].samples, 0]
    assert measured[2].samples == 1


def test_untimed_only_plans_are_made(nova: Connection) -> None:
    measured = measure(nova, timed=False)

    assert (measured.samples, measured.runs, measured.median_seconds) == (MAX_SAMPLES, 0, None)
    assert measured.reason is None


def test_an_equal_index_under_another_name_counts_when_it_is_named(nova: Connection) -> None:
    build(nova, replace(INDEX, name="Twin"))

    assert measure(nova).samples_using_index == 0
    assert measure(nova, covered_by="Twin").samples_using_index == MAX_SAMPLES


def test_an_index_of_that_name_on_another_table_does_not_count(nova: Connection) -> None:
    nova.execute("CREATE SCHEMA other")
    nova.execute("CREATE TABLE other.messages AS SELECT * FROM public.messages")
    build(nova, replace(INDEX, table=RelationName("other", "messages")))
    elsewhere = replace(PROBE, sql=PROBE.sql.replace("messages", "other.messages"))

    measured = measure(nova, elsewhere)

    assert measured.samples_using_index == 0
    assert measured.node is None


def test_names_that_need_quotes_are_found(nova: Connection) -> None:
    schema, table, name = 'Odd."Schema', "table with\nnewline", 'i"dx <b> ünïcödé'
    relation = RelationName(schema, table)
    nova.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    create = sql.SQL("CREATE TABLE {} AS SELECT * FROM public.messages").format(ddl.qualified(relation))
    nova.execute(create)
    index = replace(INDEX, name=name, table=relation)
    build(nova, index)
    probe = Probe(
        "odd",
        'SELECT id FROM "table with\nnewline" WHERE sender_id = %(sender_id)s AND deleted_at IS NULL',
        "SELECT sender_id FROM public.messages LIMIT 3",
        None,
    )

    measured = measure_probe(nova, index, probe, ProbeOptions([schema], 30.0))

    assert (measured.reason, measured.detail) == (None, None)
    assert measured.samples_using_index == measured.samples > 0


def test_a_bitmap_scan_is_found_by_the_table_above_it(nova: Connection) -> None:
    build(nova, INDEX)
    probe = replace(PROBE, sql=PROBE.sql.partition("ORDER BY")[0])
    nova.execute("SET enable_indexscan = off")
    nova.execute("SET enable_indexonlyscan = off")

    measured = measure(nova, probe)

    assert measured.node == "Bitmap Index Scan using idx_messages_sender_created"
    assert measured.samples_using_index == MAX_SAMPLES


def test_a_partition_of_the_index_counts_for_it(database: TestDatabase) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE events (tenant int, at int) PARTITION BY RANGE (at)")
        connection.execute("CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10000)")
        connection.execute("CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10000) TO (20000)")
        connection.execute("INSERT INTO events SELECT i % 1000, i FROM generate_series(0, 19999) AS i")
        index = DeclaredIndex("events_tenant", RelationName("public", "events"), ("tenant",))
        probe = Probe("p", "SELECT at FROM events WHERE tenant = %(t)s", "SELECT 7 AS t", None)
        connection.execute("ANALYZE")

        before = measure(connection, probe, index)
        build(connection, index)
        after = measure(connection, probe, index)

    assert (before.samples_using_index, after.samples_using_index) == (0, 1)
    assert before.node == "Seq Scan"


def test_a_partial_index_on_a_parameter_is_planned_for_the_sample(nova: Connection) -> None:
    """A generic plan cannot know that the parameter implies the predicate."""
    nova.execute("ALTER TABLE public.messages ADD status text NOT NULL DEFAULT 'sent'")
    nova.execute(
        "UPDATE public.messages SET status = 'failed' WHERE id IN (SELECT id FROM public.messages LIMIT 40)"
    )
    index = replace(INDEX, columns=("created_at",), where="status = 'failed'")
    build(nova, index)
    text = "SELECT id FROM messages WHERE status = %(status)s ORDER BY created_at LIMIT 5"
    nova.execute("SET plan_cache_mode = force_generic_plan")

    measured = measure(nova, Probe("failed", text, "SELECT 'failed' AS status", None), index)

    assert measured.samples_using_index == measured.samples == 1


@pytest.mark.parametrize(
    ("columns", "literal"),
    [
        ("smallint", "7"),
        ("bigint", "7"),
        ("numeric", "7.5"),
        ("real", "7.5"),
        ("varchar(20)", "'7'"),
        ("char(5)", "'7'"),
        ("name", "'seven'"),
        ("inet", "'10.0.0.7'"),
        ("bytea", r"'\x00ff'"),
        ("timestamptz", "'infinity'"),
        ("timestamp", "'20000-01-01'"),
        ("date", "'0044-03-15 BC'"),
        ("interval", "'178000000 years'"),
        ("int4range", "'[1,8)'"),
        ("text[]", """'{"a,b",NULL}'"""),
        ("mood", "'calm'"),
    ],
)
def test_samples_of_every_type_are_bound_as_the_server_gave_them(
    database: TestDatabase, columns: str, literal: str
) -> None:
    database.execute("CREATE TYPE mood AS ENUM ('calm', 'wild')")
    database.execute(f"CREATE TABLE t AS SELECT {literal}::{columns} AS v, i FROM generate_series(1, 3) AS i")
    database.execute("CREATE INDEX t_v ON t (v)")
    database.execute("ALTER TABLE t SET (autovacuum_enabled = off)")
    index = DeclaredIndex("t_v", RelationName("public", "t"), ("v",))
    probe = Probe("p", "SELECT v FROM t WHERE v = %(v)s", "SELECT v FROM t", None)
    with database.connect() as connection:
        connection.execute("SET enable_seqscan = off")

        measured = measure(connection, probe, index)

    assert (measured.reason, measured.detail) == (None, None)
    assert (measured.samples, measured.samples_using_index) == (1, 1)
    assert measured.runs == TIMED_RUNS


PLANTED = "DROP TABLE public.messages"


@pytest.mark.parametrize(
    "plant",
    [
        lambda probe: replace(probe, sql=f"{probe.sql}; {PLANTED}"),
        lambda probe: replace(probe, sql=f"{probe.sql}; COMMIT; {PLANTED}"),
        lambda probe: replace(probe, sql=f"SELECT 1; COMMIT; {PLANTED}", sample=None),
        lambda probe: replace(probe, sql="COMMIT", sample=None),
        lambda probe: replace(probe, sql=PLANTED, sample=None),
        lambda probe: replace(probe, sql=f"ANALYZE {PLANTED}", sample=None),
        lambda probe: replace(probe, sample=f"{probe.sample}; {PLANTED}"),
        lambda probe: replace(probe, sample=f"{probe.sample}; COMMIT; {PLANTED}"),
        lambda probe: replace(probe, sample=PLANTED),
        lambda probe: replace(probe, sample="DELETE FROM messages RETURNING sender_id"),
        lambda probe: replace(probe, sample="SELECT wipe() AS sender_id"),
        lambda probe: replace(probe, sample=f"SELECT $${PLANTED}$$ AS sender_id"),
        lambda probe: replace(probe, sql="SELECT wipe()", sample=None),
        lambda probe: replace(probe, sql="DELETE FROM messages", sample=None),
        lambda probe: replace(
            probe, sql="WITH gone AS (DELETE FROM messages RETURNING id) SELECT * FROM gone", sample=None
        ),
        lambda probe: replace(
            probe,
            sql="SELECT set_config('transaction_read_only', 'off', true), wipe()",
            sample=None,
        ),
        lambda probe: replace(probe, sql="CREATE TABLE stolen AS SELECT * FROM messages", sample=None),
    ],
)
def test_planted_statements_and_writes_change_nothing(
    nova: Connection, plant: Callable[[Probe], Probe]
) -> None:
    nova.execute(
        "CREATE FUNCTION public.wipe() RETURNS uuid LANGUAGE sql VOLATILE"
        " AS 'DELETE FROM public.messages RETURNING sender_id'"
    )
    content = "SELECT count(*), sum(hashtext(m::text)) FROM public.messages AS m"
    tables = "SELECT array_agg(oid ORDER BY oid) FROM pg_class WHERE relkind = 'r'"
    before = nova.execute(content).fetchone(), nova.execute(tables).fetchone()

    measured = measure(nova, plant(PROBE))

    assert (nova.execute(content).fetchone(), nova.execute(tables).fetchone()) == before
    assert measured.median_seconds is None
    assert measured.detail


def test_a_write_is_planned_but_not_run(nova: Connection) -> None:
    build(nova, INDEX)
    delete = "DELETE FROM messages WHERE sender_id = %(sender_id)s AND deleted_at IS NULL"

    measured = measure(nova, replace(PROBE, sql=delete))

    assert measured.samples_using_index == MAX_SAMPLES
    assert (measured.runs, measured.median_seconds, measured.reason) == (0, None, None)
    assert measured.detail == "not timed: cannot execute DELETE in a read-only transaction"


@pytest.mark.parametrize(
    "sample", ["SELECT sender_id FROM messages WHERE false", "SELECT NULL::uuid AS sender_id"]
)
def test_a_sample_without_rows_is_no_sample(nova: Connection, sample: str) -> None:
    measured = measure(nova, replace(PROBE, sample=sample))

    assert (measured.reason, measured.samples, measured.samples_using_index) == ("no_sample", 0, None)


def test_a_sample_without_the_parameters_column_fails_with_its_name(nova: Connection) -> None:
    measured = measure(nova, replace(PROBE, sample="SELECT sender_id AS other FROM messages"))

    assert (measured.reason, measured.samples_using_index) == ("failed", None)
    assert "sender_id" in (measured.detail or "")


def test_what_the_role_may_not_read_is_not_permitted(nova_database: TestDatabase) -> None:
    with nova_database.connect() as connection:
        role = f"stranger_{nova_database.name}"
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        by_sample = measure(connection)
        by_plan = measure(connection, replace(PROBE, sample="SELECT gen_random_uuid() AS sender_id"))
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))

    for measured in (by_sample, by_plan):
        assert (measured.reason, measured.samples_using_index) == ("not_permitted", None)
        assert measured.detail == "permission denied for table messages"


def test_a_statement_that_the_server_refuses_is_failed(nova: Connection) -> None:
    measured = measure(nova, replace(PROBE, sql="SELECT nothing FROM nowhere", sample=None))

    assert measured.reason == "failed"
    assert measured.detail == 'relation "nowhere" does not exist'


def test_a_first_run_over_the_budget_is_stopped_and_told_as_a_bound(nova: Connection) -> None:
    slow = Probe("slow", "SELECT count(*) FROM messages AS a, messages AS b, messages AS c", None, None)

    measured = measure(nova, slow, budget_seconds=1.0)

    assert (measured.samples, measured.samples_using_index) == (1, 0)
    assert (measured.reason, measured.median_seconds, measured.runs) == ("timed_out", None, 0)
    assert measured.stopped_after_seconds is not None
    assert "statement timeout" in (measured.detail or "")
    assert nova.execute("SELECT count(*) FROM pg_stat_activity WHERE query ~ 'AS c$'").fetchone() == (0,)


def test_a_sample_over_the_budget_has_timed_out(nova: Connection) -> None:
    sample = "SELECT a.sender_id FROM messages AS a, messages AS b WHERE a.content || b.content = 'none'"

    measured = measure(nova, replace(PROBE, sample=sample), budget_seconds=0.5)

    assert (measured.reason, measured.samples_using_index) == ("timed_out", None)


def test_a_run_that_leaves_no_room_for_another_is_the_figure(nova: Connection) -> None:
    once = Probe("once", "SELECT pg_sleep(1.5)", None, None)

    measured = measure(nova, once, budget_seconds=2.9)

    assert (measured.reason, measured.runs) == (None, 1)
    assert measured.median_seconds is not None
    assert "allowed one run" in (measured.detail or "")


def test_a_locked_table_costs_no_more_than_the_budget(nova_database: TestDatabase, nova: Connection) -> None:
    with nova_database.connect() as other, other.transaction():
        other.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")

        measured = measure(nova, budget_seconds=0.5)

    assert (measured.reason, measured.samples_using_index) == ("timed_out", None)


def test_rows_are_not_kept_in_memory(nova: Connection) -> None:
    """A probe without LIMIT can return more than fits: rows are dropped as they come."""
    import tracemalloc

    wide = Probe("wide", "SELECT repeat('x', 100000) FROM generate_series(1, 300)", None, None)
    tracemalloc.start()
    measured = measure(nova, wide)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert measured.runs > 0
    assert peak_bytes < 10_000_000


def test_a_broken_connection_becomes_a_reason_for_each_probe(nova_database: TestDatabase) -> None:
    with nova_database.connect() as connection:
        pid = connection.info.backend_pid
        sleep = replace(INDEX, probes=(Probe("sleep", "SELECT pg_sleep(60)", None, None), PROBE))
        manifest = Manifest("m.yaml", "090", ("public",), (), (sleep,))
        killer = threading.Thread(target=terminate_when_asleep, args=(nova_database, pid))
        killer.start()
        measured = measure_probes(connection, manifest, budget_seconds_per_probe=60.0)
        killer.join()

    assert [one.median_seconds for one in measured] == [None, None]
    assert measured[0].detail is not None
    assert "terminating connection" in measured[0].detail
    assert (measured[1].reason, measured[1].samples_using_index) == ("failed", None)


def terminate_when_asleep(database: TestDatabase, pid: int) -> None:
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
    deadline = time.monotonic() + 60
    while not database.execute(query, [pid]) and time.monotonic() < deadline:
        time.sleep(0.05)
