"""WAL that a build makes others keep or replay: slots, archive, standbys. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.options import PreflightOptions
from exporter.migrate.preflight.findings import SERVER, failed, passed, unknown, warned
from exporter.model import Finding
from exporter.postgres.server.replication import ArchiverFacts, ReplicationLag, ReplicationSlot
from exporter.text.figures import byte_size, duration

_CRITERION = "WAL retention"


def check_slots(
    slots: Sequence[ReplicationSlot], wal_bytes: int | None, max_keep_bytes: int | None
) -> Iterator[Finding]:
    """One finding for each slot that the WAL of the builds endangers, or one that there is none.

    `wal_bytes` is what the builds will write, None while that is not known.
    """
    unsafe = [finding for slot in slots if (finding := _slot(slot, wal_bytes, max_keep_bytes)) is not None]
    if unsafe:
        yield from unsafe
    elif slots:
        retained = max((slot.retained_bytes or 0 for slot in slots), default=0)
        found = f"{len(slots)} slots in use, the farthest holds back {byte_size(retained)}"
        yield passed(_CRITERION, SERVER, found, retained_bytes=retained)
    else:
        yield passed(_CRITERION, SERVER, "no replication slot holds WAL back")


def _slot(slot: ReplicationSlot, wal_bytes: int | None, max_keep_bytes: int | None) -> Finding | None:
    subject = f"slot {slot.slot_name}"
    drop = f"SELECT pg_drop_replication_slot('{slot.slot_name}')"
    facts: dict[str, object] = {
        "retained_bytes": slot.retained_bytes,
        "safe_wal_size_bytes": slot.safe_wal_size_bytes,
        "wal_bytes": wal_bytes,
    }
    retained = "an unknown amount" if slot.retained_bytes is None else byte_size(slot.retained_bytes)
    if slot.wal_status == "lost":
        hint = f"it will not recover: {drop}, then make its consumer anew"
        return warned(_CRITERION, subject, "slot_lost", "its WAL is gone", hint, **facts)
    if slot.wal_status == "unreserved":
        hint = "let its consumer catch up first: the next checkpoint removes WAL that it needs"
        return failed(_CRITERION, subject, "slot_unreserved", f"{retained} behind its limit", hint, **facts)
    safe = slot.safe_wal_size_bytes
    if safe is not None and wal_bytes is not None and safe < wal_bytes and not slot.active:
        found = f"inactive; {byte_size(safe)} are left to it, the builds write up to {byte_size(wal_bytes)}"
        hint = f"start its consumer, raise max_slot_wal_keep_size, or give it up: {drop}"
        return failed(_CRITERION, subject, "slot_would_be_lost", found, hint, **facts)
    if safe is not None and wal_bytes is not None and safe < wal_bytes:
        found = f"{byte_size(safe)} are left to it, the builds write up to {byte_size(wal_bytes)}"
        hint = "raise max_slot_wal_keep_size, or see that its consumer keeps up"
        return warned(_CRITERION, subject, "slot_may_be_lost", found, hint, **facts)
    if not slot.active and max_keep_bytes is None:
        found = f"inactive, holds back {retained}, and max_slot_wal_keep_size sets no limit"
        hint = f"start its consumer, or give it up: {drop}; else it keeps all WAL of the builds"
        return warned(_CRITERION, subject, "slot_inactive", found, hint, **facts)
    return None


def check_archiving(archiver: ArchiverFacts) -> Finding:
    """Whether WAL goes to the archive: what does not stays on the volume."""
    facts: dict[str, object] = {
        "archive_mode": archiver.archive_mode,
        "failed_count": archiver.failed_count,
        "last_archived_time": archiver.last_archived_time,
        "last_failed_time": archiver.last_failed_time,
    }
    if archiver.archive_mode == "off":
        return passed("archiving", SERVER, "archive_mode is off", **facts)
    if archiver.is_failing:
        ago = duration(max(0.0, archiver.clock_timestamp - (archiver.last_failed_time or 0.0)))
        return failed(
            "archiving",
            SERVER,
            "archive_failing",
            f"{archiver.last_failed_wal} was refused {ago} ago, {archiver.failed_count} failures in all",
            "fix archive_command or archive_library first: all WAL of the builds would stay on the volume",
            **facts,
        )
    if archiver.last_archived_time is None:
        hint = "SELECT pg_switch_wal() and look at pg_stat_archiver"
        return unknown("archiving", SERVER, "never_archived", "nothing was archived yet", hint, **facts)
    ago = duration(max(0.0, archiver.clock_timestamp - archiver.last_archived_time))
    return passed("archiving", SERVER, f"the latest WAL file was archived {ago} ago", **facts)


def check_lag(standbys: Sequence[ReplicationLag], options: PreflightOptions) -> Iterator[Finding]:
    """One finding for each standby that is behind, or one for all that are not."""
    behind = [finding for one in standbys if (finding := _lag(one, options)) is not None]
    if behind:
        yield from behind
    elif standbys:
        most = max(one.replay_lag_bytes or 0 for one in standbys)
        found = f"{len(standbys)} stream, the farthest is {byte_size(most)} behind"
        yield passed("replica lag", SERVER, found, replay_lag_bytes=most)
    else:
        yield passed("replica lag", SERVER, "nobody streams from here")


def _lag(one: ReplicationLag, options: PreflightOptions) -> Finding | None:
    subject = f"standby {one.application_name or one.pid}"
    if one.state is None:
        hint = "GRANT pg_read_all_stats to this role"
        return unknown("replica lag", subject, "not_permitted", "its lag is hidden from this role", hint)
    lag_bytes, seconds = one.replay_lag_bytes, one.replay_lag_seconds
    facts: dict[str, object] = {
        "replay_lag_bytes": lag_bytes,
        "replay_lag_seconds": seconds,
        "state": one.state,
    }
    if lag_bytes is None:
        hint = "wait until it reports what it has replayed"
        return unknown(
            "replica lag", subject, "not_reported", f"{one.state}, replay is not reported", hint, **facts
        )
    # What the lag in seconds was, is told until something is written again.
    late = (seconds or 0.0) if lag_bytes else 0.0
    found = f"{byte_size(lag_bytes)}" + (f" and {duration(late)}" if late else "") + f" behind, {one.state}"
    if lag_bytes > options.max_lag_bytes or late > options.max_lag_seconds:
        hint = "wait until it has caught up: builds write as much WAL as their indexes are large"
        return failed("replica lag", subject, "far_behind", found, hint, **facts)
    if lag_bytes > options.warn_lag_bytes or late > options.warn_lag_seconds:
        hint = "better wait until it has caught up: builds add to it"
        return warned("replica lag", subject, "behind", found, hint, **facts)
    return None
