"""Builds as a watcher observes them, for tests without a server."""

from dataclasses import replace
from datetime import UTC, datetime

from exporter.migrate.events import Estimate, WatchObservation
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.sessions.other_sessions import OtherSession

SCANNING = BuildProgress(
    pid=7,
    relid=1,
    index_relid=2,
    application_name="pg-index-exporter/x/idx_a",
    usename="builder",
    command="CREATE INDEX CONCURRENTLY",
    phase="building index: scanning table",
    lockers_total=0,
    lockers_done=0,
    blocks_total=100,
    blocks_done=50,
    tuples_total=0,
    tuples_done=0,
    indexname="idx_a",
    amname="btree",
    ancestors=(),
    waiting_seconds=None,
)
SESSION = OtherSession(
    pid=99,
    gid=None,
    usename="app",
    application_name="checkout",
    backend_type="client backend",
    state="idle in transaction",
    mode=None,
    has_snapshot=False,
    prevents_wraparound=False,
    transaction_age_seconds=750.0,
    waiting_seconds=None,
    backend_start=datetime(2026, 11, 22, 8, tzinfo=UTC),
    xact_start=datetime(2026, 11, 22, 9, tzinfo=UTC),
    query="UPDATE messages SET content = 'secret' WHERE id = 7",
)
ALTERING = replace(
    SESSION,
    pid=100,
    usename="dba",
    application_name="psql",
    state="active",
    mode="AccessExclusiveLock",
    has_snapshot=True,
    transaction_age_seconds=5.0,
    waiting_seconds=5.0,
    query="ALTER TABLE messages ADD COLUMN more int",
)
PREPARED = replace(SESSION, pid=None, gid="order 7", backend_type=None, backend_start=None, query=None)
WAITING = replace(
    SCANNING,
    phase="waiting for writers before build",
    lockers_total=3,
    blocks_total=0,
    blocks_done=0,
    waiting_seconds=12.0,
    blockers=(SESSION,),
)


def observation(
    build: BuildProgress = SCANNING, estimate: Estimate | None = None, *, stalled_seconds: float = 0.0
) -> WatchObservation:
    """An observation of the build."""
    return WatchObservation(
        build,
        build.phase,
        estimate or Estimate(build.share or 0.0),
        tuple(one for one in build.blockers if not one.is_own_build),
        build.waiters,
        stalled_seconds,
    )
