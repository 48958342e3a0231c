"""Indexes of partitioned tables: each leaf built like any other, attached when it is valid, dropped whole."""

import sys
import threading
import time
from dataclasses import replace

import pytest
from psycopg import sql

from exporter.errors import ManifestError
from exporter.migrate.assessment import Assessment
from exporter.migrate.events import Event, EventKind
from exporter.migrate.init import initialise
from exporter.migrate.options import RunOptions
from exporter.migrate.plan.steps import waves_of
from exporter.migrate.rollback.run import roll_back
from exporter.migrate.status import read_status
from exporter.migrate.verification import check_result
from exporter.model import (
    DeclaredIndex,
    IndexState,
    Manifest,
    ObservedIndex,
    Outcome,
    Probe,
    RelationName,
    StepKind,
    StepStatus,
    Verdict,
)
from exporter.postgres.journal import EventStatus, Phase
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import QUICK, Beside, Run, statuses
from tests.support.builds import (
    as_declared,
    indexes_of,
    journal_of,
    leave_invalid,
    look_at,
    reader,
    writer,
)
from tests.support.declared import declare, manifest_of
from tests.support.postgres_server import Connection
from tests.support.waiting import wait_for

DECLARED = declare("idx_events_sender", "events", "sender_id", "at DESC", where="sender_id > 0")
MANIFEST = manifest_of(DECLARED)
# Two levels: events > events_2024, events_2025 and archive.events_old > old_0, old_1.
TREE = (
    "CREATE SCHEMA archive",
    "CREATE TABLE events (id int, sender_id int, at date) PARTITION BY RANGE (at)",
    "CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    "CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    "CREATE TABLE archive.events_old PARTITION OF events FOR VALUES FROM ('2000-01-01') TO ('2024-01-01')"
    " PARTITION BY HASH (id)",
    "CREATE TABLE archive.old_0 PARTITION OF archive.events_old FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE archive.old_1 PARTITION OF archive.events_old FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "INSERT INTO events SELECT g, g % 10, date '2021-01-01' + g FROM generate_series(1, 1800) g",
)
LEAVES = 4
ATTACHED = """
    SELECT c.relname::text, p.relname::text, i.indisvalid
    FROM pg_inherits h
    JOIN pg_class c ON c.oid = h.inhrelid
    JOIN pg_class p ON p.oid = h.inhparent
    JOIN pg_index i ON i.indexrelid = c.oid
"""
ON_2024 = "CREATE {}INDEX {}{} ON events_2024 (sender_id, at DESC) WHERE sender_id > 0"


@pytest.fixture
def events(database: TestDatabase) -> TestDatabase:
    """A database with the partitioned table."""
    return planted(database)


def planted(database: TestDatabase) -> TestDatabase:
    for statement in TREE:
        database.execute(statement)
    return database


def init(
    database: TestDatabase,
    manifest: Manifest = MANIFEST,
    *,
    dry_run: bool = False,
    adopt_invalid: bool = False,
) -> Outcome:
    options = RunOptions(dry_run=dry_run, adopt_invalid=adopt_invalid)
    return initialise(as_declared(database), manifest, options)


def rollback(database: TestDatabase, manifest: Manifest = MANIFEST) -> Outcome:
    return roll_back(as_declared(database), manifest, RunOptions())


def stand(database: TestDatabase, manifest: Manifest = MANIFEST) -> ObservedIndex:
    (observed,) = look_at(database, manifest)
    return observed


def attached(database: TestDatabase) -> dict[str, str]:
    """Each attached index with the one above."""
    rows = database.execute(ATTACHED)
    assert all(is_valid for _, _, is_valid in rows)
    return {child: parent for child, parent, _ in rows}


def is_valid(database: TestDatabase, name: str) -> bool:
    """Whether the index is there and valid."""
    return indexes_of(database).get(name, False)


def kinds(outcome: Outcome) -> list[StepKind]:
    return [step.kind for step in outcome.plan.steps]


