"""Where builds write, and the free space there: of volumes mounted here, or as the user states it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.migrate.options import WAL_VOLUME, PreflightOptions
from exporter.migrate.preflight.disk.volumes import Volume, read_volume, system_identifier_of
from exporter.migrate.preflight.findings import SERVER, unknown
from exporter.model import DeclaredIndex, Finding, IndexEstimate
from exporter.postgres.server.storage import StorageFacts, TablespaceFacts

DISK = "disk"


@dataclass(frozen=True, slots=True)
class Place:
    """A place that is written to: a tablespace by name, "" for the database's own; or pg_wal."""

    tablespace: str = ""
    is_wal: bool = False

    @property
    def title(self) -> str:
        """The name that findings show."""
        if self.is_wal:
            return WAL_VOLUME
        return f"tablespace {self.tablespace}" if self.tablespace else "data directory"


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The free space that one or several places share, with the name of the volume. Units: bytes."""

    title: str
    free_bytes: int
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class FreeSpaces:
    """The free space of each place; of a place that is missing it is unknown.

    `fault` says what is wrong with the given data directory.
    """

    by_place: Mapping[Place, FreeSpace] = field(default_factory=dict)
    fault: Finding | None = None


def index_place(index: DeclaredIndex, storage: StorageFacts) -> Place:
    """The place of the index itself."""
    return _place_of(index.tablespace or storage.default_tablespace, storage)


def sort_places(storage: StorageFacts) -> tuple[Place, ...]:
    """The places of sorts: of several tablespaces the server uses one after the other."""
    names = storage.temporary_tablespaces or ("",)
    return tuple(dict.fromkeys(_place_of(name, storage) for name in names))


def wal_place() -> Place:
    """The place of the WAL."""
    return Place(is_wal=True)


def _place_of(tablespace: str, storage: StorageFacts) -> Place:
    return Place("" if tablespace == storage.dattablespace else tablespace)


def find_free_space(
    estimates: Sequence[IndexEstimate],
    storage: StorageFacts,
    tablespaces: Mapping[str, TablespaceFacts],
    system_identifier: str | None,
    options: PreflightOptions,
) -> FreeSpaces:
    """The free space of every place that the builds write to."""
    places = [index_place(one.index, storage) for one in estimates]
    places += [*sort_places(storage), wal_place()]
    checked = _check_data_directory(system_identifier, options)
    fault = checked if isinstance(checked, Finding) else None
    data_directory = None if isinstance(checked, Finding) else checked
    spaces = _spaces_of(dict.fromkeys(places), data_directory, tablespaces, options)
    return FreeSpaces(dict(spaces), fault)


def _spaces_of(
    places: Iterable[Place],
    data_directory: Path | None,
    tablespaces: Mapping[str, TablespaceFacts],
    options: PreflightOptions,
) -> Iterable[tuple[Place, FreeSpace]]:
    by_device: dict[int, FreeSpace] = {}
    for place in places:
        stated = _stated(place, data_directory, options)
        if stated is not None:
            yield place, stated
            continue
        volume = None if data_directory is None else _volume_of(place, data_directory, tablespaces)
        if volume is not None:
            space = FreeSpace(f"volume of {volume.path}", volume.free_bytes, volume.size_bytes)
            yield place, by_device.setdefault(volume.device, space)


def _stated(place: Place, data_directory: Path | None, options: PreflightOptions) -> FreeSpace | None:
    name = WAL_VOLUME if place.is_wal else place.tablespace
    if name in options.free_bytes:
        return FreeSpace(place.title, options.free_bytes[name])
    # The WAL is in the data directory unless it has a volume of its own.
    if place.is_wal and "" in options.free_bytes and not _has_own_volume(place, data_directory):
        return FreeSpace(Place().title, options.free_bytes[""])
    return None


def _has_own_volume(place: Place, data_directory: Path | None) -> bool:
    if data_directory is None:
        return False
    volume, own = _volume_of(place, data_directory, {}), read_volume(data_directory)
    return volume is None or own is None or volume.device != own.device


def _check_data_directory(system_identifier: str | None, options: PreflightOptions) -> Path | Finding | None:
    path = options.data_directory
    if path is None:
        return None
    if read_volume(path) is None:
        hint = "mount it here, grant this user access to it, or give --free-bytes SIZE"
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
        # Without access to the data directory the WAL is assumed to be inside; a link leads elsewhere.
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
