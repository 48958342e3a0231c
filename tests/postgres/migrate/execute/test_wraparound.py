"""An autovacuum against wraparound, which does not give way to a build: named, waited for, never ended."""

from dataclasses import replace

from exporter.migrate.options import BlockerPolicy, Patterns, WaiterPolicy
from exporter.model import StepStatus
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.migrate.execute.test_watch import AT_ONCE, ONE, actions_of, is_alive, notes_of
from tests.postgres.migrate.running import QUICK, Run
from tests.support.builds import fill_shop, indexes_of
from tests.support.waiting import wait_for

# More than the least age at which a table can be made to want it; every inner block is a transaction.
AGE = """
    DO $$
    BEGIN
        FOR number IN 1..100100 LOOP
            BEGIN
                INSERT INTO ages VALUES (number);
            EXCEPTION WHEN division_by_zero THEN
                NULL;
            END;
        END LOOP;
    END
    $$
"""
WORKER = """
    SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'autovacuum worker' AND query LIKE '%public.messages (to prevent wraparound)'
"""


def test_an_autovacuum_against_wraparound_is_never_ended(own_server: OwnServer) -> None:
    server = own_server({"autovacuum": "on", "autovacuum_naptime": "1s"})
    shop = TestDatabase(server, server.create_database())
    fill_shop(shop)
    # Only one against wraparound comes to a table so marked: any other would be at work before it.
    shop.execute("ALTER TABLE messages SET (autovacuum_enabled = off)")
    shop.execute("INSERT INTO messages SELECT m.* FROM messages m, generate_series(1, 20)")
    shop.execute("CREATE UNLOGGED TABLE ages (number int)")
    shop.execute(
        """
        ALTER TABLE messages SET (
            autovacuum_freeze_max_age = 100000,
            autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1
        )
        """
    )
    shop.execute(AGE)
    [(worker,)] = wait_for("an autovacuum against wraparound", lambda: shop.execute(WORKER) or None)
    watch = replace(
        AT_ONCE,
        on_blocker=BlockerPolicy.TERMINATE,
        on_waiter=WaiterPolicy.CANCEL,
        blocker_limit_seconds=0.2,
        table_budget_seconds=3.0,
        patterns=Patterns(applications=("*",), users=("*",)),
    )
    run = Run(shop, ONE, replace(QUICK, watch=watch))

    (build, _) = run.init()

    assert is_alive(shop, worker)
    assert build.status is StepStatus.FAILED
    assert (build.message or "").startswith(
        "abandoned: waiting for the table for more than 3 s, last for pid "
    )
    assert "autovacuum worker against wraparound" in (build.message or "")
    (note,) = [note for note in notes_of(run) if note.startswith(f"waits for pid {worker}")]
    assert note.endswith("(a process of the server is never signalled (autovacuum worker))")
    assert {one["action"] for one in actions_of(shop)} == {"abandon"}
    assert indexes_of(shop) == {}