def of_kind(outcome: Outcome, kind: StepKind) -> list[str]:
    """The names of the indexes of all steps of that kind."""
    return [step.index.name for step in outcome.plan.steps if step.kind is kind and step.index]


# Well


def test_every_leaf_is_built_attached_and_the_whole_is_valid(every_database: TestDatabase) -> None:
    events = planted(every_database)

    outcome = init(events)

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    tree = attached(events)
    assert len(tree) == LEAVES + 1
    assert set(indexes_of(events).values()) == {True}
    assert stand(events).state is IndexState.PRESENT
    assert [finding.criterion for finding in outcome.findings if finding.verdict is Verdict.FAIL] == []
    log = dict(events.execute("SELECT index_name, phase || ' ' || status FROM migration_log"))
    assert log[DECLARED.name] == "done done"
    assert {log[child] for child in tree if child != "idx_events_sender_events_old"} <= {
        "attached done",
        "catalog_ok done",
    }

    again = init(events)

    assert (again.plan.steps, again.results) == ((), ())
    back = rollback(events)
    assert {result.status for result in back.results} == {StepStatus.DONE}
    assert indexes_of(events) == {}
    assert [one.verdict for one in back.findings if one.criterion == "absent"] == [Verdict.PASS]
    assert Verdict.FAIL not in {one.verdict for one in back.findings}
    assert kinds(init(events)) == kinds(outcome)


def test_the_plan_shows_every_step_with_its_lock(events: TestDatabase) -> None:
    plan = init(events, dry_run=True).plan

    assert [(step.kind.value, step.index.relation.quoted if step.index else "") for step in plan.steps] == [
        ("create_parent", "public.idx_events_sender"),
        ("create_parent", "archive.idx_events_sender_events_old_3e079502"),
        ("build", "archive.idx_events_sender_old_0_e25b58b8"),
        ("attach", "archive.idx_events_sender_old_0_e25b58b8"),
        ("build", "archive.idx_events_sender_old_1_3c9b0e74"),
        ("attach", "archive.idx_events_sender_old_1_3c9b0e74"),
        ("build", "public.idx_events_sender_events_2024"),
        ("attach", "public.idx_events_sender_events_2024"),
        ("build", "public.idx_events_sender_events_2025"),
        ("attach", "public.idx_events_sender_events_2025"),
        ("attach", "archive.idx_events_sender_events_old_3e079502"),
        ("analyze", ""),
    ]
    assert [step.lock.split(" ")[0] for step in plan.steps[:4]] == [
        "ShareLock",
        "ShareLock",
        "ShareUpdateExclusiveLock",
        "AccessExclusiveLock",
    ]
    assert [len(wave) for wave in waves_of(plan.steps)] == [2, LEAVES, 1, 1]
    assert indexes_of(events) == {}


def test_a_table_without_partitions_is_valid_at_once(database: TestDatabase) -> None:
    database.execute("CREATE TABLE events (id int, sender_id int, at date) PARTITION BY RANGE (at)")

    outcome = init(database)

    assert kinds(outcome) == [StepKind.CREATE_PARENT, StepKind.ANALYZE]
    assert stand(database).state is IndexState.PRESENT


@pytest.mark.parametrize("name", ['it\'s "odd"\n<b>', "ä" * 31, "100%(x)s"])
def test_strange_names_on_every_level(database: TestDatabase, name: str) -> None:
    table, leaf = sql.Identifier(name), sql.Identifier(f"{name[:25]}!")
    database.execute(sql.SQL("CREATE TABLE {} (id int) PARTITION BY LIST (id)").format(table))
    database.execute(sql.SQL("CREATE TABLE {} PARTITION OF {} DEFAULT").format(leaf, table))
    manifest = manifest_of(declare(f"{name[:30]}?", RelationName("public", name), "id"))

    outcome = init(database, manifest)

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert all(len(child.encode()) <= 63 for child in attached(database))
    assert stand(database, manifest).state is IndexState.PRESENT
    assert init(database, manifest).plan.steps == ()
    assert rollback(database, manifest).results
    assert indexes_of(database) == {}


