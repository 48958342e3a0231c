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
from exporter.settings.conninfo import parse_dsn, sealed, with_service
from exporter.settings.credentials import credential_faults
from exporter.settings.dsn_text import looks_like_dsn
from exporter.settings.model import DEFAULT_TARGET, DatabaseSettings, Settings, TargetSettings
from exporter.settings.names import Location
from exporter.settings.values import parse_free_bytes

# Where a target is asked for its databases unless its DSN names one; initdb makes it for such uses.
MAINTENANCE_DATABASE = "postgres"

_MAX_SECRET_BYTES = 64 * 1024


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
        wrong = {"settings": resolution.faults, "manifests": resolution.manifest_faults}
        what = " and ".join(name for name, found in wrong.items() if found)
        raise branch(f"the {what} have {count} fault{'s' if count != 1 else ''}", faults=faults)
    return targets


class _Resolution:
    """One run over the settings, collecting faults on the way."""

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
        self._refuse_twins([target.name for target in target_settings], ("targets",), "target")
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
        self._refuse_twins(names, (*location, "databases"), "database")
        patterns = [item.pattern for item in databases if item.pattern is not None]
        self._refuse_twins(patterns, (*location, "databases"), "pattern")
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
        before = len(self.faults)
        dsn = self._secret(target, "dsn", location)
        password = self._secret(target, "password", location)
        parameters: dict[str, str] = {}
        of_service: dict[str, str] = {}
        if dsn is not None:
            try:
                parameters = parse_dsn(dsn)
                service = {"service": parameters.pop("service", "")}
                of_service = with_service(service, self._settings.origin.service_files)
            except InvalidText as error:
                self._add((*location, "dsn"), error.what, error.hint)
        given = {
            "host": target.host,
            "hostaddr": target.hostaddr,
            "port": None if target.port is None else str(target.port),
            "user": target.user,
            "password": password,
            "passfile": target.passfile,
            "sslmode": target.sslmode,
            "sslrootcert": target.sslrootcert,
            "sslcert": target.sslcert,
            "sslkey": target.sslkey,
        }
        for keyword, value in given.items():
            if value is not None and keyword in parameters:
                self._add((*location, keyword), f"{keyword} is in the DSN too", "keep one of them")
            elif value is not None:
                parameters[keyword] = value
        parameters = {**of_service, **parameters}
        named = {keyword for keyword, value in given.items() if value is not None}
        for keyword, what, hint in credential_faults(parameters, named):
            self._add((*location, keyword if keyword in named else "dsn"), what, hint)
        return parameters if len(self.faults) == before else None

    def _secret(self, target: TargetSettings, name: str, location: Location) -> str | None:
        """A secret given as it is, or in a file."""
        value: SecretStr | None = getattr(target, name)
        file: str | None = getattr(target, f"{name}_file")
        if file is None:
            return None if value is None else value.get_secret_value()
        place = (*location, f"{name}_file") if location != ("dsn",) else ("dsn_file",)
        if value is not None:
            self._add(place, f"both {name} and {name}_file are given", "keep one of them")
            return None
        return self._secret_in(Path(file), place)

    def _secret_in(self, path: Path, place: Location) -> str | None:
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_SECRET_BYTES)
        except OSError as error:
            self._add(place, f"{path} cannot be read: {error.strerror}", "check the path and its rights")
            return None
        try:
            text = content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            text = "\0"
        if not text or "\0" in text or "\n" in text:
            self._add(place, f"{path} does not hold one line of text", "write the secret alone into it")
            return None
        return text

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
        """The manifests at these paths, each once: where it is, by whatever way, and how it was named."""
        found: dict[Path, str] = {}
        for path in paths:
            if path not in self._listed:
                try:
                    self._listed[path] = tuple(map(str, manifest_files(Path(path))))
                except ManifestError as error:
                    self._listed[path] = ()
                    self.manifest_faults.extend(error.faults)
            found |= {Path(file).resolve(): file for file in self._listed[path]}
        return found

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
                    f"{other.path} and {manifest.path} both are the migration {manifest.migration!r}",
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
        """The file's own word on the disk must say of which server; a flag may go with --target."""
        if target_count <= 1:
            return
        for name in ("data_directory", "free_bytes"):
            if getattr(self._settings, name) and not self._settings.is_ad_hoc(name):
                self._add(
                    (name,),
                    f"{name} tells of one server's disk, and there are {target_count} targets",
                    f"write it under the target: targets[].{name}",
                )

    def _refuse_twins(self, names: Sequence[str], place: Location, what: str) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                self._add(place, f"{what} {name!r} is listed {count} times", "name each once")

    def _add(self, location: Location, what: str, hint: str) -> None:
        self.faults.append(Fault(self._settings.place(*location), what, hint))


def _disk(told: Settings | TargetSettings) -> ServerDisk:
    """What a target, or the top for the only one, tells of the server's disk."""
    return ServerDisk(
        None if told.data_directory is None else Path(told.data_directory),
        tuple(map(parse_free_bytes, told.free_bytes)),
    )


def disk_of(settings: Settings, target: Target, *, target_count: int) -> ServerDisk:
    """What is told of the disk of the target's server; the top prevails for the only target that is meant.

    Raises: SettingsError where the top would tell the same of several servers.
    """
    top = _disk(settings)
    if target_count > 1 and top != ServerDisk():
        names = [name for name in ("data_directory", "free_bytes") if getattr(settings, name)]
        raise SettingsError(
            "what is told of a disk holds for one server",
            faults=tuple(
                Fault(
                    settings.place(name),
                    f"it tells of one server's disk, and {target_count} targets are meant",
                    f"choose one with --target, or write targets[].{name} in the settings",
                )
                for name in names
            ),
        )
    return ServerDisk(
        top.data_directory or target.disk.data_directory, top.free_bytes or target.disk.free_bytes
    )
