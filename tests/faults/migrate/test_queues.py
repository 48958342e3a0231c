"""What queues behind a build of a role that may not set deadlock_timeout makes the server end the build.

It is cleaned up and tried again. Who may set it is spared that by a policy: see the tests of the watcher.
"""

from collections.abc import Iterator
from dataclasses import replace
from threading import Thread

import pytest
from psycopg import sql

from exporter.model import Database, StepStatus
from tests.conftest import TestDatabase
from tests.faults.migrate.test_server_faults import BUILT, ONE, PATIENT
from tests.postgres.migrate.running import Beside, Run
from tests.support.builds import as_declared, indexes_of, waiting_build, writer
from tests.support.waiting import wait_for

# Not a moment later: the second attempt is to meet nobody in the queue.
OPTIONS = replace(PATIENT, retry_base_seconds=0.5)


@pytest.fixture
def declared(shop: TestDatabase) -> Iterator[Database]:
    """The database as a role sees it that owns the table and no more."""
    shop.execute("CREATE ROLE builder LOGIN PASSWORD 'throw-away'")
    shop.execute("GRANT CREATE ON SCHEMA public TO builder")
    shop.execute("ALTER TABLE messages OWNER TO builder")
    yield as_declared(shop, "builder", "throw-away")
    shop.execute("DROP OWNED BY builder CASCADE")
    shop.execute("DROP ROLE builder")


@pytest.mark.parametrize(
    ("statement", "further"),
    [
        ("ANALYZE messages", {}),
        ("ALTER TABLE messages ADD COLUMN more int", {}),
        ("CREATE INDEX CONCURRENTLY idx_theirs ON messages (id)", {"idx_theirs": True}),
        ("VACUUM messages", {}),
    ],
    ids=["ANALYZE", "ALTER TABLE", "CREATE INDEX", "VACUUM"],
)
def test_a_build_that_others_queue_behind_ends_well(
    shop: TestDatabase, declared: Database, statement: str, further: dict[str, bool]
) -> None:
    # Who has waited so long is not looked at again: the build that comes to wait for it is the waiter.
    shop.execute(sql.SQL("ALTER DATABASE {} SET deadlock_timeout = '10ms'").format(sql.Identifier(shop.name)))
    run = Run(shop, ONE, options=OPTIONS, declared=declared)
    with shop.connect() as other, writer(shop) as open_transaction, Beside(run.init) as beside:
        waiting_build(shop)
        queued = Thread(target=other.execute, args=[statement])
        queued.start()
        wait_for("the queue", lambda: is_waiting(shop, other.info.backend_pid) or None)
        open_transaction.execute("ROLLBACK")
        results = beside.results()
        queued.join()

    assert {result.status for result in results} == {StepStatus.DONE}, results
    # VACUUM holds no snapshot: a build need not wait for it.
    assert results[0].attempts == (1 if statement.startswith("VACUUM") else 2)
    assert indexes_of(shop) == BUILT | further


def is_waiting(database: TestDatabase, pid: int) -> bool:
    """True when it has waited for longer than the deadlock_timeout."""
    query = (
        "SELECT FROM pg_locks WHERE pid = %s AND NOT granted "
        "AND waitstart < clock_timestamp() - interval '50 milliseconds'"
    )
    return database.execute(query, [pid]) != []
