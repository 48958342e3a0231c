"""Every SQL file on every version, for every role, on primary and standby: it runs and fills its row."""

import ast
import importlib
import re
from dataclasses import dataclass, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

import exporter
from exporter.postgres.builds.progress import BuildRow, read_builds
from exporter.postgres.fetching import column_names
from exporter.postgres.journal import EventStatus, Journal, Phase
from exporter.postgres.queries import Query, all_queries, lines_for
from exporter.postgres.relations import tables as catalog
from exporter.postgres.relations.index_shape import DuplicateKeys, IndexSample
from exporter.postgres.sessions import locks
from exporter.postgres.sessions.tool_sessions import ToolSession, read_tool_session
from tests.conftest import TestDatabase
from tests.postgres.versions.conftest import MIGRATION, PARTITIONED, PRESENT, USED, Stage, View
from tests.support.builds import held_build, session
from tests.support.postgres_server import Connection
from tests.support.rows import misfits


@dataclass(frozen=True, slots=True)
class NullExists:
    """The one row of null_exists, which has no dataclass of its own."""

    null_exists: bool


def reads() -> dict[str, type[Any]]:
    """The row type that the program gives with the name of each file that it reads."""
    found: dict[str, type[Any]] = {
        "null_exists": NullExists,
        "duplicate_keys": DuplicateKeys,
        "index_sample": IndexSample,
    }
    root, queries = Path(exporter.__file__).parent, all_queries()
    for path in sorted(root.rglob("*.py")):
        module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for what, name in pairwise(node.args) if isinstance(node, ast.Call) else ():
                if isinstance(what, ast.Constant) and what.value in queries and isinstance(name, ast.Name):
                    row_type = getattr(importlib.import_module(module), name.id, None)
                    if isinstance(row_type, type) and is_dataclass(row_type):
                        found[what.value] = row_type
    return found


READS = reads()
ACTS = {
    "advisory_lock",
    "cancel_tool_session",
    "journal_create",
    "journal_append",
    "raise_deadlock_timeout",
    "signal_session",
}
# Without rows on the stage; tests below give them some.
EMPTY = {
    "blockers",
    "index_shape",
    "replication_lag",
    "replication_slots",
    "running_backups",
    "session_starts",
    "build_progress",
    "table_builders",
    "compiled_index",
    "imported_index",
    "journal_attached",
    "journal_leftovers",
    "locked_relations",
    "tool_sessions",
    "table_lock_holder",
}


def test_every_file_has_a_row_here() -> None:
    assert set(all_queries()) == READS.keys() | ACTS


def test_every_file_fits_its_row_and_its_rights(view: View) -> None:
    given = parameters(view)
    wrong = {}
    with view.connect() as connection:
        if view.role == "superuser":
            # What is read here must not show in the figures of other tests; the others may read no table.
            connection.execute("SET track_counts = off")
        for what, row_type in READS.items():
            query = fitting(what, view)
            try:
                fault = run(connection, query, given, row_type, view)
            except psycopg.Error as error:
                fault = None if is_announced(query, error, view) else f"{error.sqlstate}: {error}"
            else:
                fault = fault or surprising_right(query, view)
            if fault is not None:
                wrong[what] = fault

    assert wrong == {}


