"""Disk: what the builds need on each volume, held against what is free there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.migrate.figures import byte_size, duration
from exporter.migrate.preflight.estimate import IndexEstimate, SpaceNeeded, needed_together
from exporter.migrate.preflight.findings import SERVER, failed, passed, unknown, warned
from exporter.migrate.preflight.options import PreflightOptions
from exporter.migrate.preflight.volumes import Volume, read_volume, system_identifier_of
from exporter.model import DeclaredIndex, Finding
from exporter.postgres.storage import StorageFacts, TablespaceFacts

_CRITERION = "disk"
_NO_SOURCE = (
    "say where its files can be seen: --data-directory DIR (on the server, or on the volume that a sidecar "
    "shares), or what is free: --free-bytes SIZE"
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is written: a tablespace by name, "" for the database's own; or pg_wal."""

    tablespace: str
    is_wal: bool = False


@dataclass(frozen=True, slots=True)
class _Room:
    """What is free in one place, by whom it is told. `key` is equal for places that share it."""

    key: object
    title: str
    free_bytes: int
    size_bytes: int | None


def check_disk(
    estimates: Sequence[IndexEstimate],
    storage: StorageFacts,
    tablespaces: Mapping[str, TablespaceFacts],
    system_identifier: str | None,
    options: PreflightOptions,
) -> Iterator[Finding]:
    """One finding for each volume that is written to, and one where the volumes cannot be known."""
    needs = _needs(estimates, storage, max_parallel=options.max_parallel)
    found = _find_data_directory(system_identifier, options)
    if isinstance(found, Finding):
        yield found
    data_directory = None if isinstance(found, Finding) else found
    rooms: dict[object, tuple[_Room, SpaceNeeded]] = {}
    homeless: list[tuple[_Place, SpaceNeeded]] = []
    for place, need in needs.items():
        room = _room_of(place, data_directory, tablespaces, options)
        if room is None:
            homeless.append((place, need))
            continue
        known = rooms.get(room.key)
        rooms[room.key] = (room, need if known is None else _sum(known[1], need))
    for room, need in rooms.values():
        yield _judged(room, need, options.warn_free_share)
    if homeless and not isinstance(found, Finding):
        total = _sum(*(need for _, need in homeless))
        titles = sorted({_title(place) for place, _ in homeless})
        subject = SERVER if not rooms else ", ".join(titles)
        said = f"{_words(total)}; what is free is not known"
        yield unknown(_CRITERION, subject, "no_source", said, _NO_SOURCE, **_facts(total, None, None))


def _needs(
    estimates: Sequence[IndexEstimate], storage: StorageFacts, *, max_parallel: int | None
) -> dict[_Place, SpaceNeeded]:
    """What is written where, of all builds together."""
    together = needed_together(estimates, max_parallel=max_parallel)
    needs: dict[_Place, SpaceNeeded] = {}

    def add(place: _Place, need: SpaceNeeded) -> None:
        needs[place] = _sum(needs.get(place, SpaceNeeded(0, 0, 0)), need)

    for one in estimates:
        add(_Place(_tablespace_of(one.index, storage)), SpaceNeeded(one.index_bytes, 0, 0))
    # Of several temporary tablespaces the server takes one after the other; each must hold the largest.
    temporary = storage.temp_tablespaces.split(",")[0].strip().strip('"')
    temporary = "" if temporary == storage.dattablespace else temporary
    add(_Place(temporary), SpaceNeeded(0, together.temporary_bytes, 0))
    add(_Place("", is_wal=True), SpaceNeeded(0, 0, together.wal_bytes))
    return needs


def _tablespace_of(index: DeclaredIndex, storage: StorageFacts) -> str:
    name = index.tablespace or storage.default_tablespace
    return "" if name == storage.dattablespace else name


def _find_data_directory(system_identifier: str | None, options: PreflightOptions) -> Path | Finding | None:
    path = options.data_directory
    if path is None:
        return None
    if read_volume(path) is None:
        mend = "mount it here, or let this user enter it; or give --free-bytes SIZE"
        return unknown(_CRITERION, SERVER, "not_seen", f"{path} cannot be seen from here", mend)
    identifier = system_identifier_of(path)
    if identifier is not None and system_identifier is not None and identifier != system_identifier:
        found = f"{path} belongs to another server: its system identifier is {identifier}"
        return unknown(_CRITERION, SERVER, "other_server", found, "correct --data-directory")
    return path


