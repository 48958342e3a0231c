"""Groups of reads in one pipeline: each has a failure and a snapshot of its own."""

import dataclasses
import os
import socket
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from exporter.errors import TargetUnsupported
from exporter.postgres.counters.statements import StatementsExtension, statements_info
from exporter.postgres.pipeline import PREPARE_AT_USE, Pipeline
from exporter.postgres.requests import Request
from exporter.postgres.target import Connection
from tests.conftest import TestDatabase


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One value."""

    answer: object


@dataclasses.dataclass(frozen=True, eq=False)
class Statement(Request[Answer]):
    """A statement of this test."""

    text: LiteralString = "SELECT"

    def query(self, server_version_num: int) -> LiteralString:
        return self.text


def statement(text: LiteralString, /, *, is_wide: bool = False, **parameters: object) -> Statement:
    return Statement("server_facts", Answer, parameters, is_wide=is_wide, text=text)


FORTY_TWO = statement("SELECT 42 AS answer")
FAILING = statement("SELECT 1 / 0 AS answer")
NOW = statement("SELECT now() AS answer")


@pytest.fixture(params=[True, False], ids=["together", "one by one"])
def pipeline(database: TestDatabase, request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    with database.connect() as connection:
        yield Pipeline(connection, is_pipelined=request.param)


def values(pipeline: Pipeline, *groups: tuple[Statement, ...]) -> list[list[object] | str]:
    """The value of each request of a group, or the SQLSTATE of its error."""
    found: list[list[object] | str] = []
    for group, answers in zip(groups, pipeline.ask(groups), strict=True):
        try:
            found.append([answers.of(request)[0].answer for request in group])
        except psycopg.Error as error:
            found.append(error.sqlstate or "")
    return found


def test_a_failing_group_fails_no_other(pipeline: Pipeline) -> None:
    again = statement("SELECT 7 AS answer")

    found = values(pipeline, (FORTY_TWO,), (FAILING, FORTY_TWO), (), (again,))

    assert found == [[42], "22012", [], [7]]
    assert values(pipeline, (FORTY_TWO,)) == [[42]]


def test_each_group_is_a_transaction_of_its_own(database: TestDatabase) -> None:
    other = statement("SELECT now() AS answer")
    with database.connect() as connection:
        first, second = values(Pipeline(connection, is_pipelined=True), (NOW, other), (statement(NOW.text),))

    assert first[0] == first[1] != second[0]


def test_parameters_arrive_as_they_are(pipeline: Pipeline) -> None:
    text = "it's 100 % ö\\"
    request = statement(
        "SELECT %(text)s::text || %(text)s || '%%' || array_to_string(%(numbers)s::int8[], ',') AS answer",
        text=text,
        numbers=[1, 2**40],
    )

    assert values(pipeline, (request,)) == [[f"{text}{text}%1,{2**40}"]]


@pytest.mark.parametrize("is_wide", [True, False])
def test_the_answers_are_the_same_whichever_way_they_come(pipeline: Pipeline, is_wide: bool) -> None:
    request = statement("SELECT array_agg(n) AS answer FROM generate_series(1, 50000) AS n", is_wide=is_wide)

    for _ in range(PREPARE_AT_USE + 1):
        assert values(pipeline, (request,)) == [[list(range(1, 50_001))]]


def test_what_is_asked_often_is_prepared_unless_it_is_wide(database: TestDatabase) -> None:
    wide = statement("SELECT 43 AS answer", is_wide=True)
    with database.connect() as connection:
        pipeline = Pipeline(connection, is_pipelined=True)
        for _ in range(PREPARE_AT_USE + 2):
            assert values(pipeline, (FORTY_TWO,), (wide,)) == [[42], [43]]
        prepared = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()

    assert prepared == [(FORTY_TWO.text,)]


def test_a_prepared_statement_that_went_stale_is_prepared_anew(database: TestDatabase) -> None:
    request = statement("SELECT * FROM changing")
    database.execute("CREATE TABLE changing AS SELECT 1 AS answer")
    with database.connect() as connection:
        pipeline = Pipeline(connection, is_pipelined=True)
        for _ in range(PREPARE_AT_USE + 1):
            assert values(pipeline, (request,)) == [[1]]
        database.execute("ALTER TABLE changing ALTER COLUMN answer TYPE text")
        during = values(pipeline, (request,), (FORTY_TWO,))
        after = values(pipeline, (request,), (FORTY_TWO,))

    assert during == ["0A000", [42]]
    assert after == [["1"], [42]]


def test_very_many_parameters_and_answers_pass_at_once(database: TestDatabase) -> None:
    """More than the buffers of both sockets hold: neither side may wait for the other."""
    numbers = list(range(2**40, 2**40 + 100_000))
    requests = [statement("SELECT %(numbers)s::int8[] AS answer", numbers=numbers) for _ in range(5)]
    with database.connect() as connection:
        pipeline = Pipeline(connection, is_pipelined=True)
        found = values(pipeline, *((request,) for request in requests))

    assert found == [[numbers]] * 5


def test_a_request_without_a_file_for_this_version_fails_alone(pipeline: Pipeline) -> None:
    unsupported = statements_info(StatementsExtension("1.8", "public"))

    refused, answered = pipeline.ask([(unsupported,), (FORTY_TWO,)])

    with pytest.raises(TargetUnsupported):
        refused.of(unsupported)
    assert answered.of(FORTY_TWO)[0].answer == 42


def test_an_answer_that_cannot_be_read_fails_its_group_alone(pipeline: Pipeline) -> None:
    # Python has no date before Christ.
    unreadable = statement("SELECT '0044-03-15 BC'::date AS answer")

    found = values(pipeline, (unreadable,), (FORTY_TWO,))

    assert found == ["", [42]]


def test_a_lost_connection_is_the_error_of_every_group_from_there_on(database: TestDatabase) -> None:
    ending = statement("SELECT pg_terminate_backend(pg_backend_pid()) AS answer")
    with database.connect() as connection:
        pipeline = Pipeline(connection, is_pipelined=True)
        before, during, after = pipeline.ask([(FORTY_TWO,), (ending,), (NOW,)])

        assert before.of(FORTY_TWO) == [Answer(42)]
        for answers in (during, after):
            with pytest.raises(psycopg.OperationalError, match="terminating connection"):
                answers.of(NOW)
        assert pipeline.is_broken
        assert connection.closed


def test_a_socket_that_another_thread_shut_down_is_a_lost_connection(database: TestDatabase) -> None:
    with database.connect() as connection:
        pipeline = Pipeline(connection, is_pipelined=True)
        answers = pipeline.ask([(FORTY_TWO,), (statement("SELECT pg_sleep(3600) AS answer"),), (NOW,)])
        assert next(answers).of(FORTY_TWO) == [Answer(42)]
        with socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)

        assert [type(rest.error) for rest in answers] == [psycopg.OperationalError] * 2
        assert pipeline.is_broken
        assert connection.closed


def test_answers_that_were_not_taken_break_the_pipeline(database: TestDatabase) -> None:
    connection: Connection
    with database.connect() as connection:
        pipeline = Pipeline(connection, is_pipelined=True)
        answers = pipeline.ask([(FORTY_TWO,), (FORTY_TWO,)])
        next(answers)

        assert pipeline.is_broken
        connection.close()
