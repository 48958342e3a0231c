"""The commands of the change line end to end, against the small Nova database."""

from dataclasses import replace

import pytest
from psycopg import sql

from exporter import bundled
from exporter.errors import ExporterError, SettingsError, TargetTimedOut
from exporter.manifest.loader import load_manifest
from exporter.migrate.assessment import Assessment
from exporter.migrate.events import Event, EventKind
from exporter.migrate.init import initialise
from exporter.migrate.options import BuildOptions, RunOptions, StepOptions
from exporter.migrate.plan.psql_script import only_manifest
from exporter.migrate.report import exit_code
from exporter.migrate.rollback.run import roll_back
from exporter.migrate.verification import check_result
from exporter.model import IndexState, Manifest, Outcome, StepKind, StepStatus, Verdict
from exporter.postgres.journal import EventStatus, Phase
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import statuses
from tests.support.builds import as_declared, indexes_of, journal_of
from tests.support.declared import declare, manifest_of

MIGRATION = "090_quick_win_4_missing_indexes"
OPTIONS = RunOptions(
    probe_budget_seconds=5,
    build=BuildOptions(steps=StepOptions(lock_budget_seconds=1, cleanup_budget_seconds=10, poll_seconds=0.1)),
)
NAMES = {"idx_messages_sender_created", "idx_posts_user_created"}
BUILT = dict.fromkeys(NAMES, True)
Log = dict[str | None, tuple[str, str]]


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """The bundled one."""
    return load_manifest(bundled.path("indexes") / f"{MIGRATION}.yaml")


def init(
    database: TestDatabase, manifest: Manifest, options: RunOptions = OPTIONS, *, go_on: bool = True
) -> Outcome:
    return initialise(as_declared(database), manifest, options, confirm=lambda _: go_on)


def rollback(database: TestDatabase, manifest: Manifest, options: RunOptions = OPTIONS) -> Outcome:
    return roll_back(as_declared(database), manifest, options)


def log_of(database: TestDatabase) -> Log:
    """Phase and status of each index, of the migration under None."""
    rows = database.execute("SELECT index_name, phase, status FROM migration_log")
    return {name: (phase, status) for name, phase, status in rows}


def has_journal(database: TestDatabase) -> bool:
    return bool(database.execute("SELECT FROM pg_class WHERE relname LIKE 'migration_%'"))


def not_passed(outcome: Outcome) -> list[tuple[str, str, Verdict]]:
    """What did not pass, and it was not for the size of the small tables or a busy machine."""
    return [
        (one.criterion, one.subject, one.verdict)
        for one in outcome.findings
        if one.verdict is not Verdict.PASS and not one.criterion.startswith("time")
    ]


# init


def test_init_builds_verifies_and_keeps_a_journal(nova_database: TestDatabase, manifest: Manifest) -> None:
    outcome = init(nova_database, manifest)

    assert statuses(outcome.results) == [
        (StepKind.BUILD, "idx_messages_sender_created", StepStatus.DONE),
        (StepKind.ANALYZE, "messages", StepStatus.DONE),
        (StepKind.BUILD, "idx_posts_user_created", StepStatus.DONE),
        (StepKind.ANALYZE, "posts", StepStatus.DONE),
        (StepKind.ANALYZE, "user_feed_preferences", StepStatus.DONE),
        (StepKind.ANALYZE, "users", StepStatus.DONE),
    ]
    assert indexes_of(nova_database) == BUILT
    assert not_passed(outcome) == []
    assert {facts.observed.state for facts in outcome.facts} == {IndexState.PRESENT}
    assert {one.samples_using_index for one in outcome.before} == {0}
    assert all(one.samples_using_index == one.samples > 0 for one in outcome.after)
    assert log_of(nova_database) == dict.fromkeys((None, *NAMES), ("done", "done"))
    assert outcome.started_at <= outcome.finished_at


