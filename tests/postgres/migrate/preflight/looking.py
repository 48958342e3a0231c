"""What a session finds about builds, and looking things up in it."""

from contextlib import closing

from exporter.migrate.options import PreflightOptions
from exporter.migrate.preflight import check_plan
from exporter.model import DeclaredIndex, Finding, Verdict
from exporter.postgres.target import connect
from tests.conftest import TestDatabase
from tests.support.builds import as_declared
from tests.support.declared import declare, manifest_of
from tests.support.roles import PASSWORD

INDEX = declare("idx_a", "messages", "sender_id")
# Every age counts: tests do not wait for a blocker to grow old.
OPTIONS = PreflightOptions(blocker_age_seconds=0)


def findings_of(
    database: TestDatabase,
    *indexes: DeclaredIndex,
    options: PreflightOptions = OPTIONS,
    user: str | None = None,
) -> tuple[Finding, ...]:
    """What a session finds about building these indexes."""
    builds = indexes or (INDEX,)
    declared = as_declared(database, user, None if user is None else PASSWORD)
    with closing(connect(declared, read_only=False)) as connection:
        return check_plan(connection, manifest_of(*builds), builds, options).findings


def told(findings: tuple[Finding, ...], criterion: str) -> dict[str, tuple[Verdict, str]]:
    """Subject to verdict and reason of one check."""
    return {one.subject: (one.verdict, one.reason) for one in findings if one.criterion == criterion}


def only(findings: tuple[Finding, ...], criterion: str) -> Finding:
    (finding,) = (one for one in findings if one.criterion == criterion)
    return finding
