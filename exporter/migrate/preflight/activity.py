"""Sessions that a build would wait for: transactions, dumps, base backups. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from exporter.migrate.preflight.findings import DATABASE, SERVER, passed, unknown, warned
from exporter.model import Finding, RelationName
from exporter.postgres.server.replication import RunningBackup
from exporter.postgres.sessions.blockers import Blocker
from exporter.text.figures import duration

_SHOWN = 5


def check_blockers(
    blockers: Sequence[Blocker], tables: Mapping[int, RelationName], min_age_seconds: float
) -> Iterator[Finding]:
    """The sessions that builds would wait for: by table for locks, of the database for snapshots."""
    counted = [one for one in blockers if not one.is_ours and not one.gives_way]
    for relid, table in tables.items():
        mine = [one for one in counted if one.relid == relid]
        yield _blocked(table.quoted, mine, min_age_seconds, "no long-running writers")
    snapshots = [one for one in counted if one.relid is None]
    yield _blocked(DATABASE, snapshots, min_age_seconds, "no old snapshots")


def _blocked(subject: str, blockers: Sequence[Blocker], min_age_seconds: float, none: str) -> Finding:
    # A hidden age may be any; a prepared transaction does not end by itself.
    hidden = [one for one in blockers if one.transaction_age_seconds is None]
    lasting = [
        one
        for one in blockers
        if one.kind == "prepared"
        or (one.transaction_age_seconds is not None and one.transaction_age_seconds >= min_age_seconds)
    ]
    if lasting:
        shown = "; ".join(one.described for one in lasting[:_SHOWN])
        more = f"; and {len(lasting) - _SHOWN} more" if len(lasting) > _SHOWN else ""
        return warned(
            "blockers",
            subject,
            "would_wait",
            f"a build would wait for {shown}{more}",
            _hint(lasting),
            pids=[one.pid for one in lasting if one.pid is not None],
            gids=[one.gid for one in lasting if one.gid is not None],
            oldest_seconds=max((one.transaction_age_seconds or 0.0) for one in lasting),
        )
    if hidden:
        shown = "; ".join(one.described for one in hidden[:_SHOWN])
        hint = "grant pg_read_all_stats to this role"
        return unknown("blockers", subject, "not_permitted", f"of unknown age: {shown}", hint)
    return passed("blockers", subject, none)


def _hint(blockers: Sequence[Blocker]) -> str:
    prepared = [one.gid for one in blockers if one.gid is not None]
    if prepared:
        quoted = prepared[0].replace("'", "''")
        return f"end it in this database: COMMIT PREPARED '{quoted}', or ROLLBACK PREPARED '{quoted}'"
    if any(one.prevents_wraparound for one in blockers):
        return "wait until the VACUUM ends: it does not give way"
    ends = ", ".join(f"pg_terminate_backend({one.pid})" for one in blockers if one.pid is not None)
    return f"wait until they end, or end them: SELECT {ends}"


def check_running_backups(backups: Sequence[RunningBackup]) -> Iterator[Finding]:
    """Dumps hold a snapshot as long as they run; base backups compete for the disk."""
    for kind, subject, reason, hint in (
        (
            "dump",
            DATABASE,
            "dump_running",
            "wait until it ends: it holds one snapshot, for which builds wait at their end",
        ),
        (
            "base backup",
            SERVER,
            "base_backup_running",
            "wait until it ends: both use the same volume, and the backup must keep the builds' WAL too",
        ),
    ):
        running = [one for one in backups if one.kind == kind]
        if not running:
            yield passed(f"running {kind}", subject, "none")
            continue
        yield warned(
            f"running {kind}",
            subject,
            reason,
            "; ".join(map(_described, running)),
            hint,
            pids=[one.pid for one in running],
        )


def _described(backup: RunningBackup) -> str:
    parts = [f"pid {backup.pid}", backup.application_name or backup.kind]
    if backup.usename:
        parts.insert(1, f"user {backup.usename}")
    if backup.phase:
        parts.append(backup.phase)
    if backup.age_seconds is not None:
        parts.append(f"for {duration(backup.age_seconds)}")
    return ", ".join(parts)
