"""Which indexes are exported: declared ones always, others by pattern, and what is cut is counted."""

import fnmatch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.metrics.collect.context import CollectOptions
from exporter.postgres.counters.watch_pattern import watch_pattern
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import (
    Watch,
    collect_once,
    collected,
    collector_of,
    declare,
    described,
    index_names,
)


@pytest.fixture
def indexed(database: TestDatabase) -> TestDatabase:
    for schema in ("app", "audit"):
        database.execute(f"CREATE SCHEMA {schema}")
        database.execute(f"CREATE TABLE {schema}.messages (id int, sender int, content text)")
        database.execute(f"CREATE INDEX idx_{schema}_id ON {schema}.messages (id)")
        database.execute(f"CREATE INDEX idx_{schema}_sender ON {schema}.messages (sender)")
    return database


@pytest.mark.parametrize(
    ("watch", "expected"),
    [
        ("declared", ["idx_app_id"]),
        ("all", ["idx_app_id", "idx_app_sender", "idx_audit_id", "idx_audit_sender"]),
        (("audit.*",), ["idx_app_id", "idx_audit_id", "idx_audit_sender"]),
        (
            ("*.idx_*_sender", "audit.idx_audit_id"),
            ["idx_app_id", "idx_app_sender", "idx_audit_id", "idx_audit_sender"],
        ),
        (("app",), ["idx_app_id"]),
        (("AUDIT.*",), ["idx_app_id"]),
        ((), ["idx_app_id"]),
    ],
)
def test_declared_indexes_and_those_watched(indexed: TestDatabase, watch: Watch, expected: list[str]) -> None:
    snapshot = collect_once(
        described(indexed, declare("idx_app_id", "messages", schemaname="app"), watch=watch)
    )

    assert index_names(snapshot) == expected
    assert snapshot.indexes_cut == 0


def test_what_is_cut_is_counted_and_the_declared_are_not_cut(indexed: TestDatabase) -> None:
    declared = declare("idx_audit_sender", "messages", schemaname="audit")

    snapshot = collect_once(described(indexed, declared, watch="all"), CollectOptions(max_indexes=1))

    assert index_names(snapshot) == ["idx_app_id", "idx_audit_sender"]
    assert snapshot.indexes_cut == 2


def test_a_full_list_is_not_a_cut_one(indexed: TestDatabase) -> None:
    snapshot = collect_once(described(indexed, watch="all"), CollectOptions(max_indexes=4))

    assert len(index_names(snapshot)) == 4
    assert snapshot.indexes_cut == 0


def test_a_new_index_does_not_push_another_out(indexed: TestDatabase) -> None:
    with collector_of(described(indexed, watch="all"), CollectOptions(max_indexes=2)) as collector:
        before = index_names(collected(collector))
        indexed.execute("CREATE INDEX aaa ON app.messages (content)")
        snapshot = collected(collector)

    assert index_names(snapshot) == before
    assert snapshot.indexes_cut == 3


def test_temporary_and_system_indexes_are_not_watched(database: TestDatabase) -> None:
    database.execute("CREATE TABLE big (id int PRIMARY KEY, content text)")
    with database.connect() as connection:
        connection.execute("CREATE TEMP TABLE scratch (id int PRIMARY KEY)")
        snapshot = collect_once(described(database, watch="all"))

    assert index_names(snapshot) == ["big_pkey"]


@settings(
    # The server is shared by all examples, and answers as fast as it does.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(
    patterns=st.lists(st.text("ab.*?[]!-^\\{}(|$ é\n", max_size=8), min_size=1, max_size=3),
    name=st.text("ab.[]!-^\\{}(|$ é\n", max_size=6),
)
def test_patterns_mean_what_they_mean_in_fnmatch(
    database: TestDatabase, patterns: list[str], name: str
) -> None:
    expression = watch_pattern(tuple(patterns))

    ((matched,),) = database.execute('SELECT %s::text ~ %s::text COLLATE "C"', [name, expression])

    assert matched == any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns), expression
