"""Settings -> targets: connection strings completed, secrets read, manifests loaded and bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.errors import Fault, ManifestError, SettingsError
from exporter.manifest.loader import load_manifest, manifest_files
from exporter.model import Database, DatabasePattern, Manifest, RelationName, ServerDisk, Target
from exporter.parsing.text import InvalidText
from exporter.secret import SecretStr
from exporter.settings.connection.conninfo import sealed
from exporter.settings.connection.dsn_text import looks_like_dsn
from exporter.settings.model import DEFAULT_TARGET, DatabaseSettings, Settings, TargetSettings
from exporter.settings.names import Location
from exporter.settings.target_parameters import target_parameters
from exporter.settings.values import parse_free_bytes

# Where a target is asked for its databases if its DSN names none; initdb creates it for such uses.
MAINTENANCE_DATABASE = "postgres"


def resolve_targets(settings: Settings) -> tuple[Target, ...]:
    """The servers with their databases, each with the manifests that are bound to it.

    Raises: SettingsError, with all faults; ManifestError when only manifests are at fault.
    """
    resolution = _Resolution(settings)
    targets = resolution.targets()
    faults = (*resolution.faults, *resolution.manifest_faults)
    if faults:
        branch = SettingsError if resolution.faults else ManifestError
        count = len(faults)
        kinds = {"settings": resolution.faults, "manifests": resolution.manifest_faults}
        what = " and ".join(name for name, of_kind in kinds.items() if of_kind)
        raise branch(f"the {what} have {count} fault{'s' if count != 1 else ''}", faults=faults)
    return targets


class _Resolution:
    """One pass over the settings that collects all faults."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listed: dict[str, tuple[str, ...]] = {}
        self._loaded: dict[str, Manifest | None] = {}
        self.faults: list[Fault] = []
        self.manifest_faults: list[Fault] = []

    def targets(self) -> tuple[Target, ...]:
        target_settings = self._settings.targets or self._only_target()
        bound = self._bound_everywhere(target_settings)
        targets = []
        for number, target in enumerate(target_settings):
            location: Location = ("targets", number) if self._settings.targets else ("dsn",)
            targets.append(self._target(target, location, bound))
        self._refuse_duplicates([target.name for target in target_settings], ("targets",), "target")
        self._refuse_shared_disk(len(target_settings))
        return tuple(targets)

    def _only_target(self) -> tuple[TargetSettings, ...]:
        settings = self._settings
        if settings.dsn is None and settings.dsn_file is None:
            self._add(
                ("dsn",),
                "no PostgreSQL server is named",
                "set PG_INDEX_EXPORTER_DSN_FILE or PG_INDEX_EXPORTER_DSN, or list `targets` in the file",
            )
            return ()
        return (TargetSettings(name=DEFAULT_TARGET, dsn=settings.dsn, dsn_file=settings.dsn_file),)

    def _bound_everywhere(self, targets: Sequence[TargetSettings]) -> tuple[str, ...]:
        """The manifests given at the top when there is one database, which gets them all."""
        databases = [database for target in targets for database in target.databases or (None,)]
        has_patterns = any(database is not None and database.pattern is not None for database in databases)
        if len(databases) <= 1 and not has_patterns:
            return self._settings.manifests
        named = {
            file for database in databases if database is not None for file in self._files(database.manifests)
        }
        for number, path in enumerate(self._settings.manifests):
            if not named.issuperset(self._files([path])):
                self._add(
                    ("manifests", number),
                    f"the manifest {path} is bound to no database, and there "
                    + ("may be several" if has_patterns else f"are {len(databases)}"),
                    "name it under targets[].databases[].manifests where its indexes belong",
                )
        return ()

    def _target(self, target: TargetSettings, location: Location, bound: Sequence[str]) -> Target:
        parameters = self._parameters(target, location)
        databases = target.databases
        if not databases and parameters is not None:
            # As libpq: without a name, the database of the user's name.
            name = parameters.get("dbname") or parameters.get("user")
            if name:
                databases = (DatabaseSettings(name=name),)
            else:
                self._add(
                    location,
                    f"target {target.name!r} names no database",
                    "add dbname to the DSN, or `databases:` to the target",
                )
        names = [item.name for item in databases if item.name is not None]
        self._refuse_duplicates(names, (*location, "databases"), "database")
        patterns = [item.pattern for item in databases if item.pattern is not None]
        self._refuse_duplicates(patterns, (*location, "databases"), "pattern")
        if not databases:
            self._manifests(bound, location)  # for their faults
        named: list[Database] = []
        matching: list[DatabasePattern] = []
        for number, database in enumerate(databases):
            place = (*location, "databases", number) if target.databases else location
            manifests = self._manifests((*bound, *database.manifests), place)
            watch = database.watch or target.watch or self._settings.watch
            if database.name is not None:
                conninfo = self._conninfo(parameters, database.name, place)
                named.append(Database(database.name, SecretStr(conninfo), manifests, watch))
            if database.pattern is not None:
                matching.append(DatabasePattern(database.pattern, database.exclude, manifests, watch))
        maintenance = self._maintenance(parameters, location) if matching else None
        return Target(target.name, tuple(named), tuple(matching), maintenance, _disk(target))

    def _maintenance(self, parameters: Mapping[str, str] | None, location: Location) -> Database:
        """The database in which the target is asked which others it has."""
        datname = (parameters or {}).get("dbname") or MAINTENANCE_DATABASE
        return Database(datname, SecretStr(self._conninfo(parameters, datname, location)))

    def _parameters(self, target: TargetSettings, location: Location) -> dict[str, str] | None:
        """The target's connection parameters, or None with a fault added."""
        parameters, faults = target_parameters(target, self._settings.origin.service_files)
        for keyword, what, hint in faults:
            self._add(
                (keyword,) if keyword == "dsn_file" and location == ("dsn",) else (*location, keyword),
                what,
                hint,
            )
        return None if faults else parameters

    def _conninfo(self, parameters: Mapping[str, str] | None, datname: str, place: Location) -> str:
        if parameters is None:
            return ""
        if looks_like_dsn(datname):
            self._add(place, "the name of a database is a connection string", "give it as `dsn`")
            return ""
        try:
            return sealed({**parameters, "dbname": datname})
        except InvalidText as error:
            self._add(place, error.what, error.hint)
            return ""

    def _manifests(self, paths: Sequence[str], place: Location) -> tuple[Manifest, ...]:
        loaded = [self._manifest(path) for path in self._files(paths).values()]
        manifests = tuple(manifest for manifest in loaded if manifest is not None)
        self._refuse_overlap(manifests, place)
        return manifests

    def _files(self, paths: Sequence[str]) -> dict[Path, str]:
        """The manifest files at these paths, each once: its resolved path, and the path as given."""
        files: dict[Path, str] = {}
        for path in paths:
            if path not in self._listed:
                try:
                    self._listed[path] = tuple(map(str, manifest_files(Path(path))))
                except ManifestError as error:
                    self._listed[path] = ()
                    self.manifest_faults.extend(error.faults)
            files |= {Path(file).resolve(): file for file in self._listed[path]}
        return files

    def _manifest(self, path: str) -> Manifest | None:
        if path not in self._loaded:
            try:
                self._loaded[path] = load_manifest(Path(path))
            except ManifestError as error:
                self._loaded[path] = None
                self.manifest_faults.extend(error.faults)
        return self._loaded[path]

    def _refuse_overlap(self, manifests: Sequence[Manifest], place: Location) -> None:
        """Two manifests of one database must not share a migration's name or an index."""
        migrations: dict[str, Manifest] = {}
        indexes: dict[RelationName, Manifest] = {}
        for manifest in manifests:
            other = migrations.setdefault(manifest.migration, manifest)
            if other is not manifest:
                self._add(
                    place,
                    f"{other.path} and {manifest.path} are both the migration {manifest.migration!r}",
                    "give one of them another name",
                )
            for index in manifest.indexes:
                other = indexes.setdefault(index.relation, manifest)
                if other is not manifest:
                    self._add(
                        place,
                        f"{other.path} and {manifest.path} both declare {index.relation.quoted}",
                        "declare an index once in a database",
                    )

    def _refuse_shared_disk(self, target_count: int) -> None:
        """In a file with several targets, disk settings must name theirs; a flag may go with --target."""
        if target_count <= 1:
            return
        for name in ("data_directory", "free_bytes"):
            if getattr(self._settings, name) and not self._settings.is_ad_hoc(name):
                self._add(
                    (name,),
                    f"{name} describes the disk of one server, and there are {target_count} targets",
                    f"write it under the target: targets[].{name}",
                )

    def _refuse_duplicates(self, names: Sequence[str], place: Location, what: str) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                self._add(place, f"{what} {name!r} is listed {count} times", "list it once")

    def _add(self, location: Location, what: str, hint: str) -> None:
        self.faults.append(Fault(self._settings.place(*location), what, hint))


def _disk(settings: Settings | TargetSettings) -> ServerDisk:
    """The disk of a server, as its target describes it, or the top of the settings."""
    return ServerDisk(
        None if settings.data_directory is None else Path(settings.data_directory),
        tuple(map(parse_free_bytes, settings.free_bytes)),
    )


def disk_of(settings: Settings, target: Target, *, target_count: int) -> ServerDisk:
    """The disk of the target's server; the top of the settings prevails if a command works on one target.

    Raises: SettingsError if the top would describe several servers.
    """
    top = _disk(settings)
    if target_count > 1 and top != ServerDisk():
        names = [name for name in ("data_directory", "free_bytes") if getattr(settings, name)]
        raise SettingsError(
            "the settings describe the disk of one server",
            faults=tuple(
                Fault(
                    settings.place(name),
                    f"it describes the disk of one server, and the command works on {target_count} targets",
                    f"choose one with --target, or write targets[].{name} in the settings",
                )
                for name in names
            ),
        )
    return ServerDisk(
        top.data_directory or target.disk.data_directory, top.free_bytes or target.disk.free_bytes
    )
