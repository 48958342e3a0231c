"""`init` killed without warning, ended by signals, or run twice at once: the next run finishes."""

import random
import signal
import threading
from contextlib import ExitStack

import pytest

from tests.conftest import TestDatabase
from tests.faults.migrate.programs import BUILT, Tool, assert_built_and_explained
from tests.support.builds import indexes_of, waiting_build, writer
from tests.support.gates import wait_for_phase
from tests.support.hosts import Host, other_host
from tests.support.proxy import proxy_to
from tests.support.waiting import wait_for
from tests.support.writers import writing


def kill_after(database: TestDatabase, tool: Tool, questions: int) -> None:
    """Kills `init` before its question of that number, and the next run finishes."""
    with proxy_to(database.server.port) as proxy, writing(database) as writers:
        dsn = proxy.conninfo(database.dsn).get_secret_value()
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            process.kill()

        proxy.act_after(questions, kill)
        process = tool.start(dsn)
        process.wait(timeout=120)
        assert killed.is_set() == (process.returncode == -signal.SIGKILL), tool.output
        tool.finish(dsn)
    assert writers.waits() == []
    assert_built_and_explained(database)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_is_killed_at_a_random_moment_is_finished_by_the_next(
    shop: TestDatabase, tool: Tool, seed: int
) -> None:
    kill_after(shop, tool, random.Random(seed).randrange(20, 160))


@pytest.mark.long
@pytest.mark.parametrize("question", range(0, 220, 3))
def test_a_run_that_is_killed_at_any_moment_is_finished_by_the_next(
    shop: TestDatabase, tool: Tool, question: int
) -> None:
    kill_after(shop, tool, question)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_runs_that_are_killed_again_and_again_end_as_declared(
    shop: TestDatabase, tool: Tool, seed: int
) -> None:
    moments = random.Random(seed)
    with proxy_to(shop.server.port) as proxy, writing(shop) as writers:
        dsn = proxy.conninfo(shop.dsn).get_secret_value()
        for _ in range(8):
            process = tool.start(dsn)
            proxy.act_after(moments.randrange(10, 160), process.kill)
            process.wait(timeout=120)
        proxy.act_after(10**9, lambda: None)
        tool.finish(dsn)
    assert writers.waits() == []
    assert_built_and_explained(shop)


HOLDS = {
    "its lock on the table": ("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE", ""),
    "writers before the build": ("DELETE FROM messages WHERE false", "waiting for writers before build"),
    "old snapshots": ("SELECT count(*) FROM posts", "waiting for old snapshots"),
}


@pytest.mark.parametrize("hold", HOLDS)
def test_a_run_that_is_killed_while_it_waits_is_followed(shop: TestDatabase, tool: Tool, hold: str) -> None:
    statement, phase = HOLDS[hold]
    with shop.connect() as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute(statement)
        first = tool.start(shop.dsn)
        pid = wait_for_phase(shop, phase)
        first.kill()
        first.wait()
        second = tool.start(shop.dsn)
        wait_for("the next run's word of it", lambda: f"pid {pid}" in tool.output or None)
        holder.execute("ROLLBACK")
        assert second.wait(timeout=120) == 0, tool.output

    assert_built_and_explained(shop)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_the_server_to_its_work_for_the_next_to_follow(
    shop: TestDatabase, tool: Tool, ending: signal.Signals
) -> None:
    with writer(shop) as open_transaction:
        first = tool.start(shop.dsn)
        pid = waiting_build(shop)
        first.send_signal(ending)
        assert first.wait(timeout=60) == 4, tool.output
        assert "the server goes on with it" in " ".join(tool.output.split())
        second = tool.start(shop.dsn)
        wait_for("the following", lambda: f"following the build by pid {pid}" in tool.output or None)
        open_transaction.execute("ROLLBACK")
        assert second.wait(timeout=120) == 0, tool.output

    assert_built_and_explained(shop)


def test_sigterm_cancels_and_cleans_up_where_it_is_told_to(shop: TestDatabase, tool: Tool) -> None:
    with writer(shop) as open_transaction:
        run = tool.start(shop.dsn, "--cancel-on-term")
        pid = waiting_build(shop)
        run.send_signal(signal.SIGTERM)
        tool.wait_for_word("cancelling and cleaning up")
        at_work = "SELECT FROM pg_stat_activity WHERE pid = %s AND query LIKE 'CREATE%%' AND state = 'active'"
        wait_for("the cancel", lambda: shop.execute(at_work, [pid]) == [] or None)
        open_transaction.execute("ROLLBACK")
        assert run.wait(timeout=120) == 1, tool.output

    assert False not in indexes_of(shop).values()
    assert "idx_sender" not in indexes_of(shop)


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["one_host", "two_hosts"])
def test_two_runs_at_once_both_succeed_and_build_once(
    shop: TestDatabase, tool: Tool, is_elsewhere: bool
) -> None:
    with ExitStack() as hosts, shop.connect() as holder:
        # Neither can begin before both have come.
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")
        if is_elsewhere:
            runs = [tool.start(dsn, on=host) for host, dsn in (from_another_host(shop, hosts) for _ in "ab")]
        else:
            runs = [tool.start(shop.dsn) for _ in "ab"]
        tool.wait_for_word("another run works")
        holder.execute("ROLLBACK")
        assert [run.wait(timeout=120) for run in runs] == [0, 0], tool.output

    assert indexes_of(shop) == BUILT
    begun = shop.execute(
        "SELECT index_name, count(*) FROM migration_events WHERE phase = 'building' GROUP BY 1 ORDER BY 1"
    )
    assert begun == [(name, 1) for name in sorted(BUILT)]


def test_a_run_that_dies_with_its_host_is_followed_from_another(shop: TestDatabase, tool: Tool) -> None:
    with ExitStack() as hosts, writer(shop) as open_transaction:
        host, dsn = from_another_host(shop, hosts)
        first = tool.start(dsn, on=host)
        pid = waiting_build(shop)
        first.kill()
        first.wait()
        other, other_dsn = from_another_host(shop, hosts)
        second = tool.start(other_dsn, on=other)
        tool.wait_for_word(f"following the build by pid {pid}")
        open_transaction.execute("ROLLBACK")
        assert second.wait(timeout=120) == 0, tool.output

    assert_built_and_explained(shop)


def from_another_host(database: TestDatabase, hosts: ExitStack) -> tuple[Host, str]:
    """Another host and the conninfo of the database as seen from there."""
    host = hosts.enter_context(other_host())
    proxy = hosts.enter_context(proxy_to(database.server.port, host.our_address))
    return host, proxy.conninfo(database.dsn).get_secret_value()
