"""What stands in a build's way in the database itself: names, limits, rights, a disk that is full."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from exporter.migrate.events import Event, EventKind
from exporter.model import IndexState, OnFailure, StepStatus
from tests.conftest import TestDatabase
from tests.faults.migrate.test_server_faults import PATIENT, POST, SENDER
from tests.postgres.migrate.running import Run
from tests.support.builds import as_declared, held_build, indexes_of, leave_invalid
from tests.support.declared import declare, manifest_of
from tests.support.volumes import mounted

CONTENT = declare("idx_content", "messages", "content")
CONCURRENTLY = (
    "CREATE INDEX CONCURRENTLY idx_sender ON messages (sender_id, created_at DESC) WHERE deleted_at IS NULL"
)
ROWS = 20_000


def make_larger(database: TestDatabase) -> None:
    """Adds rows, so that an index on content takes more than a megabyte."""
    database.execute(
        "INSERT INTO messages SELECT id + g * 1000, sender_id, md5(g::text || id), status, created_at "
        "FROM messages, generate_series(1, %s) g",
        [ROWS // 1000],
    )


def test_names_that_are_taken_are_refused_and_nothing_is_dropped(shop: TestDatabase) -> None:
    shop.execute("CREATE TABLE idx_sender (id int)")
    shop.execute("CREATE INDEX idx_content ON posts (content)")
    shop.execute("CREATE INDEX idx_post ON posts (id)")
    before = shop.execute("SELECT oid, relname, relkind FROM pg_class WHERE relname LIKE 'idx_%' ORDER BY 1")
    run = Run(shop, manifest_of(SENDER, CONTENT, POST), options=PATIENT)

    assert run.init() == ()

    assert run.plan is not None
    assert [(index.state, index.detail) for index in run.plan.refused] == [
        (IndexState.CONFLICT, "public.idx_sender is a table"),
        (IndexState.CONFLICT, "public.idx_content is an index of public.posts"),
        (IndexState.CONFLICT, "the index of that name has another definition"),
    ]
    query = "SELECT oid, relname, relkind FROM pg_class WHERE relname LIKE 'idx_%' ORDER BY 1"
    assert shop.execute(query) == before


def test_a_name_that_is_taken_between_plan_and_build_fails_clean(shop: TestDatabase) -> None:
    def take_the_name(event: Event) -> None:
        if event.kind is EventKind.STARTED and event.step.index == SENDER:
            shop.execute("CREATE INDEX idx_sender ON messages (id)")

    run = Run(shop, manifest_of(SENDER), options=PATIENT, on_event=take_the_name)
    results = run.init()

    assert results[0].status is StepStatus.HALTED
    assert results[0].message == "the index of that name has another definition"
    assert indexes_of(shop) == {"idx_sender": True}


def test_a_strangers_live_build_is_neither_followed_nor_dropped(shop: TestDatabase) -> None:
    run = Run(shop, manifest_of(SENDER), options=PATIENT)
    with held_build(shop, CONCURRENTLY, "psql") as pid:
        assert run.init() == ()
        assert shop.execute("SELECT true FROM pg_stat_activity WHERE pid = %s AND state = 'active'", [pid])

    assert run.plan is not None
    assert [index.state for index in run.plan.refused] == [IndexState.BUILDING_FOREIGN]


def test_a_strangers_leftover_is_named_and_kept(shop: TestDatabase) -> None:
    leave_invalid(shop, CONCURRENTLY)
    run = Run(shop, manifest_of(SENDER), options=PATIENT)

    assert run.init() == ()

    assert run.plan is not None
    assert [index.state for index in run.plan.refused] == [IndexState.INVALID_FOREIGN]
    assert indexes_of(shop) == {"idx_sender": False}


def test_a_row_that_is_too_big_fails_clean(shop: TestDatabase) -> None:
    shop.execute(
        "UPDATE messages SET content = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 400) g) "
        "WHERE id = 1"
    )
    results = Run(shop, manifest_of(CONTENT), options=PATIENT).init()

    assert (results[0].status, results[0].sqlstate, results[0].attempts) == (StepStatus.FAILED, "54000", 1)
    assert "md5" in (results[0].hint or "")
    assert indexes_of(shop) == {}


def test_the_limit_of_temporary_files_halts_the_run_whatever_its_policy(shop: TestDatabase) -> None:
    make_larger(shop)
    settings = {
        "temp_file_limit": "64kB",
        "maintenance_work_mem": "1MB",
        "max_parallel_maintenance_workers": "0",
    }
    for setting, value in settings.items():
        shop.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(shop.name), sql.Identifier(setting), sql.Literal(value)
            )
        )
    shop.execute(
        sql.SQL("ALTER DATABASE {} SET max_parallel_maintenance_workers = 0").format(
            sql.Identifier(shop.name)
        )
    )
    run = Run(
        shop, manifest_of(CONTENT, POST), options=PATIENT, sequential=True, on_failure=OnFailure.CONTINUE
    )
    results = run.init()

    assert (results[0].status, results[0].sqlstate) == (StepStatus.HALTED, "53400")
    assert "temp_file_limit" in (results[0].hint or "")
    # The others would meet the same.
    assert {result.status for result in results[1:]} == {StepStatus.SKIPPED}
    assert indexes_of(shop) == {}


@pytest.fixture
def full_volume(shop: TestDatabase) -> Iterator[str]:
    """The name of a tablespace on a volume of half a megabyte."""
    name = f"small_{shop.name}"
    with mounted("512k") as place:
        shop.execute(
            sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(name), sql.Literal(str(place)))
        )
        yield name
        shop.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name)))


def test_a_full_disk_halts_the_run_and_leaves_nothing(shop: TestDatabase, full_volume: str) -> None:
    make_larger(shop)
    index = declare("idx_content", "messages", "content", tablespace=full_volume)
    results = Run(shop, manifest_of(index), options=PATIENT).init()

    assert (results[0].status, results[0].sqlstate) == (StepStatus.HALTED, "53100")
    assert "free space" in (results[0].hint or "")
    assert indexes_of(shop) == {}


@pytest.mark.parametrize(
    "loss",
    [
        "ALTER TABLE posts OWNER TO postgres",
        "REVOKE CREATE ON SCHEMA public FROM public, builder",
        "REVOKE TEMPORARY ON DATABASE {} FROM public, builder",
    ],
    ids=["ownership", "create", "temporary"],
)
def test_a_right_that_is_lost_after_the_plan_fails_clean(shop: TestDatabase, loss: str) -> None:
    shop.execute("CREATE ROLE builder LOGIN PASSWORD 'throw-away'")
    shop.execute("GRANT CREATE ON SCHEMA public TO builder")
    shop.execute("ALTER TABLE posts OWNER TO builder")

    def take_it_away(event: Event) -> None:
        if event.kind is EventKind.STARTED and event.step.index == POST:
            shop.execute(sql.SQL(loss).format(sql.Identifier(shop.name)))

    declared = as_declared(shop, "builder", "throw-away")
    results = Run(shop, manifest_of(POST), options=PATIENT, declared=declared, on_event=take_it_away).init()

    assert (results[0].status, results[0].sqlstate, results[0].attempts) == (StepStatus.FAILED, "42501", 1)
    assert indexes_of(shop) == {}
    shop.execute("DROP OWNED BY builder CASCADE")
    shop.execute("DROP ROLE builder")
