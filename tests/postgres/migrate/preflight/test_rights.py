"""What must hold before anything is touched, each finding from a server that lacks it."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from exporter.migrate.assessment import assess
from exporter.migrate.options import RunOptions
from exporter.migrate.preflight import check_before_build
from exporter.model import Finding, Manifest, Verdict
from exporter.postgres.target import connect
from tests.conftest import OwnServer, TestDatabase
from tests.support.builds import as_declared, session
from tests.support.declared import declare, manifest_of
from tests.support.postgres_server import Kind

MANIFEST = manifest_of(declare("idx_a", "messages"), analyze=("messages", "posts"))
ODD_ROLE = 'the "builder"'


@pytest.fixture
def role(shop: TestDatabase) -> Iterator[str]:
    """A role that owns both tables and may create in their schema."""
    for statement in (
        "CREATE ROLE {} LOGIN PASSWORD 'throw-away'",
        "ALTER TABLE messages OWNER TO {}",
        "ALTER TABLE posts OWNER TO {}",
        "GRANT CREATE ON SCHEMA public TO {}",
        "GRANT pg_read_all_stats TO {}",
    ):
        shop.execute(sql.SQL(statement).format(sql.Identifier(ODD_ROLE)))
    yield ODD_ROLE
    shop.server.drop_database(shop.name)
    shop.server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(ODD_ROLE)))


def findings_of(shop: TestDatabase, role: str, manifest: Manifest = MANIFEST) -> tuple[Finding, ...]:
    """The findings of a session of that role."""
    with connect(as_declared(shop, role, "throw-away"), read_only=False) as connection:
        return check_before_build(connection, manifest)


def not_passed(findings: tuple[Finding, ...]) -> list[tuple[str, str, Verdict, str | None]]:
    """Criterion, subject, verdict and hint of all that did not pass."""
    return [
        (one.criterion, one.subject, one.verdict, one.hint)
        for one in findings
        if one.verdict is not Verdict.PASS
    ]


def test_a_superuser_passes_everything(shop: TestDatabase) -> None:
    with session(shop) as connection:
        findings = check_before_build(connection, MANIFEST)

    assert not_passed(findings) == []
    assert {one.subject for one in findings} == {"the server", "public.messages", "public.posts"}


def test_the_owner_passes_everything(shop: TestDatabase, role: str) -> None:
    assert not_passed(findings_of(shop, role)) == []


@pytest.mark.oldest_too
@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "ALTER TABLE messages OWNER TO postgres",
            (
                "ownership",
                "public.messages",
                Verdict.FAIL,
                'ALTER TABLE public.messages OWNER TO "the ""builder"""',
            ),
        ),
        (
            "ALTER TABLE posts OWNER TO postgres",
            (
                "may analyze",
                "public.posts",
                Verdict.FAIL,
                'ALTER TABLE public.posts OWNER TO "the ""builder"""',
            ),
        ),
        (
            "REVOKE CREATE ON SCHEMA public FROM {}, PUBLIC",
            (
                "create in schema",
                "public.messages",
                Verdict.FAIL,
                'GRANT CREATE ON SCHEMA public TO "the ""builder"""',
            ),
        ),
        (
            "REVOKE pg_read_all_stats FROM {}",
            (
                "sees other sessions",
                "the server",
                Verdict.UNKNOWN,
                'GRANT pg_read_all_stats TO "the ""builder"""',
            ),
        ),
        (
            "ALTER ROLE {} SET track_counts = off",
            (
                "statistics collector",
                "the server",
                Verdict.FAIL,
                "use the builder's connection: the role that deploy/sql/builder.sql creates",
            ),
        ),
    ],
)
def test_what_is_missing_is_found_with_its_hint(
    shop: TestDatabase, role: str, statement: str, finding: tuple[str, str, Verdict, str]
) -> None:
    shop.execute(sql.SQL(statement).format(sql.Identifier(role)))

    assert not_passed(findings_of(shop, role)) == [finding]