def test_a_unique_index_with_the_partition_key(events: TestDatabase) -> None:
    unique = declare("idx_unique", "events", "id", "at", unique=True, include=("sender_id",))
    whole = manifest_of(unique)

    assert {result.status for result in init(events, whole).results} == {StepStatus.DONE}
    # The archive is partitioned by id too, so that every key has its partition's.
    assert is_valid(events, "idx_unique")


# What stood before


def test_an_equal_index_of_a_leaf_is_attached_and_not_built(events: TestDatabase) -> None:
    events.execute(ON_2024.format("", "", "by_hand"))

    outcome = init(events)

    assert len(of_kind(outcome, StepKind.BUILD)) == LEAVES - 1
    assert attached(events)["by_hand"] == "idx_events_sender"
    back = rollback(events)
    # It stood before and would go with the rest.
    assert [index.declared.name for index in back.plan.refused] == ["idx_events_sender"]
    assert "public.by_hand" in back.plan.refused[0].detail
    assert is_valid(events, "by_hand")


def test_an_equal_partitioned_index_covers_it(events: TestDatabase) -> None:
    events.execute("CREATE INDEX by_hand ON events (sender_id, at DESC) WHERE sender_id > 0")

    assert stand(events).state is IndexState.COVERED
    assert init(events).plan.steps == ()


def test_an_equal_index_of_a_partitioned_partition_is_attached_whole(events: TestDatabase) -> None:
    events.execute("CREATE INDEX by_hand ON archive.events_old (sender_id, at DESC) WHERE sender_id > 0")

    outcome = init(events)

    assert of_kind(outcome, StepKind.CREATE_PARENT) == ["idx_events_sender"]
    assert len(of_kind(outcome, StepKind.BUILD)) == 2
    assert attached(events)["by_hand"] == "idx_events_sender"
    assert is_valid(events, "idx_events_sender")


@pytest.mark.parametrize("nature", ["(id)", "USING hash (sender_id)", "USING brin (sender_id, at)"])
def test_a_name_that_is_taken_on_a_leaf_is_refused_whole(events: TestDatabase, nature: str) -> None:
    events.execute(f"CREATE INDEX idx_events_sender_events_2024 ON events_2024 {nature}")

    outcome = init(events)

    (refused,) = outcome.plan.refused
    assert refused.state is IndexState.CONFLICT
    assert "partition public.events_2024" in refused.detail
    assert list(indexes_of(events)) == ["idx_events_sender_events_2024"]


def test_what_a_stranger_began_is_left_alone_until_told_otherwise(events: TestDatabase) -> None:
    events.execute("CREATE INDEX idx_events_sender ON ONLY events (sender_id, at DESC) WHERE sender_id > 0")

    assert [index.state for index in init(events).plan.refused] == [IndexState.INVALID_FOREIGN]
    assert {result.status for result in init(events, adopt_invalid=True).results} == {StepStatus.DONE}
    assert is_valid(events, "idx_events_sender")


@pytest.mark.oldest_too
def test_an_invalid_child_that_somebody_attached_is_named_and_completed_after_its_repair(
    events: TestDatabase,
) -> None:
    leave_invalid(events, ON_2024.format("", "CONCURRENTLY ", "by_hand"), "events_2024")
    events.execute("CREATE INDEX idx_events_sender ON ONLY events (sender_id, at DESC) WHERE sender_id > 0")
    events.execute("ALTER INDEX idx_events_sender ATTACH PARTITION by_hand")

    (refused,) = init(events, adopt_invalid=True).plan.refused

    assert "REINDEX INDEX CONCURRENTLY public.by_hand" in refused.detail
    events.execute("REINDEX INDEX CONCURRENTLY by_hand")
    assert {result.status for result in init(events, adopt_invalid=True).results} == {StepStatus.DONE}
    assert is_valid(events, "idx_events_sender")


