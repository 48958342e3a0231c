"""Drops of what a migration created: what speaks against them, what stops them, and what fixes that."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Thread

import pytest
from psycopg.conninfo import make_conninfo

from exporter.migrate.init import initialise
from exporter.migrate.observe.indexes import observe
from exporter.migrate.options import BuildOptions, RunOptions, StepOptions
from exporter.migrate.report import as_text, exit_code
from exporter.migrate.rollback.run import roll_back
from exporter.model import (
    Database,
    DeclaredIndex,
    Finding,
    IndexState,
    Manifest,
    Outcome,
    StepStatus,
    Verdict,
)
from exporter.postgres.journal import EventStatus, Phase
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.metrics.collecting import collect_once, described, index_row, page_of
from tests.postgres.migrate.running import statuses
from tests.support.builds import (
    as_declared,
    executing,
    indexes_of,
    journal_of,
    look_at,
    reader,
    session,
    waiting_drop,
)
from tests.support.declared import declare, manifest_of
from tests.support.waiting import wait_for

INDEX = declare("idx_sender", "messages", "sender_id", "id")
UNIQUE = declare("idx_unique", "messages", "id", unique=True)
OPTIONS = RunOptions(
    probe_budget_seconds=5,
    build=BuildOptions(
        steps=StepOptions(
            deadline_seconds=60, lock_budget_seconds=1, cleanup_budget_seconds=30, poll_seconds=0.1
        )
    ),
)
IMPATIENT = replace(OPTIONS, build=BuildOptions(steps=replace(OPTIONS.build.steps, deadline_seconds=1)))
DRY = replace(OPTIONS, dry_run=True)
DROP = "DROP INDEX CONCURRENTLY idx_sender"
ORPHAN = "pg-index-exporter/deadbeef/idx_sender"


def built(database: TestDatabase, *indexes: DeclaredIndex) -> Manifest:
    """The manifest of indexes that init has built."""
    manifest = manifest_of(*(indexes or (INDEX,)))
    outcome = initialise(as_declared(database), manifest, OPTIONS)
    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    return manifest


def rollback(
    database: TestDatabase,
    manifest: Manifest,
    options: RunOptions = OPTIONS,
    siblings: Sequence[Database] = (),
) -> Outcome:
    return roll_back(as_declared(database), manifest, options, siblings=siblings)


def told(outcome: Outcome) -> tuple[Finding, ...]:
    """All findings, those of the preflight first."""
    return (*outcome.preflight, *outcome.findings)


def finding(outcome: Outcome, criterion: str) -> Finding:
    (found,) = [one for one in told(outcome) if one.criterion == criterion]
    return found


def log_of(database: TestDatabase, name: str = "idx_sender") -> tuple[str, str]:
    (row,) = database.execute("SELECT phase, status FROM migration_log WHERE index_name = %s", [name])
    phase, status = row
    return phase, status


# What is known before


def test_an_index_that_nobody_needs_passes_everything(shop: TestDatabase) -> None:
    manifest = built(shop)

    outcome = rollback(shop, manifest, DRY)

    assert outcome.dry_run
    assert [one for one in told(outcome) if one.verdict is not Verdict.PASS] == []
    assert finding(outcome, "usage").reason in ("not_scanned", "own_probes")
    assert indexes_of(shop) == {"idx_sender": True}


def test_a_reader_is_named_before_and_waited_for(shop: TestDatabase) -> None:
    manifest = built(shop)
    with reader(shop) as connection:
        pid = connection.info.backend_pid
        connection.execute("SELECT count(*) FROM messages WHERE 'a value of a row' <> ''")
        before = finding(rollback(shop, manifest, DRY), "blockers")

    assert (before.verdict, before.reason, before.subject) == (Verdict.WARN, "blocked", "public.messages")
    assert f"pid {pid}, user postgres, a reader, idle in transaction" in before.found
    assert "SELECT count(*)" in before.found
    assert "a value of a row" not in before.found


def test_a_build_between_is_accepted_and_reported(shop: TestDatabase) -> None:
    manifest = built(shop)
    ((oid,),) = shop.execute("SELECT 'idx_sender'::regclass::oid::int8")
    shop.execute("REINDEX INDEX CONCURRENTLY idx_sender")
    ((now,),) = shop.execute("SELECT 'idx_sender'::regclass::oid::int8")

    outcome = rollback(shop, manifest)

    found = finding(outcome, "created by this migration")
    assert (found.verdict, found.reason) == (Verdict.PASS, "rebuilt")
    assert f"oid {now} now, {oid} when it was built" in found.found
    assert indexes_of(shop) == {}


def refuse(shop: TestDatabase, manifest: Manifest, criterion: str, *words: str) -> None:
    """Rollback touches nothing, for that reason."""
    before = indexes_of(shop)

    outcome = rollback(shop, manifest)

    failed = [one for one in told(outcome) if one.verdict is Verdict.FAIL]
    assert [one.criterion for one in failed] == [criterion]
    assert all(word in f"{failed[0].found}; {failed[0].hint}" for word in words), failed
    assert (outcome.plan.steps, outcome.results, exit_code(outcome)) == ((), (), 1)
    assert "Nothing changed: preflight checks failed." in as_text(outcome)
    assert indexes_of(shop) == before
    assert log_of(shop, manifest.indexes[0].name) == ("done", "done")


def test_a_constraint_made_of_the_index_holds_it(shop: TestDatabase) -> None:
    manifest = built(shop, UNIQUE)
    shop.execute("ALTER TABLE messages ADD CONSTRAINT idx_unique UNIQUE USING INDEX idx_unique")

    refuse(shop, manifest, "constraint", "ALTER TABLE public.messages DROP CONSTRAINT idx_unique")


def test_an_index_that_became_a_constraint_of_another_name_is_left_alone(shop: TestDatabase) -> None:
    manifest = built(shop, UNIQUE)
    shop.execute("ALTER TABLE messages ADD CONSTRAINT messages_key UNIQUE USING INDEX idx_unique")

    outcome = rollback(shop, manifest)

    assert outcome.plan.steps == ()
    assert [index.covered_by for index in outcome.plan.settled] == ["messages_key"]
    assert indexes_of(shop) == {"messages_key": True}


def test_a_foreign_key_that_refers_to_it_holds_it(shop: TestDatabase) -> None:
    manifest = built(shop, UNIQUE)
    shop.execute("ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES messages (id)")

    refuse(shop, manifest, "foreign keys", "fk of public.posts reference it")


def test_the_replica_identity_is_held(shop: TestDatabase) -> None:
    manifest = built(shop, UNIQUE)
    shop.execute("ALTER TABLE messages ALTER id SET NOT NULL")
    shop.execute("ALTER TABLE messages REPLICA IDENTITY USING INDEX idx_unique")

    refuse(shop, manifest, "replica identity", "REPLICA IDENTITY DEFAULT")


def test_a_part_of_a_partitioned_index_is_held(shop: TestDatabase) -> None:
    shop.execute("CREATE TABLE events (id int, at int) PARTITION BY RANGE (at)")
    shop.execute("CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (9)")
    manifest = built(shop, declare("idx_part", "events_1", "id"))
    shop.execute("CREATE INDEX idx_all ON ONLY events (id)")
    shop.execute("ALTER INDEX idx_all ATTACH PARTITION idx_part")

    refuse(shop, manifest, "partitioned index", "drop public.idx_all instead")


def test_clustering_and_foreign_keys_of_the_table_are_worth_a_look(shop: TestDatabase) -> None:
    manifest = built(shop, INDEX)
    shop.execute("CREATE TABLE users AS SELECT g AS id FROM generate_series(0, 9) g")
    shop.execute("ALTER TABLE users ADD PRIMARY KEY (id)")
    shop.execute("ALTER TABLE messages ADD CONSTRAINT of_user FOREIGN KEY (sender_id) REFERENCES users")
    shop.execute("CLUSTER messages USING idx_sender")

    outcome = rollback(shop, manifest, DRY)

    warnings = [one for one in told(outcome) if one.verdict is Verdict.WARN]
    assert {one.criterion for one in warnings} >= {"supports foreign keys", "clustered"}
    assert "of_user" in finding(outcome, "supports foreign keys").found
    shop.execute("CREATE INDEX other ON messages (sender_id)")
    again = rollback(shop, manifest, DRY)
    assert "supports foreign keys" not in {one.criterion for one in told(again)}


def use(database: TestDatabase) -> int:
    """Scans the index and returns its scans, once the server counts them."""
    with database.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT count(*) FROM messages WHERE sender_id = 3 AND id = 13")

    def look() -> int | None:
        rows = database.execute("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'idx_sender'")
        return rows[0][0] or None

    return wait_for("a scan", look)


def test_an_index_that_is_still_used_is_worth_a_look(shop: TestDatabase) -> None:
    manifest = built(shop)
    scans = use(shop)

    found = finding(rollback(shop, manifest, DRY), "usage")

    assert (found.verdict, found.reason) == (Verdict.WARN, "still_used")
    assert f"{scans} scans since " in found.found
    assert exit_code(rollback(shop, manifest)) == 0
    assert indexes_of(shop) == {}


def test_what_the_manifest_does_not_declare_any_more_is_named(shop: TestDatabase) -> None:
    manifest = built(shop, INDEX, UNIQUE)

    outcome = rollback(shop, replace(manifest, indexes=(INDEX,)))

    found = finding(outcome, "declared")
    assert (found.verdict, found.subject) == (Verdict.WARN, "idx_unique")
    assert "CREATE UNIQUE INDEX idx_unique ON public.messages" in found.found
    assert indexes_of(shop) == {"idx_unique": True}


@pytest.mark.pg(">= 17")
def test_who_does_not_own_the_table_is_refused(shop: TestDatabase) -> None:
    manifest = built(shop)
    shop.execute("CREATE ROLE stranger LOGIN PASSWORD 'throw-away'")
    try:
        shop.execute("GRANT pg_read_all_data, pg_read_all_stats TO stranger")
        shop.execute("GRANT MAINTAIN ON messages TO stranger")
        outcome = roll_back(as_declared(shop, "stranger", "throw-away"), manifest, OPTIONS)
    finally:
        shop.execute("DROP OWNED BY stranger")
        shop.execute("DROP ROLE stranger")

    failed = [(one.criterion, one.hint) for one in told(outcome) if one.verdict is Verdict.FAIL]
    assert failed == [("ownership", "connect as a member of postgres")]
    assert indexes_of(shop) == {"idx_sender": True}


# Standbys


@pytest.fixture
def pair(own_server: OwnServer, own_standby: OwnServer) -> tuple[TestDatabase, TestDatabase]:
    """A primary and its standby with the tables of a shop."""
    primary = TestDatabase(own_server(), "postgres")
    primary.execute(
        "CREATE TABLE messages AS SELECT g AS id, g % 10 AS sender_id FROM generate_series(1, 1000) g"
    )
    standby = TestDatabase(own_standby(primary.server), "postgres")
    wait_for(
        "a standby that streams",
        lambda: primary.execute("SELECT 1 FROM pg_stat_replication WHERE replay_lsn IS NOT NULL") or None,
    )
    return primary, standby


def test_use_on_a_standby_is_known_where_the_settings_name_it(
    pair: tuple[TestDatabase, TestDatabase],
) -> None:
    primary, standby = pair
    manifest = built(primary)
    wait_for("the index on the standby", lambda: indexes_of(standby) or None)
    sibling = as_declared(standby)

    unasked = finding(rollback(primary, manifest, DRY), "usage on standbys")
    unused = finding(rollback(primary, manifest, DRY, [sibling]), "usage on standbys")
    use(standby)
    used = finding(rollback(primary, manifest, DRY, [sibling]), "usage on standbys")
    refused = rollback(standby, manifest)

    assert (unasked.verdict, unasked.reason) == (Verdict.UNKNOWN, "not_asked")
    assert "1 of 1 standbys" in unasked.found
    assert (unused.verdict, unused.reason) == (Verdict.PASS, "not_scanned")
    assert (used.verdict, used.reason) == (Verdict.WARN, "used_on_standby")
    assert "scans on database 'postgres' at" in used.found
    assert [one.reason for one in told(refused) if one.verdict is Verdict.FAIL] == ["standby"]
    outcome = rollback(primary, manifest, OPTIONS, [sibling])
    assert finding(outcome, "replay on standbys").verdict is Verdict.WARN
    assert finding(outcome, "absent").verdict is Verdict.PASS
    wait_for("the drop on the standby", lambda: (not indexes_of(standby)) or None)


# Stopped half-way


def degrade(shop: TestDatabase) -> Manifest:
    """An index that a drop left INVALID because a reader held it over its deadline."""
    manifest = built(shop)
    with reader(shop) as connection:
        pid = connection.info.backend_pid
        outcome = rollback(shop, manifest, IMPATIENT)
    (wait,) = outcome.results[0].waits
    assert (wait.phase, wait.pid) == ("waiting for sessions that use the table", pid)
    assert (wait.usename, wait.application_name) == ("postgres", "a reader")
    assert wait.seconds > 0
    assert outcome.wal_bytes is not None
    assert statuses(outcome.results)[0][2] is StepStatus.DEGRADED
    assert exit_code(outcome) == 3
    assert finding(outcome, "absent").verdict is Verdict.FAIL
    assert indexes_of(shop) == {"idx_sender": False}
    assert log_of(shop) == ("dropping", "degraded")
    with journal_of(shop) as journal:
        (entry,) = journal.created().values()
    assert entry.is_dropping
    return manifest


def state_of(shop: TestDatabase, manifest: Manifest) -> IndexState:
    with session(shop) as connection, journal_of(shop) as journal:
        (index,) = observe(connection, manifest, journal.created())
    return index.state


def test_a_degraded_index_is_said_and_the_exporters_page_shows_it_invalid(shop: TestDatabase) -> None:
    manifest = degrade(shop)

    assert state_of(shop, manifest) is IndexState.DEGRADED
    snapshot = collect_once(described(shop, INDEX))
    assert not index_row(snapshot, "idx_sender").indisvalid
    page = page_of([snapshot])
    # What DatabaseIndexInvalid fires on: declared, invalid, and nobody builds it.
    (line,) = [line for line in page.splitlines() if line.startswith("pg_index_valid{")]
    assert 'indexname="idx_sender"' in line
    assert line.endswith(" 0")
    assert [line for line in page.splitlines() if line.startswith("pg_index_declared{")]
    assert [line for line in page.splitlines() if line.startswith("pg_index_build_phase{")] == []


@pytest.mark.oldest_too
def test_the_next_rollback_finishes_the_drop(shop: TestDatabase) -> None:
    manifest = degrade(shop)

    outcome = rollback(shop, manifest)

    assert exit_code(outcome) == 0
    assert finding(outcome, "absent").verdict is Verdict.PASS
    assert (indexes_of(shop), log_of(shop)) == ({}, ("dropped", "done"))


@pytest.mark.oldest_too
def test_the_next_init_builds_a_degraded_index_anew(shop: TestDatabase) -> None:
    manifest = degrade(shop)

    outcome = initialise(as_declared(shop), manifest, OPTIONS)

    assert [status for _, _, status in statuses(outcome.results)] == [StepStatus.DONE] * 3
    assert indexes_of(shop) == {"idx_sender": True}
    assert state_of(shop, manifest) is IndexState.PRESENT
    assert exit_code(rollback(shop, manifest)) == 0


def test_a_drop_that_did_not_begin_leaves_the_index_valid(shop: TestDatabase) -> None:
    manifest = built(shop)
    with shop.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")
        outcome = rollback(shop, manifest, IMPATIENT)

    assert statuses(outcome.results)[0][2] is StepStatus.FAILED
    assert exit_code(outcome) == 1
    assert indexes_of(shop) == {"idx_sender": True}
    assert log_of(shop) == ("dropping", "failed")
    assert state_of(shop, manifest) is IndexState.PRESENT


# Runs that died


@pytest.fixture
def orphan(shop: TestDatabase) -> Iterator[tuple[Manifest, Callable[[], None]]]:
    """A drop that goes on in the server after its run died, and what lets it go on."""
    manifest = built(shop)
    with journal_of(shop, run="deadbeef") as journal:
        (observed,) = look_at(shop, manifest)
        journal.append(
            Phase.DROPPING,
            EventStatus.IN_PROGRESS,
            index_name="idx_sender",
            definition=observed.definition,
        )
    dsn = make_conninfo(shop.dsn, application_name=ORPHAN)
    with reader(shop) as connection, executing(dsn, DROP):
        waiting_drop(shop)

        def let_go() -> None:
            connection.execute("ROLLBACK")

        yield manifest, let_go


def test_a_drop_that_runs_is_neither_a_build_nor_a_leftover(
    shop: TestDatabase, orphan: tuple[Manifest, Callable[[], None]]
) -> None:
    manifest, let_go = orphan

    assert state_of(shop, manifest) is IndexState.DROPPING_OURS
    let_go()


@pytest.mark.parametrize("command", ["rollback", "init"])
def test_the_next_run_follows_the_drop_of_a_dead_one(
    shop: TestDatabase, orphan: tuple[Manifest, Callable[[], None]], command: str
) -> None:
    manifest, let_go = orphan
    notes: list[str] = []

    def on_event(event: object) -> None:
        text = getattr(event, "text", "")
        if "following" in text and not notes:
            notes.append(text)
            let_go()

    change = roll_back if command == "rollback" else initialise
    outcome = change(as_declared(shop), manifest, OPTIONS, on_event=on_event)

    assert len(notes) == 1
    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert indexes_of(shop) == ({} if command == "rollback" else {"idx_sender": True})


def test_a_drop_whose_end_nobody_saw_is_put_on_record_and_analyzed(shop: TestDatabase) -> None:
    manifest = built(shop)
    with journal_of(shop, run="deadbeef") as journal:
        journal.append(Phase.DROPPING, EventStatus.IN_PROGRESS, index_name="idx_sender")
    shop.execute("DROP INDEX idx_sender")

    outcome = rollback(shop, manifest)

    assert [kind.value for kind, _, _ in statuses(outcome.results)] == ["analyze"]
    assert log_of(shop) == ("dropped", "done")
    assert rollback(shop, manifest).plan.steps == ()


def test_a_terminated_drop_is_degraded(shop: TestDatabase) -> None:
    manifest = built(shop)

    def terminate() -> None:
        shop.execute("SELECT pg_terminate_backend(%s)", [waiting_drop(shop)])

    with reader(shop):
        thread = Thread(target=terminate)
        thread.start()
        outcome = rollback(shop, manifest)
        thread.join()

    assert statuses(outcome.results)[0][2] is StepStatus.DEGRADED
    assert outcome.results[0].sqlstate == "57P01"
    assert exit_code(outcome) == 3