def fitting(what: str, view: View) -> Query:
    """The newest file that fits the server and its extension."""
    extensions = view.database.execute("SELECT extversion FROM pg_extension WHERE extname LIKE 'pg_stat%'")
    have = {
        False: (view.server.version_num // 10000,),
        True: tuple(map(int, extensions[0][0].split("."))),
    }
    query = next(query for query in all_queries()[what] if query.minimum <= have[query.by_extension])
    return replace(query, text=lines_for(query.text, view.server.version_num // 10000))


def parameters(view: View) -> dict[str, object]:
    """A value for every parameter that a read has."""
    database = view.database
    statement = (
        "SELECT queryid FROM elsewhere.pg_stat_statements WHERE query ~ 'FROM messages WHERE sender_id'"
    )
    oids = "SELECT c.oid::int8 FROM pg_class c WHERE c.relname = ANY (%s) ORDER BY c.oid"
    tables = [oid for (oid,) in database.execute(oids, [["messages", "events", "events_all"]])]
    indexes = [oid for (oid,) in database.execute(oids, [[index.name for index in PRESENT]])]
    return {
        "schemaname": "public",
        "journal_schema": "public",
        "relname": "messages",
        "spcnames": ["pg_default"],
        "schemanames": ["public", "public"],
        "relnames": ["messages", "absent"],
        "indexnames": [USED.name, "absent"],
        "relid": tables[0],
        "tool": locks.TOOL_KEY,
        "root_relid": database.execute(oids, [["events"]])[0][0],
        "indexname": USED.name,
        "parent_schemaname": "public",
        "parent_indexname": PARTITIONED.name,
        "indexrelid": indexes[0],
        "relids": [*tables, *indexes],
        "indexrelids": indexes,
        "is_drop": True,
        "column_names": ["id", "sender_id"],
        "name": MIGRATION,
        "names": [MIGRATION],
        "phase": Phase.BASELINE.value,
        "watch": True,
        "pattern": "^public\\.",
        "max_indexes": 10,
        "rejected": [1, -1],
        "pids": [],
        "pid": 0,
        "queryids": [queryid for (queryid,) in database.execute(statement)],
    }


def run(
    connection: Connection, query: Query, given: dict[str, object], row_type: type[Any], view: View
) -> str | None:
    """What is wrong with the columns or with the types of their values, None when nothing is."""
    text: sql.SQL | sql.Composed = sql.SQL(query.text)
    if re.search(r"\{(schema|table|column|keys|condition|widths)\}", query.text):
        text = sql.SQL(query.text).format(
            schema=sql.Identifier("elsewhere" if query.by_extension else "public"),
            table=sql.Identifier("public", "messages"),
            column=sql.Identifier("sender_id"),
            keys=sql.SQL("sender_id % 10"),
            widths=sql.SQL("pg_column_size(sender_id)"),
            percent=sql.SQL("100"),
            condition=sql.SQL("sender_id IS NOT NULL"),
        )
    used = {name: given[name] for name in re.findall(r"%\((\w+)\)s", query.text)}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(text, used or None).fetchall()
        assert cursor.description is not None
        columns = tuple(column.name for column in cursor.description)
    if columns != column_names(row_type):
        return f"the columns are {columns}, the row wants {column_names(row_type)}"
    hidden = view.role == "nobody" and "privileges: pg_read_all_stats\n" in query.text
    if not rows and query.what not in EMPTY and not hidden:
        return "no row"
    return next((fault for row in rows for fault in misfits(row, row_type)), None)


def is_announced(query: Query, error: psycopg.Error, view: View) -> bool:
    """Whether the file's header says that this role, or this server, is refused."""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return view.role == "nobody" and "privileges: SELECT" in query.text
    return f"fails with {error.sqlstate}" in query.text


def surprising_right(query: Query, view: View) -> str | None:
    if view.role == "nobody" and "privileges: SELECT" in query.text:
        return "a role with nothing may run it, the header says otherwise"
    return None


# ------------------------------------------------------------------ rows that exist while something happens


def test_a_build_in_progress_fits_its_rows(every_database: TestDatabase) -> None:
    every_database.execute("CREATE TABLE messages AS SELECT 1 AS sender_id")
    statement = sql.SQL("CREATE INDEX CONCURRENTLY idx ON messages (sender_id)")
    with held_build(every_database, statement, "a build") as pid, session(every_database) as connection:
        (build,) = read_builds(connection)
        text = sql.SQL(all_queries()["build_progress"][0].text)
        with connection.cursor(row_factory=dict_row) as cursor:
            (row,) = cursor.execute(text, {"pids": [pid]}).fetchall()
        builders = catalog.read_table_builders(connection, build.relid or 0)
        work = read_tool_session(connection, pid, build.relid)
        text = sql.SQL(all_queries()["tool_sessions"][0].text)
        with connection.cursor(row_factory=dict_row) as cursor:
            (own_row,) = cursor.execute(text, {"pid": pid, "relid": build.relid}).fetchall()

    assert work is not None
    assert (work.is_at_work, work.is_drop, work.has_live_run) == (True, False, False)
    assert misfits(own_row, ToolSession) == []
    assert (build.pid, build.application_name) == (pid, "a build")
    assert build.phase == "waiting for writers before build"
    assert (build.lockers_total, [one.application_name for one in build.blockers]) == (1, ["a writer"])
    assert misfits(row, BuildRow) == []
    assert [builder.pid for builder in builders] == [pid]


def test_a_declaration_compiles_to_what_the_catalogue_shows(stage: Stage) -> None:
    with session(TestDatabase(stage.primary, stage.name)) as connection:
        compiled = {index.name: catalog.compile_index(connection, index) for index in PRESENT}
    definitions = "SELECT relname, pg_get_indexdef(oid) FROM pg_class WHERE relname = ANY (%s)"
    rows = stage.primary.execute(definitions, stage.name, [[index.name for index in PRESENT]])
    shown: dict[str, str] = dict(rows)

    shown[PARTITIONED.name] = shown[PARTITIONED.name].replace(" ON ONLY ", " ON ")
    assert {name: index.definition for name, index in compiled.items()} == shown


# ------------------------------------------------------------------ acts


def test_the_journal_is_made_and_written(every_database: TestDatabase) -> None:
    with session(every_database) as connection:
        journal = Journal(connection, "public", MIGRATION, "0badcafe")
        journal.ensure()
        for status in (EventStatus.IN_PROGRESS, EventStatus.DONE):
            journal.append(Phase.BUILDING, status, index_name="idx", definition="CREATE", detail={"a": 1})
        (row,) = journal.latest().values()

    assert (row.phase, row.status, row.detail, row.operator) == ("building", "done", {"a": 1}, "postgres")
    assert every_database.execute("SELECT count(*) FROM migration_events") == [(2,)]


def test_the_journal_is_written_by_who_may_and_where_one_can(view: View) -> None:
    with view.connect() as connection:
        journal = Journal(connection, "public", MIGRATION, "0badcafe")
        refusal: type[psycopg.Error]
        if view.node == "standby" or view.role == "monitor":
            refusal = psycopg.errors.ReadOnlySqlTransaction
        elif view.role == "nobody":
            refusal = psycopg.errors.InsufficientPrivilege
        else:
            with connection.transaction(force_rollback=True):
                journal.append(Phase.LOCKED, EventStatus.DONE, index_name=USED.name)
            return
        with pytest.raises(refusal):
            journal.append(Phase.LOCKED, EventStatus.DONE, index_name=USED.name)


def test_the_advisory_lock_of_a_table_is_held_by_one_session(view: View) -> None:
    with view.connect() as first, view.connect() as second:
        assert locks.acquire_table_lock(first, 4_294_967_295, budget_seconds=0)
        assert not locks.acquire_table_lock(second, 4_294_967_295, budget_seconds=0)
        holder = locks.read_lock_holder(second, 4_294_967_295)
        assert holder is not None
        assert holder.pid == first.info.backend_pid
        shown = {name: getattr(holder, name) for name in column_names(locks.LockHolder)}
        assert misfits(shown, locks.LockHolder) == []
        assert locks.acquire_table_lock(second, 1, budget_seconds=0)