def test_a_second_init_does_nothing_and_compares_with_the_first_baseline(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    first = init(nova_database, manifest)
    events = nova_database.execute("SELECT count(*) FROM migration_events")

    second = init(nova_database, manifest, go_on=False)

    assert second.plan.steps == ()
    assert not second.dry_run
    assert [index.state for index in second.plan.settled] == [IndexState.PRESENT] * 2
    assert second.before == first.before
    assert not_passed(second) == []
    assert nova_database.execute("SELECT count(*) FROM migration_events") == events


def test_an_index_that_is_declared_later_is_measured_before_its_build(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    messages, _ = manifest.indexes
    first = init(nova_database, replace(manifest, indexes=(messages,)))

    second = init(nova_database, manifest)

    assert second.before[: len(first.before)] == first.before
    assert {one.index_name for one in second.before} == NAMES
    assert {one.samples_using_index for one in second.before} == {0}
    assert not_passed(second) == []


def test_what_was_rolled_back_is_measured_anew(nova_database: TestDatabase, manifest: Manifest) -> None:
    init(nova_database, manifest)
    rollback(nova_database, manifest)
    # Figures of then do not tell of a table that is empty now.
    nova_database.execute("TRUNCATE messages")

    (messages, posts) = init(nova_database, manifest).before

    assert (messages.samples, messages.reason) == (0, "no_sample")
    assert posts.samples_using_index == 0 < posts.samples


def test_a_run_that_goes_on_with_another_keeps_its_figures(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    first = init(nova_database, manifest)
    # As kill -9 in mid-build leaves it: INVALID, and the journal knows of the beginning only.
    nova_database.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_posts_user_created'::regclass"
    )
    nova_database.execute(
        "DELETE FROM migration_events WHERE index_name = 'idx_posts_user_created' AND phase <> 'building'"
    )

    again = init(nova_database, manifest)

    assert indexes_of(nova_database) == BUILT
    assert again.before == first.before


def test_a_dry_run_touches_nothing(nova_database: TestDatabase, manifest: Manifest) -> None:
    outcome = init(nova_database, manifest, replace(OPTIONS, dry_run=True))

    assert outcome.dry_run
    assert len(outcome.plan.steps) == 6
    assert (outcome.results, exit_code(outcome)) == ((), 0)
    assert indexes_of(nova_database) == {}
    assert not has_journal(nova_database)


def test_who_locks_a_table_is_named_and_nothing_is_touched(
    nova_database: TestDatabase, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.postgres.relations.tables.LOCK_TIMEOUT_MILLISECONDS", "100")
    with nova_database.connect() as stranger:
        stranger.execute("BEGIN")
        stranger.execute("LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TargetTimedOut, match=rf"public\.posts by pid {stranger.info.backend_pid}"):
            init(nova_database, manifest)

    assert indexes_of(nova_database) == {}
    assert not has_journal(nova_database)


def test_who_is_asked_sees_the_plan_and_may_decline(nova_database: TestDatabase, manifest: Manifest) -> None:
    asked: list[Assessment] = []

    def decline(situation: Assessment) -> bool:
        asked.append(situation)
        return False

    outcome = initialise(as_declared(nova_database), manifest, OPTIONS, confirm=decline)

    assert [situation.plan for situation in asked] == [outcome.plan]
    assert outcome.dry_run
    assert not has_journal(nova_database)


def test_a_failed_preflight_touches_nothing(nova_database: TestDatabase, manifest: Manifest) -> None:
    nova_database.execute("CREATE ROLE stranger LOGIN PASSWORD 'throw-away'")
    try:
        database = as_declared(nova_database, "stranger", "throw-away")
        outcome = initialise(database, manifest, OPTIONS)
    finally:
        nova_database.execute("DROP ROLE stranger")

    failed = {one.criterion for one in outcome.preflight if one.verdict is Verdict.FAIL}
    assert {"ownership", "may analyze"} <= failed
    assert (outcome.plan.steps, exit_code(outcome)) == ((), 1)
    assert not has_journal(nova_database)


def make_row_too_big(database: TestDatabase) -> None:
    """Gives one message a content that no b-tree takes, which no preflight can tell beforehand."""
    database.execute(
        """
        UPDATE messages SET content = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 2000) g)
        WHERE id = (SELECT min(id::text)::uuid FROM messages)
        """
    )


def test_a_failed_build_ends_the_run_and_the_journal_says_why(nova_database: TestDatabase) -> None:
    make_row_too_big(nova_database)
    outcome = init(nova_database, manifest_of(declare("idx_big", "messages", "content")))

    assert [result.status for result in outcome.results] == [StepStatus.FAILED, StepStatus.SKIPPED]
    assert exit_code(outcome) == 1
    assert log_of(nova_database) == {None: ("building", "failed"), "idx_big": ("building", "failed")}
    ((detail,),) = nova_database.execute("SELECT detail FROM migration_log WHERE index_name IS NULL")
    assert [message[:9] for message in detail["messages"]] == ["index row"]
    assert indexes_of(nova_database) == {}


def test_what_needs_a_person_does_not_keep_the_rest_from_being_built(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    nova_database.execute("CREATE INDEX idx_posts_user_created ON posts (user_id)")

    outcome = init(nova_database, manifest)

    assert [index.state for index in outcome.plan.refused] == [IndexState.CONFLICT]
    assert exit_code(outcome) == 4
    assert indexes_of(nova_database) == BUILT
    assert log_of(nova_database) == {
        None: ("done", "failed"),
        "idx_messages_sender_created": ("done", "done"),
        "idx_posts_user_created": ("done", "failed"),
    }


def test_definitions_of_indexes_that_stood_before_are_remembered(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    for index in manifest.indexes:
        columns = ", ".join(index.columns)
        statement = f"CREATE INDEX {index.name} ON {index.table.relname} ({columns}) WHERE {index.where}"
        nova_database.execute(statement)

    outcome = init(nova_database, manifest, go_on=False)

    assert outcome.plan.steps == ()
    assert log_of(nova_database) == dict.fromkeys(NAMES, ("reconciled", "done"))
    kept = nova_database.execute("SELECT definition FROM migration_log ORDER BY definition")
    assert kept == nova_database.execute(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indexrelid::regclass::text ~ '^idx_' ORDER BY 1"
    )
    assert rollback(nova_database, manifest).plan.steps == ()
    assert indexes_of(nova_database) == BUILT


def test_a_build_that_ended_unseen_is_analyzed_and_verified_by_the_next_run(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    init(nova_database, manifest)
    rollback(nova_database, manifest)
    with journal_of(nova_database, MIGRATION, "deadbeef") as journal:
        for name in NAMES:
            journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name=name)
    for index in manifest.indexes:
        columns = ", ".join(index.columns)
        statement = f"CREATE INDEX {index.name} ON {index.table.relname} ({columns}) WHERE {index.where}"
        nova_database.execute(statement)

    outcome = init(nova_database, manifest)

    assert {step.kind for step in outcome.plan.steps} == {StepKind.ANALYZE}
    assert len(outcome.plan.steps) == 4
    assert log_of(nova_database) == dict.fromkeys((None, *NAMES), ("done", "done"))
    assert init(nova_database, manifest).plan.steps == ()


def test_one_index_that_fails_a_criterion_does_not_blame_the_other(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    messages, posts = manifest.indexes
    strict = replace(manifest, indexes=(replace(messages, max_size_ratio=0.0001), posts))

    outcome = init(nova_database, strict)

    assert exit_code(outcome) == 1
    assert log_of(nova_database) == {
        None: ("done", "failed"),
        "idx_messages_sender_created": ("done", "failed"),
        "idx_posts_user_created": ("done", "done"),
    }


def test_the_journal_may_live_in_a_schema_of_its_own(nova_database: TestDatabase, manifest: Manifest) -> None:
    nova_database.execute("CREATE SCHEMA audit")
    options = replace(OPTIONS, journal_schema="audit")

    init(nova_database, manifest, options)

    assert nova_database.execute("SELECT count(*) FROM audit.migration_log") == [(3,)]
    assert init(nova_database, manifest, options).plan.steps == ()


# verify


def test_verify_says_what_is_missing_and_changes_nothing(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    outcome = check_result(as_declared(nova_database), manifest, OPTIONS)

    assert exit_code(outcome) == 1
    assert [(one.criterion, one.reason) for one in outcome.findings if one.verdict is Verdict.FAIL] == [
        ("exists", "absent")
    ] * 2
    assert not has_journal(nova_database)


def test_verify_after_init_compares_with_its_baseline(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    built = init(nova_database, manifest)

    outcome = check_result(as_declared(nova_database), manifest, OPTIONS)

    assert not_passed(outcome) == []
    assert outcome.before == built.before


# rollback


def test_rollback_drops_what_init_built_and_init_can_build_it_again(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    init(nova_database, manifest)

    outcome = rollback(nova_database, manifest)

    assert indexes_of(nova_database) == {}
    assert [(one.subject, one.verdict) for one in outcome.findings if one.criterion == "absent"] == [
        ("public.idx_messages_sender_created", Verdict.PASS),
        ("public.idx_posts_user_created", Verdict.PASS),
    ]
    assert Verdict.FAIL not in {one.verdict for one in outcome.findings}
    assert log_of(nova_database) == dict.fromkeys((None, *NAMES), ("dropped", "done"))

    nothing = rollback(nova_database, manifest)
    assert (nothing.plan.steps, exit_code(nothing)) == ((), 0)

    again = init(nova_database, manifest)
    assert indexes_of(nova_database) == BUILT
    assert {one.samples_using_index for one in again.before} == {0}


def test_rollback_without_a_journal_knows_of_nothing(nova_database: TestDatabase, manifest: Manifest) -> None:
    with pytest.raises(SettingsError, match="no journal in schema public"):
        rollback(nova_database, manifest)


def test_rollback_as_a_dry_run_drops_nothing(nova_database: TestDatabase, manifest: Manifest) -> None:
    init(nova_database, manifest)

    outcome = rollback(nova_database, manifest, replace(OPTIONS, dry_run=True))

    assert outcome.dry_run
    assert indexes_of(nova_database) == BUILT


def test_rollback_leaves_alone_what_was_redefined(nova_database: TestDatabase, manifest: Manifest) -> None:
    init(nova_database, manifest)
    nova_database.execute("DROP INDEX idx_posts_user_created")
    nova_database.execute("CREATE INDEX idx_posts_user_created ON posts (user_id)")

    outcome = rollback(nova_database, manifest)

    assert exit_code(outcome) == 4
    assert indexes_of(nova_database) == {"idx_posts_user_created": True}


def test_rollback_leaves_alone_what_another_manifest_of_that_name_declares(
    nova_database: TestDatabase, manifest: Manifest
) -> None:
    init(nova_database, manifest)
    messages, posts = manifest.indexes
    changed = replace(manifest, indexes=(messages, replace(posts, columns=("user_id",))))

    rollback(nova_database, changed)

    assert indexes_of(nova_database) == {"idx_posts_user_created": True}


def test_rollback_follows_an_index_that_was_rebuilt(nova_database: TestDatabase, manifest: Manifest) -> None:
    init(nova_database, manifest)
    nova_database.execute("REINDEX INDEX CONCURRENTLY idx_posts_user_created")

    rollback(nova_database, manifest)

    assert indexes_of(nova_database) == {}


def test_init_rebuilds_what_somebody_dropped(nova_database: TestDatabase, manifest: Manifest) -> None:
    init(nova_database, manifest)
    nova_database.execute("DROP INDEX idx_posts_user_created")

    outcome = init(nova_database, manifest)

    built = [name for kind, name, _ in statuses(outcome.results) if kind is StepKind.BUILD]
    assert built == ["idx_posts_user_created"]
    assert indexes_of(nova_database) == BUILT


# Which migration


def test_what_is_wrong_after_the_build_is_no_usage_error(database: TestDatabase) -> None:
    database.execute("CREATE TABLE events (id int) PARTITION BY RANGE (id)")
    database.execute("CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)")
    index = declare("idx_event", "events", "id")

    def spoil_journal(event: Event) -> None:
        if event.kind is EventKind.FINISHED and event.step.kind is StepKind.ANALYZE:
            database.execute("DROP VIEW migration_log")

    with pytest.raises(ExporterError, match="migration_log is missing") as caught:
        initialise(as_declared(database), manifest_of(index, analyze=()), OPTIONS, on_event=spoil_journal)

    assert caught.value.exit_code == 1
    assert indexes_of(database)["idx_event"]


def test_the_only_manifest_needs_no_name() -> None:
    one, other = manifest_of(migration="001"), manifest_of(migration="002")

    assert only_manifest([one], None) is one
    assert only_manifest([one, other], "002") is other
    with pytest.raises(SettingsError, match="001, 002"):
        only_manifest([one, other], None)
    with pytest.raises(SettingsError, match="bound to this database: none"):
        only_manifest([], "001")


def test_names_that_mean_something_to_sql_and_to_psycopg(nova_database: TestDatabase) -> None:
    schemaname, relname = 'odd "schema" %s', "it's 100% {odd}\n:x"
    for statement in ("CREATE SCHEMA {schema}", "CREATE TABLE {schema}.{table} AS SELECT * FROM messages"):
        names = {"schema": sql.Identifier(schemaname), "table": sql.Identifier(relname)}
        nova_database.execute(sql.SQL(statement).format(**names))
    index = declare('idx "%(x)s" {} \\', "messages", "sender_id")
    odd = replace(index, table=replace(index.table, schemaname=schemaname, relname=relname))
    manifest = manifest_of(odd)

    outcome = init(nova_database, manifest, replace(OPTIONS, journal_schema=schemaname))

    assert {result.status for result in outcome.results} == {StepStatus.DONE}
    assert indexes_of(nova_database) == {odd.name: True}
    rollback(nova_database, manifest, replace(OPTIONS, journal_schema=schemaname))
    assert indexes_of(nova_database) == {}
