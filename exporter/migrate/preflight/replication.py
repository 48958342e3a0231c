"""Consumers of the WAL that builds write: slots, archive, standbys. Pure."""

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
    """One finding for each slot at risk by the WAL of the builds, or one if there is none.

    `wal_bytes` is what the builds will write, None if unknown.
    """
    unsafe = [finding for slot in slots if (finding := _slot(slot, wal_bytes, max_keep_bytes)) is not None]
    if unsafe:
        yield from unsafe
    elif slots:
        retained = max((slot.retained_bytes or 0 for slot in slots), default=0)
        found = f"{len(slots)} slots, the oldest retains {byte_size(retained)}"
        yield passed(_CRITERION, SERVER, found, retained_bytes=retained)
    else:
        yield passed(_CRITERION, SERVER, "no replication slot retains WAL")


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
        found = "its WAL is removed, it cannot recover"
        hint = f"set its consumer up again, and drop it: {drop}"
        return warned(_CRITERION, subject, "slot_lost", found, hint, **facts)
    if slot.wal_status == "unreserved":
        found = f"retains {retained}, beyond its limit: the next checkpoint removes WAL that it needs"
        hint = "let its consumer catch up first"
        return failed(_CRITERION, subject, "slot_unreserved", found, hint, **facts)
    safe = slot.safe_wal_size_bytes
    if safe is not None and wal_bytes is not None and safe < wal_bytes and not slot.active:
        found = f"inactive; {byte_size(safe)} of WAL left, the builds write up to {byte_size(wal_bytes)}"
        hint = f"start its consumer, raise max_slot_wal_keep_size, or drop it: {drop}"
        return failed(_CRITERION, subject, "slot_would_be_lost", found, hint, **facts)
    if safe is not None and wal_bytes is not None and safe < wal_bytes:
        found = f"{byte_size(safe)} of WAL left, the builds write up to {byte_size(wal_bytes)}"
        hint = "raise max_slot_wal_keep_size, or make sure that its consumer keeps up"
        return warned(_CRITERION, subject, "slot_may_be_lost", found, hint, **facts)
    if not slot.active and max_keep_bytes is None:
        found = f"inactive, retains {retained}, and all WAL of the builds: max_slot_wal_keep_size is -1"
        hint = f"start its consumer, or drop it: {drop}"
        return warned(_CRITERION, subject, "slot_inactive", found, hint, **facts)
    return None


def check_archiving(archiver: ArchiverFacts) -> Finding:
    """Whether WAL is archived: unarchived WAL stays on the volume."""
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
            f"{archiver.last_failed_wal} failed {ago} ago, {archiver.failed_count} failures in all",
            "repair archive_command or archive_library first: all WAL of the builds would stay on the volume",
            **facts,
        )
    if archiver.last_archived_time is None:
        hint = "SELECT pg_switch_wal()"
        found = "nothing has been archived yet; a WAL switch shows whether it works"
        return unknown("archiving", SERVER, "never_archived", found, hint, **facts)
    ago = duration(max(0.0, archiver.clock_timestamp - archiver.last_archived_time))
    return passed("archiving", SERVER, f"the latest WAL file was archived {ago} ago", **facts)


def check_lag(standbys: Sequence[ReplicationLag], options: PreflightOptions) -> Iterator[Finding]:
    """One finding for each standby that is behind, or one for all if none is."""
    behind = [finding for one in standbys if (finding := _lag(one, options)) is not None]
    if behind:
        yield from behind
    elif standbys:
        most = max(one.replay_lag_bytes or 0 for one in standbys)
        count = "1 standby" if len(standbys) == 1 else f"{len(standbys)} standbys"
        found = f"{count}, at most {byte_size(most)} behind"
        yield passed("replica lag", SERVER, found, replay_lag_bytes=most)
    else:
        yield passed("replica lag", SERVER, "no standby is connected")


def _lag(one: ReplicationLag, options: PreflightOptions) -> Finding | None:
    subject = f"standby {one.application_name or one.pid}"
    if one.state is None:
        hint = "grant pg_read_all_stats to this role"
        return unknown("replica lag", subject, "not_permitted", "its lag is hidden from this role", hint)
    lag_bytes, seconds = one.replay_lag_bytes, one.replay_lag_seconds
    facts: dict[str, object] = {
        "replay_lag_bytes": lag_bytes,
        "replay_lag_seconds": seconds,
        "state": one.state,
    }
    if lag_bytes is None:
        hint = "wait until it reports its replay position"
        return unknown(
            "replica lag", subject, "not_reported", f"{one.state}, replay is not reported", hint, **facts
        )
    # The server shows the last lag in seconds until something is written again.
    late = (seconds or 0.0) if lag_bytes else 0.0
    found = f"{byte_size(lag_bytes)}" + (f" and {duration(late)}" if late else "") + f" behind, {one.state}"
    if lag_bytes > options.max_lag_bytes or late > options.max_lag_seconds:
        hint = "wait until it has caught up: builds write as much WAL as the size of their indexes"
        return failed("replica lag", subject, "far_behind", found, hint, **facts)
    if lag_bytes > options.warn_lag_bytes or late > options.warn_lag_seconds:
        hint = "wait until it has caught up: builds increase the lag"
        return warned("replica lag", subject, "behind", found, hint, **facts)
    return None