def test_to_attach_again_completes_what_lost_its_last_lacking_partition(events: TestDatabase) -> None:
    init(events)
    events.execute("CREATE INDEX twin ON ONLY events (id)")
    for table in ("events_2024", "events_2025", "archive.old_0", "archive.old_1"):
        events.execute(f"CREATE INDEX {table.rpartition('.')[2]}_twin ON {table} (id)")
    events.execute("CREATE INDEX old_twin ON ONLY archive.events_old (id)")
    for parent, child in (("archive.old_twin", "archive.old_0_twin"), ("twin", "events_2024_twin")):
        events.execute(f"ALTER INDEX {parent} ATTACH PARTITION {child}")
    events.execute("ALTER INDEX twin ATTACH PARTITION archive.old_twin")
    events.execute("ALTER TABLE events DETACH PARTITION events_2025")
    events.execute("ALTER TABLE archive.events_old DETACH PARTITION archive.old_1")
    manifest = manifest_of(declare("twin", "events", "id"))

    outcome = init(events, manifest, adopt_invalid=True)

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert is_valid(events, "twin")


def test_one_that_lost_all_its_partitions_half_way_wants_a_person(database: TestDatabase) -> None:
    database.execute("CREATE TABLE events (id int, sender_id int, at date) PARTITION BY RANGE (at)")
    database.execute("CREATE TABLE events_all PARTITION OF events DEFAULT")
    database.execute("CREATE INDEX idx_events_sender ON ONLY events (sender_id, at DESC) WHERE sender_id > 0")
    database.execute("DROP TABLE events_all")
    (observed,) = look_at(database, MANIFEST, "idx_events_sender")

    assert observed.state is IndexState.CONFLICT
    assert "has no partition that could make it valid" in observed.detail


# What changes meanwhile


class AfterPlan:
    """Runs statements when the plan is made, or when a step of a kind begins; each once."""

    def __init__(self, database: TestDatabase, *statements: str, when: StepKind | None = None) -> None:
        self._database, self._statements, self._when = database, list(statements), when
        self._lock = threading.Lock()

    def confirm(self, _situation: Assessment) -> bool:
        if self._when is None:
            self._run()
        return True

    def on_event(self, event: Event) -> None:
        if event.kind is EventKind.STARTED and event.step.kind is self._when:
            self._run()

    def _run(self) -> None:
        with self._lock:
            while self._statements:
                self._database.execute(self._statements.pop(0))

    def init(self, manifest: Manifest = MANIFEST) -> Outcome:
        return initialise(
            as_declared(self._database),
            manifest,
            RunOptions(),
            confirm=self.confirm,
            on_event=self.on_event,
        )


NEXT = "CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"


@pytest.mark.parametrize(
    "statements",
    [
        (NEXT,),
        (
            "CREATE TABLE events_2026 (LIKE events)",
            "ALTER TABLE events ATTACH PARTITION events_2026"
            " FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        ),
    ],
)
@pytest.mark.parametrize("when", [None, StepKind.BUILD, StepKind.ATTACH, StepKind.ANALYZE])
def test_a_partition_that_comes_meanwhile_has_the_index_too(
    events: TestDatabase, statements: tuple[str, ...], when: StepKind | None
) -> None:
    outcome = AfterPlan(events, *statements, when=when).init()

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert len(attached(events)) == LEAVES + 2
    assert is_valid(events, "idx_events_sender")
    assert init(events).plan.steps == ()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE events DETACH PARTITION events_2024",
        "ALTER TABLE events DETACH PARTITION events_2024 CONCURRENTLY",
        "DROP TABLE events_2024",
    ],
)
@pytest.mark.parametrize("when", [None, StepKind.BUILD])
def test_a_partition_that_goes_meanwhile_is_not_missed(
    events: TestDatabase, statement: str, when: StepKind | None
) -> None:
    outcome = AfterPlan(events, statement, when=when).init()

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert len(attached(events)) == LEAVES
    assert is_valid(events, "idx_events_sender")
    # One that was built before is told of.
    hints = [result.hint or "" for result in outcome.results]
    left = "idx_events_sender_events_2024" in indexes_of(events)
    assert any("idx_events_sender_events_2024" in hint for hint in hints) == left


