"""Which statements are published, and that they stay the same."""

import dataclasses
import random

from exporter.metrics.collect.statement_selection import StatementSelection
from exporter.postgres.counters.statements import StatementRow
from tests.support.snapshots import STATEMENT


def row(queryid: int | None, calls: int = 1, user: str = "app", toplevel: bool = True) -> StatementRow:
    return dataclasses.replace(STATEMENT, queryid=queryid, calls=calls, user=user, toplevel=toplevel)


def selection(max_statements: int = 100, *tables: str, length: int = 300) -> StatementSelection:
    made = StatementSelection(max_statements=max_statements, query_text_length=length)
    made.watch(tables or ("messages",))
    return made


def test_without_tables_nothing_is_selected() -> None:
    chosen = StatementSelection(max_statements=10, query_text_length=100)
    chosen.watch(())
    chosen.learn([1], {1: "SELECT 1 FROM messages"})

    assert chosen.choose([row(1)]) == ((), 0)


def test_texts_are_asked_for_once() -> None:
    chosen = selection()
    rows = [row(1), row(2), row(None), row(3), row(1, user="other")]

    assert chosen.unknown(rows) == [1, 2, 3]
    chosen.learn([1, 2, 3], {1: "SELECT 1 FROM messages", 2: "SELECT 1"})

    assert chosen.unknown(rows) == [3]
    assert set(chosen.rejected) == {2}


def test_a_lost_text_is_not_asked_for_again_and_again() -> None:
    chosen = selection()
    chosen.learn([1], {1: None})

    assert chosen.unknown([row(1)]) == []


def test_hidden_statements_are_never_published() -> None:
    chosen = selection()

    assert chosen.choose([row(None, user="a"), row(None, user="b")]) == ((), 0)


def test_the_same_query_of_two_users_is_two_series() -> None:
    chosen = selection()
    chosen.learn([1], {1: "SELECT 1 FROM messages"})
    rows = [row(1), row(1, user="other"), row(1, toplevel=False)]

    assert chosen.choose(rows) == (tuple(rows), 0)
    assert chosen.texts(rows) == {1: "SELECT 1 FROM messages"}


def learned(max_statements: int, queryids: range) -> StatementSelection:
    chosen = selection(max_statements)
    chosen.learn(queryids, dict.fromkeys(queryids, "SELECT 1 FROM messages"))
    return chosen


def test_the_most_called_are_kept_and_the_cut_is_counted() -> None:
    chosen = learned(2, range(1, 6))
    rows = [row(queryid, calls=queryid) for queryid in range(1, 6)]

    kept, cut = chosen.choose(rows)

    assert ({statement.queryid for statement in kept}, cut) == ({4, 5}, 3)


def test_what_was_chosen_stays_chosen_whatever_is_called_more() -> None:
    chosen = learned(2, range(1, 6))
    chosen.choose([row(queryid, calls=queryid) for queryid in range(1, 6)])
    later = [row(queryid, calls=100 - queryid) for queryid in range(1, 6)]
    random.Random(7).shuffle(later)

    kept, cut = chosen.choose(later)

    assert ({statement.queryid for statement in kept}, cut) == ({4, 5}, 3)


def test_an_evicted_statement_gives_its_place_to_one_that_waits() -> None:
    chosen = learned(2, range(1, 4))
    chosen.choose([row(1, 1), row(2, 2), row(3, 3)])

    kept, cut = chosen.choose([row(1, 1), row(3, 3)])

    assert ({statement.queryid for statement in kept}, cut) == ({1, 3}, 0)


def test_an_evicted_statement_that_returns_finds_its_place_when_nobody_took_it() -> None:
    chosen = learned(2, range(1, 4))
    chosen.choose([row(2, 2), row(3, 3)])
    chosen.choose([row(3, 3)])

    kept, cut = chosen.choose([row(1, 50), row(2, 1), row(3, 3)])

    assert ({statement.queryid for statement in kept}, cut) == ({2, 3}, 1)


def test_other_tables_forget_every_decision() -> None:
    chosen = selection(100, "messages")
    chosen.learn([1], {1: "SELECT 1 FROM posts"})
    assert set(chosen.rejected) == {1}

    chosen.watch(("messages", "posts"))

    assert chosen.unknown([row(1)]) == [1]