@pytest.mark.oldest_too
def test_temporary_tables_are_needed(shop: TestDatabase, role: str) -> None:
    shop.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(shop.name)))

    assert not_passed(findings_of(shop, role)) == [
        (
            "temporary tables",
            "the server",
            Verdict.FAIL,
            f'GRANT TEMPORARY ON DATABASE {shop.name} TO "the ""builder"""',
        )
    ]


def test_every_missing_table_is_named_at_once_and_a_kind_before_the_rights_on_it(
    shop: TestDatabase, role: str
) -> None:
    shop.execute("CREATE VIEW recent AS SELECT * FROM messages")
    tables = ("nowhere", "recent", "messages")
    indexes = [declare(f"idx_{number}", table) for number, table in enumerate(tables)]
    manifest = manifest_of(*indexes, analyze=("gone", "posts"))

    found = findings_of(shop, role, manifest)

    assert [(one.criterion, one.subject, one.reason) for one in found if one.verdict is Verdict.FAIL] == [
        ("table kind", "public.nowhere", "no_table"),
        ("table kind", "public.recent", "not_a_table"),
        ("table kind", "public.gone", "no_table"),
    ]


def test_the_monitor_role_is_sent_to_the_builders_connection(shop: TestDatabase, role: str) -> None:
    for statement in ("SET default_transaction_read_only = on", "SET track_counts = off"):
        shop.execute(sql.SQL("ALTER ROLE {} " + statement).format(sql.Identifier(role)))
    shop.execute("ALTER TABLE messages OWNER TO postgres")

    assert not_passed(findings_of(shop, role)) == [
        (
            "role",
            "the server",
            Verdict.FAIL,
            "use the builder's connection: the role that deploy/sql/builder.sql creates",
        )
    ]


def test_the_owner_of_the_database_may_analyze_every_table(shop: TestDatabase, role: str) -> None:
    shop.execute("ALTER TABLE posts OWNER TO postgres")
    shop.execute(
        sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(shop.name), sql.Identifier(role))
    )

    assert not_passed(findings_of(shop, role)) == []


@pytest.mark.pg(">= 17")
def test_the_privilege_to_maintain_suffices_to_analyze(shop: TestDatabase, role: str) -> None:
    shop.execute("ALTER TABLE posts OWNER TO postgres")
    shop.execute(sql.SQL("GRANT MAINTAIN ON posts TO {}").format(sql.Identifier(role)))

    assert not_passed(findings_of(shop, role)) == []


def test_a_role_that_starts_read_only_may_still_build(shop: TestDatabase, role: str) -> None:
    shop.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(sql.Identifier(role)))

    assert [(one[0], one[2]) for one in not_passed(findings_of(shop, role))] == [("writable", Verdict.WARN)]


@pytest.mark.parametrize("kind", [None, "14"])
def test_a_standby_is_refused(own_server: OwnServer, own_standby: OwnServer, kind: Kind | None) -> None:
    primary = own_server(kind=kind)
    primary.execute("CREATE TABLE messages (id int)")
    primary.execute("CREATE TABLE posts (id int)")
    standby = own_standby(primary)
    with connect(as_declared(TestDatabase(standby, "postgres")), read_only=False) as connection:
        findings = check_before_build(connection, MANIFEST)

    assert [(one.criterion, one.reason) for one in findings if one.verdict is Verdict.FAIL] == [
        ("primary", "standby")
    ]


def test_a_failed_preflight_is_told_whole(shop: TestDatabase, role: str) -> None:
    shop.execute("ALTER TABLE messages OWNER TO postgres")
    shop.execute("ALTER TABLE posts OWNER TO postgres")
    assessment = assess(as_declared(shop, role, "throw-away"), MANIFEST, RunOptions())

    failed = [one.subject for one in assessment.preflight if one.verdict is Verdict.FAIL]
    assert (assessment.is_refused, assessment.observed) == (True, ())
    assert failed == ["public.messages", "public.posts"]