# What fails


LEFT = 'CREATE UNIQUE INDEX "left" ON public.events_2025 USING btree (sender_id, at, id)'
TWINS = "INSERT INTO events VALUES (1, 1, '2025-05-05'), (1, 1, '2025-05-05')"
DUPLICATES = declare("idx_unique", "events", "sender_id", "at", "id", unique=True)


@pytest.mark.oldest_too
def test_a_child_that_fails_is_cleaned_up_and_the_next_run_goes_on(events: TestDatabase) -> None:
    manifest = manifest_of(DUPLICATES)

    outcome = AfterPlan(events, TWINS).init(manifest)

    failed = [result for result in outcome.results if result.status is StepStatus.FAILED]
    assert [(result.step.kind, result.sqlstate) for result in failed] == [(StepKind.BUILD, "23505")]
    observed = stand(events, manifest)
    assert observed.state is IndexState.INVALID_FOREIGN
    assert "idx_unique_events_2025" not in indexes_of(events)
    assert rows_inserted(events)
    events.execute("DELETE FROM events WHERE at = '2025-05-05'")

    again = init(events, manifest)

    assert {result.status for result in again.results} == {StepStatus.DONE}
    assert StepKind.CREATE_PARENT not in [
        result.step.kind for result in again.results if result.step.table == DUPLICATES.table
    ]
    assert is_valid(events, "idx_unique")


def rows_inserted(database: TestDatabase) -> bool:
    """That an INVALID index above rejects nothing."""
    database.execute("INSERT INTO events VALUES (7, 7, '2025-05-05')")
    return True


@pytest.mark.oldest_too
def attaching(database: TestDatabase) -> int | None:
    """The process that waits for the lock with which an index is attached."""
    rows = database.execute(
        """
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'ALTER INDEX%ATTACH%' AND wait_event_type = 'Lock'
        """
    )
    return rows[0][0] if rows else None


class ReaderOf2024:
    """Reads events_2024, and so holds its indexes, from the moment on at which one is to be attached."""

    def __init__(self, database: TestDatabase) -> None:
        self._database = database
        self.session: Connection | None = None

    def on_event(self, event: Event) -> None:
        is_attach = event.kind is EventKind.STARTED and event.step.kind is StepKind.ATTACH
        if is_attach and event.step.table.relname == "events_2024" and self.session is None:
            self.session = self._database.connect()
            self.session.execute("BEGIN")
            self.session.execute("SELECT count(*) FROM events_2024 WHERE sender_id = 1")

    def end(self) -> None:
        assert self.session is not None
        self.session.close()


@pytest.mark.oldest_too
def test_an_attach_whose_process_is_killed_is_tried_again(events: TestDatabase) -> None:
    reader_of_2024 = ReaderOf2024(events)
    options = replace(QUICK, lock_budget_seconds=60, retry_base_seconds=0.1)
    run = Run(events, MANIFEST, options, on_event=reader_of_2024.on_event)
    with Beside(run.init) as beside:
        run.wait_for("its word", lambda event: "other sessions hold the lock that it needs" in event.text)
        pid = wait_for("an attach that waits", lambda: attaching(events))
        events.execute("SELECT pg_terminate_backend(%s)", [pid])
        run.wait_for("the next attempt", lambda event: "attempt 1 failed" in event.text)
        reader_of_2024.end()
        results = beside.results()

    assert {result.status for result in results} == {StepStatus.DONE}
    (attach,) = [one for one in results if one.attempts > 1]
    assert attach.step.kind is StepKind.ATTACH
    assert is_valid(events, "idx_events_sender")
    assert len(attached(events)) == LEAVES + 1


