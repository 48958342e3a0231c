"""Ctrl-C at a terminal, once and twice: what is said, what is left, and that the next run finishes."""

from collections.abc import Iterator

import pytest

from tests.acceptance.test_init import QUESTION, command, environment
from tests.conftest import TestDatabase
from tests.faults.migrate.programs import Tool, assert_built_and_explained
from tests.support.builds import indexes_of, reader, waiting_build, waiting_drop, writer
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_for

CLEANED_UP, INTERRUPTED_ASKING, LEFT_BEHIND = 1, 130, 3


@pytest.fixture
def terminal(shop: TestDatabase, tool: Tool) -> Iterator[Terminal]:
    """`init` at a terminal, its question answered."""
    terminal = Terminal(command("init", manifest=tool.manifest), environment(shop.dsn))
    terminal.wait_for(QUESTION)
    yield terminal
    terminal.close()


def test_ctrl_c_at_the_question_touches_nothing(shop: TestDatabase, terminal: Terminal) -> None:
    terminal.press(CTRL_C)

    assert terminal.end() == INTERRUPTED_ASKING
    assert "Traceback" not in terminal.screen
    assert indexes_of(shop) == {}
    assert shop.execute("SELECT to_regclass('migration_events')") == [(None,)]


def test_ctrl_c_cancels_and_cleans_up(shop: TestDatabase, tool: Tool, terminal: Terminal) -> None:
    with writer(shop) as open_transaction:
        terminal.press(b"y\n")
        pid = waiting_build(shop)
        terminal.press(CTRL_C)
        terminal.wait_for("cancelling and cleaning up")
        wait_for("the cancel", lambda: not is_building(shop, pid) or None)
        open_transaction.execute("ROLLBACK")

        assert terminal.end() == CLEANED_UP, terminal.screen
    assert "Traceback" not in terminal.screen
    assert False not in indexes_of(shop).values()
    assert "idx_sender" not in indexes_of(shop)
    tool.finish(shop.dsn)
    assert_built_and_explained(shop)


def test_a_second_ctrl_c_leaves_at_once_and_says_what_may_be_left(
    shop: TestDatabase, tool: Tool, terminal: Terminal
) -> None:
    with reader(shop), writer(shop) as open_transaction:
        terminal.press(b"y\n")
        waiting_build(shop)
        terminal.press(CTRL_C)
        waiting_drop(shop)
        # The reader is still there: nothing that was waited for has ended.
        terminal.press(CTRL_C)
        exit_code = terminal.end()
        left = indexes_of(shop)["idx_sender"]
        open_transaction.execute("ROLLBACK")

    assert (exit_code, left) == (LEFT_BEHIND, False), terminal.screen
    assert "INVALID indexes may be left" in terminal.screen
    assert "run init again" in terminal.screen
    assert "Traceback" not in terminal.screen
    tool.finish(shop.dsn)
    assert_built_and_explained(shop)


def test_two_ctrl_c_at_once_are_survived(shop: TestDatabase, tool: Tool, terminal: Terminal) -> None:
    with writer(shop):
        terminal.press(b"y\n")
        waiting_build(shop)
        terminal.press(CTRL_C + CTRL_C)
        said = ("cancelling and cleaning up", "may be left")
        wait_for("its word", lambda: any(one in terminal.screen for one in said) or None)
    exit_code = terminal.end()

    # The kernel may make one signal of two.
    assert exit_code in (CLEANED_UP, LEFT_BEHIND), terminal.screen
    assert ("INVALID indexes may be left" in terminal.screen) is (exit_code == LEFT_BEHIND)
    assert "Traceback" not in terminal.screen
    tool.finish(shop.dsn)
    assert_built_and_explained(shop)


def is_building(database: TestDatabase, pid: int) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE pid = %s AND query LIKE 'CREATE%%' AND state = 'active'"
    return database.execute(query, [pid]) != []
