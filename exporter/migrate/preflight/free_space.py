"""Where builds write, and how much is free there: on volumes seen from here, or by somebody's word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.migrate.options import WAL_VOLUME, PreflightOptions
from exporter.migrate.preflight.findings import SERVER, unknown
from exporter.migrate.preflight.volumes import Volume, read_volume, system_identifier_of
from exporter.model import DeclaredIndex, Finding, IndexEstimate
from exporter.postgres.server.storage import StorageFacts, TablespaceFacts

DISK = "disk"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written: a tablespace by name, "" for the database's own; or pg_wal."""

    tablespace: str = ""
    is_wal: bool = False

    @property
    def title(self) -> str:
        """What people call it."""
        if self.is_wal:
            return WAL_VOLUME
        return f"tablespace {self.tablespace}" if self.tablespace else "data directory"


@dataclass(frozen=True, slots=True)
class Room:
    """What is free for several places that share it, by whom it is told. `title` is its own. Units: bytes."""

    title: str
    free_bytes: int
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rooms:
    """The room of each place; a place that has none lies where nothing tells what is free.

    `fault` says what is wrong with the data directory that was named.
    """

    by_place: Mapping[Place, Room] = field(default_factory=dict)
    fault: Finding | None = None


def index_place(index: DeclaredIndex, storage: StorageFacts) -> Place:
    """Where the index itself is written."""
    return _place_of(index.tablespace or storage.default_tablespace, storage)


def sort_places(storage: StorageFacts) -> tuple[Place, ...]:
    """Where the sorts are written: of several tablespaces the server takes one after the other."""
    names = storage.temporary_tablespaces or ("",)
    return tuple(dict.fromkeys(_place_of(name, storage) for name in names))


def wal_place() -> Place:
    """Where the log is written."""
    return Place(is_wal=True)


def _place_of(tablespace: str, storage: StorageFacts) -> Place:
    return Place("" if tablespace == storage.dattablespace else tablespace)


def find_rooms(
    estimates: Sequence[IndexEstimate],
    storage: StorageFacts,
    tablespaces: Mapping[str, TablespaceFacts],
    system_identifier: str | None,
    options: PreflightOptions,
) -> Rooms:
    """The rooms of everything that the builds write."""
    places = [index_place(one.index, storage) for one in estimates]
    places += [*sort_places(storage), wal_place()]
    found = _find_data_directory(system_identifier, options)
    fault = found if isinstance(found, Finding) else None
    data_directory = None if isinstance(found, Finding) else found
    return Rooms(dict(_rooms_of(dict.fromkeys(places), data_directory, tablespaces, options)), fault)


def _rooms_of(
    places: Iterable[Place],
    data_directory: Path | None,
    tablespaces: Mapping[str, TablespaceFacts],
    options: PreflightOptions,
) -> Iterable[tuple[Place, Room]]:
    by_device: dict[int, Room] = {}
    for place in places:
        told = _told(place, data_directory, options)
        if told is not None:
            yield place, told
            continue
        volume = None if data_directory is None else _volume_of(place, data_directory, tablespaces)
        if volume is not None:
            room = Room(f"volume of {volume.path}", volume.free_bytes, volume.size_bytes)
            yield place, by_device.setdefault(volume.device, room)


def _told(place: Place, data_directory: Path | None, options: PreflightOptions) -> Room | None:
    name = WAL_VOLUME if place.is_wal else place.tablespace
    if name in options.free_bytes:
        return Room(place.title, options.free_bytes[name])
    # The log lies in the data directory unless something tells otherwise.
    if place.is_wal and "" in options.free_bytes and not _has_own_volume(place, data_directory):
        return Room(Place().title, options.free_bytes[""])
    return None


def _has_own_volume(place: Place, data_directory: Path | None) -> bool:
    if data_directory is None:
        return False
    volume, own = _volume_of(place, data_directory, {}), read_volume(data_directory)
    return volume is None or own is None or volume.device != own.device


def _find_data_directory(system_identifier: str | None, options: PreflightOptions) -> Path | Finding | None:
    path = options.data_directory
    if path is None:
        return None
    if read_volume(path) is None:
        hint = "mount it here, or let this user enter it; or give --free-bytes SIZE"
        return unknown(DISK, SERVER, "not_seen", f"{path} cannot be seen from here", hint)
    identifier = system_identifier_of(path)
    if identifier is not None and system_identifier is not None and identifier != system_identifier:
        found = f"{path} belongs to another server: its system identifier is {identifier}"
        return unknown(DISK, SERVER, "other_server", found, "correct --data-directory")
    return path


def _volume_of(
    place: Place, data_directory: Path, tablespaces: Mapping[str, TablespaceFacts]
) -> Volume | None:
    if place.is_wal:
        folder = data_directory / "pg_wal"
        # Where the data directory may not be entered it is taken to lie in it; a link leads elsewhere.
        return read_volume(folder) or (None if _is_link(folder) else read_volume(data_directory))
    known = tablespaces.get(place.tablespace)
    if place.tablespace and known is not None and known.spcname != "pg_default":
        return read_volume(data_directory / "pg_tblspc" / str(known.oid))
    return read_volume(data_directory)


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False