def test_an_attach_that_cannot_have_its_lock_fails_clean_and_is_all_that_the_next_run_does(
    events: TestDatabase,
) -> None:
    reader_of_2024 = ReaderOf2024(events)
    # Longer than the other attach waits for the index above, which the attach that fails holds at times.
    options = replace(QUICK, lock_budget_seconds=3, max_attempts=1)
    results = Run(events, MANIFEST, options, on_event=reader_of_2024.on_event).init()
    reader_of_2024.end()

    failed = [one for one in results if one.status is StepStatus.FAILED]
    assert [(one.step.kind, one.step.table.relname) for one in failed] == [(StepKind.ATTACH, "events_2024")]
    assert failed[0].sqlstate == "55P03"
    assert is_valid(events, "idx_events_sender_events_2024")
    assert not is_valid(events, "idx_events_sender")

    again = init(events)

    assert {result.status for result in again.results} == {StepStatus.DONE}
    assert "idx_events_sender_events_2024" not in of_kind(again, StepKind.BUILD)
    assert is_valid(events, "idx_events_sender")


@pytest.mark.long
def test_two_hundred_partitions_are_built_eight_at_a_time(database: TestDatabase) -> None:
    database.execute("CREATE TABLE events (id int, sender_id int, at date) PARTITION BY HASH (id)")
    for number in range(200):
        partition = f"CREATE TABLE events_{number} PARTITION OF events FOR VALUES WITH"
        database.execute(f"{partition} (MODULUS 200, REMAINDER {number})")
    database.execute("INSERT INTO events SELECT g, g, '2025-01-01' FROM generate_series(1, 20000) g")
    started = time.monotonic()

    outcome = init(database)

    sys.stdout.write(f"200 partitions: {time.monotonic() - started:.1f} s\n")
    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert len(attached(database)) == 200
    assert is_valid(database, "idx_events_sender")


def test_an_invalid_leftover_on_a_leaf_is_rebuilt_by_the_next_run(events: TestDatabase) -> None:
    run = Run(events, MANIFEST, replace(QUICK, deadline_seconds=1, cleanup_budget_seconds=0.5))
    with writer(events, "events_2024"):
        ended = run.init()
    assert StepStatus.LEFT_BEHIND in {result.status for result in ended}
    left = [name for name, valid in indexes_of(events).items() if not valid]
    assert {"idx_events_sender", "idx_events_sender_events_2024_invalid_0badcafe"} <= set(left)

    outcome = init(events)

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert is_valid(events, "idx_events_sender")
    assert set(indexes_of(events).values()) == {True}


def test_a_rollback_of_a_half_built_one_drops_all_that_is_ours(events: TestDatabase) -> None:
    manifest = manifest_of(DUPLICATES)
    AfterPlan(events, TWINS).init(manifest)
    events.execute("DELETE FROM events WHERE at = '2025-05-05'")
    # Built, and stopped before it was attached.
    with journal_of(events) as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="left", definition=LEFT)
    events.execute(LEFT)

    outcome = rollback(events, manifest)

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert "DROP INDEX CONCURRENTLY" in outcome.plan.steps[0].sql
    assert indexes_of(events) == {}


# Locks


def test_the_whole_is_not_created_past_a_writer_but_waits_in_turns(events: TestDatabase) -> None:
    """A writer of the partitioned table holds it up; others write while it waits."""
    run = Run(events, MANIFEST, options=replace(QUICK, lock_budget_seconds=30))
    notes: list[str] = []
    waited = threading.Event()

    def on_event(event: Event) -> None:
        told = event.kind in (EventKind.NOTE, EventKind.WAIT)
        if told and event.step.kind is StepKind.CREATE_PARENT:
            notes.append(event.text)
            waited.set()

    run.on_event = on_event
    with events.connect() as connection, Beside(run.init) as beside:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO events VALUES (1, 1, '2025-05-05')")
        assert waited.wait(30)
        connection.execute("ROLLBACK")
        results = beside.results()

    assert {result.status for result in results} == {StepStatus.DONE}
    assert notes


