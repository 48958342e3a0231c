"""verify as the monitor role, which reads a journal of another role and compiles nothing where it may not."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from exporter.migrate.options import RunOptions
from exporter.migrate.verification import check_result
from exporter.model import Database, Finding, Verdict
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import Run
from tests.support.builds import as_declared
from tests.support.declared import declare, manifest_of
from tests.support.roles import PASSWORD, make_role

MANIFEST = manifest_of(declare("idx_sender", "messages", "sender_id"), analyze=())


@pytest.fixture
def monitor(shop: TestDatabase) -> Iterator[Database]:
    """A session of the monitor role of deploy/sql, beside a journal that an ordinary role owns."""
    builder, name = f"{shop.name}_builder", f"{shop.name}_monitor"
    assert make_role(shop, "monitor.sql", name, "{messages}") == ""
    Run(shop, MANIFEST).init()
    shop.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(builder)))
    for relation in ("TABLE migration_events", "VIEW migration_log"):
        shop.execute(sql.SQL(f"ALTER {relation} OWNER TO {{}}").format(sql.Identifier(builder)))
    yield as_declared(shop, name, PASSWORD)
    shop.server.drop_database(shop.name)
    for role in (builder, name):
        shop.server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def definition_of(monitor: Database) -> list[tuple[str, Verdict, str]]:
    findings: tuple[Finding, ...] = check_result(monitor, MANIFEST, RunOptions()).findings
    return [
        (one.criterion, one.verdict, one.reason)
        for one in findings
        if one.criterion in ("exists", "definition")
    ]


def test_the_monitor_role_verifies(monitor: Database) -> None:
    assert definition_of(monitor) == [
        ("exists", Verdict.PASS, "present"),
        ("definition", Verdict.PASS, "as_declared"),
    ]


def test_without_the_right_to_compile_the_journal_is_compared_with(
    shop: TestDatabase, monitor: Database
) -> None:
    shop.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(shop.name)))
    by_journal = definition_of(monitor)
    shop.execute("DELETE FROM migration_events")
    without = definition_of(monitor)

    assert by_journal == [
        ("exists", Verdict.PASS, "present"),
        ("definition", Verdict.PASS, "as_declared"),
    ]
    assert without == [("definition", Verdict.UNKNOWN, "not_compiled")]