def _room_of(
    place: _Place,
    data_directory: Path | None,
    tablespaces: Mapping[str, TablespaceFacts],
    options: PreflightOptions,
) -> _Room | None:
    if place.tablespace in options.free_bytes:
        free = options.free_bytes[place.tablespace]
        return _Room(("told", place.tablespace), _title(_Place(place.tablespace)), free, None)
    if data_directory is None:
        return None
    volume = _volume_of(place, data_directory, tablespaces)
    if volume is None:
        return None
    return _Room(volume.device, f"volume of {volume.path}", volume.free_bytes, volume.size_bytes)


def _volume_of(
    place: _Place, data_directory: Path, tablespaces: Mapping[str, TablespaceFacts]
) -> Volume | None:
    if place.is_wal:
        # Where it may not be entered it is taken to lie on the volume itself.
        return read_volume(data_directory / "pg_wal") or read_volume(data_directory)
    known = tablespaces.get(place.tablespace)
    if place.tablespace and known is not None and known.spcname != "pg_default":
        return read_volume(data_directory / "pg_tblspc" / str(known.oid))
    return read_volume(data_directory)


def _judged(room: _Room, need: SpaceNeeded, warn_free_share: float) -> Finding:
    subject = room.title
    facts = _facts(need, room.free_bytes, room.size_bytes)
    of_size = "" if room.size_bytes is None else f" of {byte_size(room.size_bytes)}"
    found = f"{_words(need)}; {byte_size(room.free_bytes)}{of_size} are free"
    if need.all_bytes > room.free_bytes:
        mend = "free or add space; build fewer at once (--sequential); or name another tablespace"
        return failed(_CRITERION, subject, "too_little", found, mend, **facts)
    left = room.free_bytes - need.all_bytes
    if left < warn_free_share * (room.size_bytes or room.free_bytes):
        mend = f"only {byte_size(left)} would be left at the worst moment: free or add space first"
        return warned(_CRITERION, subject, "nearly_full", found, mend, **facts)
    return passed(_CRITERION, subject, found, **facts)


def check_temporary_files(estimates: Sequence[IndexEstimate], storage: StorageFacts) -> Iterator[Finding]:
    """Whether temp_file_limit would end a build."""
    limit = storage.temp_file_limit_bytes
    for one in estimates:
        if limit is not None and one.temporary_bytes > limit:
            yield failed(
                "temporary files",
                one.index.relation.quoted,
                "over_limit",
                f"sorts up to {byte_size(one.temporary_bytes)}, temp_file_limit is {byte_size(limit)}",
                "as a superuser raise temp_file_limit for this role, or raise maintenance_work_mem",
                temporary_bytes=one.temporary_bytes,
                temp_file_limit_bytes=limit,
            )


def check_duration(estimates: Sequence[IndexEstimate], deadline_seconds: float) -> Iterator[Finding]:
    """Whether each build may end before its deadline, which is its statement_timeout."""
    for one in estimates:
        subject = one.index.relation.quoted
        facts = {
            "seconds": round(one.seconds, 1),
            "deadline_seconds": deadline_seconds,
            "rows": one.row_count,
            "index_bytes": one.index_bytes,
        }
        found = f"about {duration(one.seconds)} by size alone, the deadline is {duration(deadline_seconds)}"
        mend = "raise --deadline-seconds: the server cancels a build that takes longer"
        if one.seconds > deadline_seconds:
            yield failed("max duration", subject, "over_deadline", found, mend, **facts)
        elif one.seconds > deadline_seconds / 2:
            yield warned("max duration", subject, "near_deadline", found, mend, **facts)
        else:
            yield passed("max duration", subject, found, **facts)


def _sum(*needs: SpaceNeeded) -> SpaceNeeded:
    return SpaceNeeded(
        sum(need.index_bytes for need in needs),
        sum(need.temporary_bytes for need in needs),
        sum(need.wal_bytes for need in needs),
    )


def _words(need: SpaceNeeded) -> str:
    parts = [
        f"{what} {byte_size(size)}"
        for what, size in (
            ("indexes", need.index_bytes),
            ("sorting", need.temporary_bytes),
            ("WAL", need.wal_bytes),
        )
        if size
    ]
    return f"needs up to {byte_size(need.all_bytes)}" + (f" ({', '.join(parts)})" if parts else "")


def _facts(need: SpaceNeeded, free_bytes: int | None, size_bytes: int | None) -> dict[str, object]:
    return {
        "index_bytes": need.index_bytes,
        "temporary_bytes": need.temporary_bytes,
        "wal_bytes": need.wal_bytes,
        "free_bytes": free_bytes,
        "size_bytes": size_bytes,
    }


def _title(place: _Place) -> str:
    return f"tablespace {place.tablespace}" if place.tablespace else "data directory"