def test_before_a_rollback_every_partition_is_asked_who_holds_it(events: TestDatabase) -> None:
    init(events)
    with reader(events, "events_2024"):
        outcome = roll_back(as_declared(events), MANIFEST, RunOptions(dry_run=True))

    told = {one.subject: one for one in outcome.preflight if one.criterion == "blockers"}
    assert {subject: one.verdict for subject, one in told.items()} == {
        "public.events": Verdict.PASS,
        "public.events_2024": Verdict.WARN,
        "public.events_2025": Verdict.PASS,
        "archive.events_old": Verdict.PASS,
        "archive.old_0": Verdict.PASS,
        "archive.old_1": Verdict.PASS,
    }
    assert "a reader, idle in transaction" in told["public.events_2024"].found
    assert "fails as a whole" in (told["public.events_2024"].hint or "")


def test_a_reader_holds_up_the_drop_which_gives_up_whole(events: TestDatabase) -> None:
    init(events)
    run = Run(events, MANIFEST, options=replace(QUICK, lock_budget_seconds=1))
    with events.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM events_2024")
        results = run.rollback()
        connection.execute("ROLLBACK")

    assert statuses(results)[0] == (StepKind.DROP_PARENT, "idx_events_sender", StepStatus.FAILED)
    assert results[0].sqlstate == "55P03"
    assert is_valid(events, "idx_events_sender")
    assert {result.status for result in rollback(events).results} == {StepStatus.DONE}


# Refused


@pytest.fixture
def foreign(events: TestDatabase) -> TestDatabase:
    """The partitioned table with one partition that is a foreign table."""
    events.execute("CREATE EXTENSION file_fdw")
    events.execute("CREATE SERVER files FOREIGN DATA WRAPPER file_fdw")
    events.execute(
        "CREATE FOREIGN TABLE events_2027 PARTITION OF events"
        " FOR VALUES FROM ('2027-01-01') TO ('2028-01-01') SERVER files OPTIONS (filename '/dev/null')"
    )
    return events


@pytest.mark.parametrize(
    ("index", "why"),
    [
        (DECLARED, "never becomes valid"),
        (
            declare("idx_u", "events", "at", "id", unique=True),
            "it makes a unique index of the whole impossible",
        ),
    ],
)
def test_a_foreign_partition_is_refused_with_the_reason(
    foreign: TestDatabase, index: DeclaredIndex, why: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        look_at(foreign, manifest_of(index))

    (fault,) = caught.value.faults
    assert "public.events_2027" in fault.what
    assert why in fault.what


def test_a_unique_index_without_the_partition_key_is_refused_by_the_server(events: TestDatabase) -> None:
    with pytest.raises(ManifestError, match="must include all partitioning columns"):
        look_at(events, manifest_of(declare("idx", "events", "id", unique=True)))


def test_partitions_of_others_are_refused_before_anything_is_touched(events: TestDatabase) -> None:
    role = sql.Identifier(f"{events.name}_builder")
    events.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'throw-away'").format(role))
    try:
        events.execute(sql.SQL("GRANT CREATE, USAGE ON SCHEMA public TO {}").format(role))
        events.execute(sql.SQL("ALTER TABLE events OWNER TO {}").format(role))
        database = as_declared(events, f"{events.name}_builder", "throw-away")
        outcome = initialise(database, MANIFEST, RunOptions())
    finally:
        events.execute("ALTER TABLE events OWNER TO CURRENT_USER")
        events.execute(sql.SQL("DROP OWNED BY {}").format(role))
        events.execute(sql.SQL("DROP ROLE {}").format(role))

    failed = {finding.subject for finding in outcome.preflight if finding.verdict is Verdict.FAIL}
    assert {"public.events_2024", "archive.old_0"} <= failed
    assert indexes_of(events) == {}


# Told


def test_verify_and_status_speak_of_partitions(events: TestDatabase) -> None:
    with journal_of(events) as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="idx_events_sender")
    events.execute("CREATE INDEX idx_events_sender ON ONLY events (sender_id, at DESC) WHERE sender_id > 0")

    status = read_status(as_declared(events), MANIFEST, RunOptions())
    outcome = check_result(as_declared(events), MANIFEST, RunOptions())

    (index,) = status.indexes
    assert index.observed.state is IndexState.INCOMPLETE
    assert "0 of 4 partitions attached, 4 without it" in index.observed.detail
    assert {finding.verdict for finding in outcome.findings} == {Verdict.FAIL}
    assert "0 of 4 partitions attached" in outcome.findings[0].found
    assert sorted((finding.subject, finding.reason) for finding in outcome.findings[1:]) == [
        ("public.idx_events_sender, partition archive.old_0", "absent"),
        ("public.idx_events_sender, partition archive.old_1", "absent"),
        ("public.idx_events_sender, partition public.events_2024", "absent"),
        ("public.idx_events_sender, partition public.events_2025", "absent"),
    ]


def test_verify_names_each_partition_that_lacks_its_index(events: TestDatabase) -> None:
    leave_invalid(events, ON_2024.format("", "CONCURRENTLY ", "by_hand"), "events_2024")
    events.execute("CREATE INDEX idx_events_sender ON ONLY events (sender_id, at DESC) WHERE sender_id > 0")
    events.execute("ALTER INDEX idx_events_sender ATTACH PARTITION by_hand")
    events.execute("CREATE INDEX alone ON events_2025 (sender_id, at DESC) WHERE sender_id > 0")

    outcome = check_result(as_declared(events), MANIFEST, RunOptions())

    told = {finding.subject.rpartition(" ")[2]: finding for finding in outcome.findings}
    assert {subject: finding.reason for subject, finding in told.items()} == {
        "public.idx_events_sender": "partition_lacking",
        "archive.old_0": "absent",
        "archive.old_1": "absent",
        "public.events_2024": "conflict",
        "public.events_2025": "not_attached",
    }
    assert "REINDEX INDEX CONCURRENTLY public.by_hand" in told["public.events_2024"].found
    assert told["public.events_2025"].found == "public.alone is valid but not attached"


def test_sizes_and_probes_are_those_of_all_partitions(events: TestDatabase) -> None:
    events.execute(
        "INSERT INTO events SELECT g, g, date '2024-01-01' + g % 700 FROM generate_series(1, 20000) g"
    )
    probe = Probe(
        "by_sender",
        "SELECT id FROM events WHERE sender_id = %(sender_id)s AND sender_id > 0 ORDER BY at DESC LIMIT 5",
        "SELECT sender_id FROM events WHERE sender_id > 1000 LIMIT 3",
        None,
    )
    manifest = manifest_of(replace(DECLARED, max_size_ratio=0.9, probes=(probe,)), analyze=("events",))

    outcome = init(events, manifest)

    (facts,) = outcome.facts
    [(index_bytes, table_bytes)] = events.execute(
        """
        SELECT (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('idx_events_sender')),
            (SELECT sum(pg_table_size(relid)) FROM pg_partition_tree('events'))
        """
    )
    assert (facts.size_bytes, facts.table_size_bytes) == (index_bytes, table_bytes)
    verdicts = {finding.criterion: finding.verdict for finding in outcome.findings}
    assert {verdicts[name] for name in ("partitions", "size", "plan uses the index")} == {Verdict.PASS}
    (after,) = outcome.after
    assert after.samples_using_index == after.samples == 3
