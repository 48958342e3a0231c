"""Settings: precedence, places of faults, binding of manifests, and that no secret is ever told."""

import json
import logging
import re
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from exporter.errors import Fault, ManifestError, SettingsError
from exporter.parsing.text import InvalidText
from exporter.settings.binding import resolve_targets
from exporter.settings.connection.conninfo import parse_dsn, sealed, take_environment
from exporter.settings.loading import load_settings
from exporter.settings.model import DatabaseSettings, Settings, TargetSettings
from exporter.settings.reference import key_helps, setting_references
from tests.support.certificates import Authority

CANARY = "c4n4ry"
DOCS = Path(__file__).parents[3] / "docs" / "settings.md"
MANIFEST = """\
migration: {migration}
indexes:
  - {{name: {index}, table: t, columns: [a]}}
"""


def load(
    folder: Path | None = None,
    text: str | None = None,
    flags: Mapping[str, object] | None = None,
    /,
    **environment: str,
) -> Settings:
    file = None
    if folder is not None and text is not None:
        file = folder / "settings.yaml"
        file.write_text(text, encoding="utf-8")
    return load_settings(file=file, flags=flags or {}, environment=environment)


def faults_of(
    folder: Path | None = None,
    text: str | None = None,
    flags: Mapping[str, object] | None = None,
    /,
    **environment: str,
) -> tuple[Fault, ...]:
    """The faults, from loading or else from resolving."""
    with pytest.raises(SettingsError) as caught:
        resolve_targets(load(folder, text, flags, **environment))
    assert caught.value.exit_code == 2
    assert all(fault.what and fault.hint for fault in caught.value.faults)
    return caught.value.faults


def write_manifest(folder: Path, name: str = "m1", index: str = "idx_a") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(MANIFEST.format(migration=name, index=index), encoding="utf-8")
    return path


def parameters(conninfo: str) -> dict[str, str]:
    """The parameters that say something."""
    return {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value != ""}


# ---------------------------------------------------------------- sources and their order


def test_without_any_source_the_defaults_count() -> None:
    settings = load()

    assert settings.targets == ()
    assert settings.dsn is None
    assert settings.watch == "declared"
    assert settings.journal_schema == "public"
    assert settings.web_listen_address == ":10187"
    assert settings.web_telemetry_path == "/metrics"
    assert settings.web_enable_lifecycle is False
    assert (settings.scrape_timeout_seconds, settings.connect_timeout_seconds) == (9.5, 3.0)
    assert (settings.max_indexes, settings.max_statements) == (10_000, 500)
    assert (settings.query_text, settings.query_text_length) == (True, 300)
    assert (settings.log_level, settings.log_format) == ("info", "logfmt")


def test_flag_then_environment_then_file_then_default(tmp_path: Path) -> None:
    text = "max_indexes: 1\nmax_statements: 1\nquery_text_length: 1\n"
    environment = {"PG_INDEX_EXPORTER_MAX_INDEXES": "2", "PG_INDEX_EXPORTER_MAX_STATEMENTS": "2"}

    settings = load(tmp_path, text, {"max_indexes": 3, "log_level": None}, **environment)

    assert settings.max_indexes == 3
    assert settings.max_statements == 2
    assert settings.query_text_length == 1
    assert settings.log_level == "info"
    assert settings.place("max_indexes") == "--max-indexes"
    assert settings.place("max_statements") == "PG_INDEX_EXPORTER_MAX_STATEMENTS"
    assert settings.place("query_text_length") == f"{tmp_path}/settings.yaml:3"


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("log_format: json\n")

    assert load(PG_INDEX_EXPORTER_CONFIG_FILE=str(file)).log_format == "json"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(PG_INDEX_EXPORTER_MAX_INDEXES="", PG_INDEX_EXPORTER_DSN="").max_indexes == 10_000


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("no", False), ("OFF", False)])
def test_switches_from_the_environment(text: str, value: bool) -> None:
    assert load(PG_INDEX_EXPORTER_QUERY_TEXT=text).query_text is value


def test_the_process_environment_is_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG_INDEX_EXPORTER_LOG_LEVEL", "error")
    monkeypatch.setenv("LOG_LEVEL", "error")

    assert load().log_level == "info"
    assert Settings().log_level == "info"


@pytest.mark.parametrize(
    ("text", "watch"),
    [
        ("declared", "declared"),
        ('["all"]', "all"),
        ("all", "all"),
        ("public.idx_*, app.*", ("public.idx_*", "app.*")),
        ('["public.idx_a,b", "*"]', ("public.idx_a,b", "*")),
    ],
)
def test_watch_from_the_environment(text: str, watch: object) -> None:
    assert load(PG_INDEX_EXPORTER_WATCH=text).watch == watch


def test_targets_from_the_environment_as_json(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    targets = [
        {"name": "one", "dsn": f"postgresql://m:{CANARY}@db1/app"},
        {"name": "two", "host": "db2", "databases": ["a", {"name": "b", "manifests": [str(manifest)]}]},
    ]

    settings = load(PG_INDEX_EXPORTER_TARGETS=json.dumps(targets))

    assert [target.name for target in settings.targets] == ["one", "two"]
    assert settings.targets[1].databases == (
        DatabaseSettings(name="a"),
        DatabaseSettings(name="b", manifests=(str(manifest),)),
    )


def test_targets_from_the_environment_part_by_part() -> None:
    settings = load(
        PG_INDEX_EXPORTER_TARGETS__0__NAME="one",
        PG_INDEX_EXPORTER_TARGETS__0__HOST="db1",
        PG_INDEX_EXPORTER_TARGETS__0__DATABASES="a,b",
        PG_INDEX_EXPORTER_TARGETS__1__NAME="two",
        PG_INDEX_EXPORTER_TARGETS__1__DATABASES__0__NAME="c",
        PG_INDEX_EXPORTER_TARGETS__1__DATABASES__0__WATCH="all",
    )

    assert settings.targets == (
        TargetSettings(
            name="one", host="db1", databases=(DatabaseSettings(name="a"), DatabaseSettings(name="b"))
        ),
        TargetSettings(name="two", databases=(DatabaseSettings(name="c", watch="all"),)),
    )
    assert settings.place("targets", 1, "databases", 0, "name") == (
        "PG_INDEX_EXPORTER_TARGETS__1__DATABASES__0__NAME"
    )


def test_kubernetes_service_links_are_no_settings() -> None:
    settings = load(
        PG_INDEX_EXPORTER_SERVICE_HOST="10.0.0.1",
        PG_INDEX_EXPORTER_SERVICE_PORT="10187",
        PG_INDEX_EXPORTER_SERVICE_PORT_METRICS="10187",
        PG_INDEX_EXPORTER_PORT="tcp://10.0.0.1:10187",
        PG_INDEX_EXPORTER_PORT_10187_TCP="tcp://10.0.0.1:10187",
        PG_INDEX_EXPORTER_PORT_10187_TCP_ADDR="10.0.0.1",
        PG_INDEX_EXPORTER_EU_PORT="tcp://10.0.0.2:10187",
    )

    assert settings == Settings()


# ---------------------------------------------------------------- faults and their places


def test_all_faults_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    text = f"""\
max_indexes: many
colour: red
targets:
  - name: one two
    prot: 5432
    port: 70000
    password: 12345
    databases:
      - name: a
        manifest: x.yaml
  - host: {CANARY}
watch: [all, public.*]
log_level: info
log_level: debug
"""
    faults = faults_of(
        tmp_path,
        text,
        {"scrape_timeout_seconds": 0},
        PG_INDEX_EXPORTER_LOG_FORMAT="xml",
        PG_INDEX_EXPORTER_MAX_STATEMENT="5",
    )

    told = {(fault.place.removeprefix(f"{tmp_path}/"), fault.what) for fault in faults}
    assert told == {
        ("PG_INDEX_EXPORTER_MAX_STATEMENT", "unknown variable 'PG_INDEX_EXPORTER_MAX_STATEMENT'"),
        ("settings.yaml:14", "'log_level' is given twice, first in line 13"),
        (
            "settings.yaml:1",
            "max_indexes: it should be a valid integer, unable to parse string as an integer",
        ),
        ("settings.yaml:2", "unknown key 'colour'"),
        ("settings.yaml:4", "targets[0].name: it should match pattern '^[A-Za-z0-9_.:-]{1,63}$'"),
        ("settings.yaml:5", "unknown key 'prot'"),
        ("settings.yaml:6", "targets[0].port: it should be less than or equal to 65535"),
        ("settings.yaml:7", "targets[0].password: it should be a valid string"),
        ("settings.yaml:10", "unknown key 'manifest'"),
        ("settings.yaml:11", "targets[1] lacks 'name'"),
        ("settings.yaml:12", "watch: a list of patterns holds something else"),
        ("--scrape-timeout-seconds", "scrape_timeout_seconds: it should be greater than 0"),
        ("PG_INDEX_EXPORTER_LOG_FORMAT", "log_format: it should be 'logfmt' or 'json'"),
    }
    hints = {fault.what: fault.hint for fault in faults}
    assert hints["unknown key 'prot'"] == "did you mean 'port'?"
    assert hints["unknown key 'manifest'"] == "did you mean 'manifests'?"
    assert hints["unknown variable 'PG_INDEX_EXPORTER_MAX_STATEMENT'"] == (
        "did you mean 'PG_INDEX_EXPORTER_MAX_STATEMENTS'?"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web_listen_address", "10187"),
        ("web_listen_address", ":70000"),
        ("web_listen_address", "http://localhost:10187"),
        ("web_telemetry_path", "metrics"),
        ("web_telemetry_path", "/"),
        ("web_telemetry_path", "/-/healthy"),
        ("web_telemetry_path", "/probe"),
        ("journal_schema", "a.b"),
        ("journal_schema", "x" * 64),
        ("watch", "idx_*"),
        ("watch", " , "),
        ("scrape_timeout_seconds", "nan"),
        ("scrape_timeout_seconds", "inf"),
        ("max_indexes", "0"),
        ("max_indexes", "1.5"),
        ("query_text", "perhaps"),
        ("log_level", "loud"),
        ("targets", "[{"),
        ("targets", "{}"),
        ("targets", "[1]"),
        ("dsn_file", "postgresql://u@h/d"),
        ("dsn_file", "a\0b"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    faults = faults_of(**{f"PG_INDEX_EXPORTER_{name.upper()}": value})

    assert {fault.place for fault in faults} == {f"PG_INDEX_EXPORTER_{name.upper()}"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("web_listen_address", "[::1]:0", "[::1]:0"),
        ("web_listen_address", "localhost:65535", "localhost:65535"),
        ("web_telemetry_path", "/a/b_c", "/a/b_c"),
        ("journal_schema", "Ops", "ops"),
        ("journal_schema", '"Ops"', "Ops"),
        ("log_level", "WARNING", "warning"),
        ("scrape_timeout_seconds", "0.5", 0.5),
    ],
)
def test_values_are_read_as_meant(name: str, text: str, value: object) -> None:
    assert getattr(load(**{f"PG_INDEX_EXPORTER_{name.upper()}": text}), name) == value


def test_settings_that_are_no_mapping_are_a_fault(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "- a\n", PG_INDEX_EXPORTER_DSN="host=h dbname=d")

    assert fault.place == f"{tmp_path}/settings.yaml:1"
    assert "mapping" in fault.what


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults_of(PG_INDEX_EXPORTER_CONFIG_FILE=str(tmp_path / "absent.yaml"))

    assert fault.place == str(tmp_path / "absent.yaml")


def test_keys_are_not_taken_for_arguments_of_the_library(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "_env_file: .env\n", PG_INDEX_EXPORTER_DSN="host=h dbname=d")

    assert fault.place == f"{tmp_path}/settings.yaml:1"
    assert "unknown key" in fault.what


# ---------------------------------------------------------------- which server


def test_without_a_server_it_is_said_how_to_name_one() -> None:
    (fault,) = faults_of()

    assert fault.what == "no PostgreSQL server is named"
    assert "PG_INDEX_EXPORTER_DSN" in fault.hint


def test_the_highest_source_that_names_a_server_decides(tmp_path: Path) -> None:
    text = "targets: [{name: one, host: db1, databases: [a]}]\n"
    password = tmp_path / "dsn"
    password.write_text("host=db3 dbname=c\n")

    from_file = resolve_targets(load(tmp_path, text, DATA_SOURCE_NAME="host=db9"))
    from_environment = resolve_targets(load(tmp_path, text, PG_INDEX_EXPORTER_DSN_FILE=str(password)))
    from_flag = resolve_targets(
        load(tmp_path, text, {"dsn": "host=db4 dbname=d"}, PG_INDEX_EXPORTER_DSN_FILE=str(password))
    )

    hosts = [
        (target.name, parameters(target.databases[0].conninfo.get_secret_value())["host"])
        for (target,) in (from_file, from_environment, from_flag)
    ]
    assert hosts == [("one", "db1"), ("default", "db3"), ("default", "db4")]


def test_one_source_names_one_server(tmp_path: Path) -> None:
    faults = faults_of(
        PG_INDEX_EXPORTER_DSN="host=h dbname=d", PG_INDEX_EXPORTER_DSN_FILE=str(tmp_path / "dsn")
    )

    assert faults[0].place == "PG_INDEX_EXPORTER_DSN_FILE"
    assert faults[0].what == "both dsn and dsn_file are set"


def test_libpq_variables_name_the_server_when_nothing_else_does() -> None:
    environment = {
        "PGHOST": "db",
        "PGPORT": "6432",
        "PGUSER": "monitor",
        "PGPASSWORD": CANARY,
        "PGDATABASE": "app",
        "PGSSLMODE": "require",
        "HOME": "/home/somebody",
    }
    settings = load(**environment)
    ((database,),) = (target.databases for target in resolve_targets(settings))

    given = parameters(database.conninfo.get_secret_value())
    assert database.datname == "app"
    assert settings.ignored_variables == ()
    assert {name: given[name] for name in ("host", "port", "user", "password", "sslmode", "passfile")} == {
        "host": "db",
        "port": "6432",
        "user": "monitor",
        "password": CANARY,
        "sslmode": "require",
        "passfile": "/home/somebody/.pgpass",
    }


def test_data_source_name_outranks_libpq_variables() -> None:
    environment = {
        "DATA_SOURCE_NAME": "postgresql://u@db1/app?sslmode=disable",
        "PGHOST": "db2",
        "PGPASSWORD": CANARY,
    }
    ((database,),) = (target.databases for target in resolve_targets(load(**environment)))

    given = parameters(database.conninfo.get_secret_value())
    assert (given["host"], given["sslmode"], given["password"]) == ("db1", "disable", CANARY)


def test_libpq_variables_count_for_nothing_beside_named_servers(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "targets: [{name: one, host: db1, user: u, databases: [a]}]\n",
        PGPASSWORD=CANARY,
        PGHOST="db2",
        PGSSLMODE="verify-full",
        PGTZ="UTC",
        DATA_SOURCE_NAME=f"password={CANARY}",
    )
    ((database,),) = (target.databases for target in resolve_targets(settings))
    conninfo = database.conninfo.get_secret_value()

    assert CANARY not in conninfo
    assert parameters(conninfo)["host"] == "db1"
    assert parameters(conninfo)["sslmode"] == "prefer"
    assert settings.ignored_variables == ("DATA_SOURCE_NAME", "PGHOST", "PGPASSWORD", "PGSSLMODE", "PGTZ")


def test_a_password_beside_a_server_without_one_is_reported_as_ignored(tmp_path: Path) -> None:
    dsn = "host=h user=u dbname=d"
    targets = "- {name: one, host: a, databases: [d]}\n- {name: two, host: b, password: p, databases: [d]}\n"

    (note,) = load(PG_INDEX_EXPORTER_DSN=dsn, PGPASSWORD=CANARY).origin.notes
    assert (note.place, note.what.partition(":")[0]) == (
        "PGPASSWORD",
        "set but ignored, and target default has no password",
    )
    assert "password_file" in note.hint
    assert CANARY not in str(note)
    (note,) = load(tmp_path, f"targets:\n{targets}", PGPASSFILE="x").origin.notes
    assert (note.place, "target one has" in note.what) == ("PGPASSFILE", True)


@pytest.mark.parametrize(
    "environment",
    [
        {"PGHOST": "h", "PGDATABASE": "d", "PGPASSWORD": CANARY},
        {"PG_INDEX_EXPORTER_DSN": "postgresql://u:p@h/d", "PGPASSWORD": CANARY},
        {"PG_INDEX_EXPORTER_DSN": "host=h passfile=p dbname=d", "PGPASSWORD": CANARY},
        {"PG_INDEX_EXPORTER_DSN": "service=s", "PGPASSWORD": CANARY},
        {"PG_INDEX_EXPORTER_DSN_FILE": "may-hold-one", "PGPASSFILE": "x"},
        {"PG_INDEX_EXPORTER_DSN": "host=h dbname=d", "PGHOST": "elsewhere"},
        {"PG_INDEX_EXPORTER_DSN": "host=h dbname=d"},
    ],
)
def test_a_password_that_counts_or_is_not_needed_has_no_note(environment: dict[str, str]) -> None:
    assert load(**environment).origin.notes == ()


def test_what_libpq_reads_is_taken_from_the_process_environment() -> None:
    environment = {"PGPASSWORD": "a", "PGSERVICE": "b", "PGTZ": "c", "PGDATA": "d", "HOME": "e"}

    taken = take_environment(environment)

    assert environment == {"PGDATA": "d", "HOME": "e"}
    assert taken == {"PGPASSWORD": "a", "PGSERVICE": "b", "PGTZ": "c", "PGDATA": "d", "HOME": "e"}


def test_the_parts_of_a_target_make_its_connection_string(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{CANARY}\n")
    (tmp_path / "certs").mkdir()
    Authority(tmp_path / "certs", "root")
    text = """\
targets:
  - name: one
    host: db1
    port: 5433
    user: monitor
    password_file: password
    sslmode: verify-full
    sslrootcert: certs/root.pem
    databases: [app, billing]
  - name: two
    dsn: postgresql://monitor@db2/app
    password: "s p'c\\\\"
    sslrootcert: system
"""
    one, two = resolve_targets(load(tmp_path, text))

    assert [database.datname for database in one.databases] == ["app", "billing"]
    given = parameters(one.databases[1].conninfo.get_secret_value())
    assert (given["host"], given["port"], given["user"]) == ("db1", "5433", "monitor")
    assert (given["password"], given["dbname"]) == (CANARY, "billing")
    assert (given["sslmode"], given["sslrootcert"]) == ("verify-full", f"{tmp_path}/certs/root.pem")
    assert [database.datname for database in two.databases] == ["app"]
    given = parameters(two.databases[0].conninfo.get_secret_value())
    assert (given["password"], given["sslrootcert"]) == ("s p'c\\", "system")


def test_without_a_name_the_database_is_that_of_the_user() -> None:
    (target,) = resolve_targets(load(PG_INDEX_EXPORTER_DSN="host=h user=somebody"))

    assert [database.datname for database in target.databases] == ["somebody"]


@pytest.mark.parametrize(
    ("lines", "place", "what"),
    [
        ("dsn: host=a\n    dsn_file: b", 4, "both dsn and dsn_file"),
        ("password: a\n    password_file: b", 4, "both password and password_file"),
        ("dsn: host=a\n    host: b", 4, "host is in the DSN too"),
        ("password_file: absent", 3, "cannot be read"),
        ("password_file: empty", 3, "one line of text"),
        ("password_file: two", 3, "one line of text"),
        ("password_file: binary", 3, "one line of text"),
        ("dsn: nonsense", 3, "not a connection string"),
        ("dsn: ''", 3, "DSN is empty"),
        ("dsn: mysql://a", 3, "the scheme of the DSN"),
        ("host: a b", 2, "the host is neither"),
        ("hostaddr: localhost", 2, "not a network address"),
        ("databases: [a, a]", 3, "database 'a' is listed 2 times"),
        ("databases: ['postgresql://h/d']", 3, "is a connection string"),
    ],
)
def test_faults_of_a_target_are_told_where_they_stand(
    tmp_path: Path, lines: str, place: int, what: str
) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "two").write_text("one\ntwo\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    databases = "" if "databases" in lines else "    databases: [a]\n"

    (fault,) = faults_of(tmp_path, f"targets:\n  - name: one\n    {lines}\n{databases}")

    assert what in fault.what
    # A fault of the whole is told at the database, the place that is connected to.
    assert fault.place in (
        f"{tmp_path}/settings.yaml:{place}",
        f"{tmp_path}/settings.yaml:{place + 2}",
    )


def test_two_targets_of_one_name_are_a_fault(tmp_path: Path) -> None:
    text = "targets:\n- {name: a, host: h, databases: [d]}\n- {name: a, host: i, databases: [d]}\n"

    (fault,) = faults_of(tmp_path, text)

    assert fault.what == "target 'a' is listed 2 times"


# ---------------------------------------------------------------- binding of manifests


def test_with_one_database_every_manifest_is_bound_to_it(tmp_path: Path) -> None:
    first, second = write_manifest(tmp_path, "m1", "a"), write_manifest(tmp_path, "m2", "b")

    (target,) = resolve_targets(
        load(
            PG_INDEX_EXPORTER_DSN="host=h dbname=d", PG_INDEX_EXPORTER_MANIFESTS=f"{first}, {second},{first}"
        )
    )

    (database,) = target.databases
    assert [manifest.migration for manifest in database.manifests] == ["m1", "m2"]
    assert [index.name for index in database.declared] == ["a", "b"]


def test_paths_in_the_file_start_at_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write_manifest(tmp_path / "conf")
    monkeypatch.chdir(tmp_path / "elsewhere")

    (target,) = resolve_targets(
        load(tmp_path / "conf", "manifests: m1.yaml\n", PG_INDEX_EXPORTER_DSN="host=h dbname=d")
    )

    assert [manifest.migration for manifest in target.databases[0].manifests] == ["m1"]


def test_the_web_configuration_is_found_from_where_it_is_named(tmp_path: Path) -> None:
    assert load(tmp_path, "web_config_file: web.yml\n").web_config_file == f"{tmp_path}/web.yml"
    assert load(None, None, {"web_config_file": "web.yml"}).web_config_file == "web.yml"
    assert load().web_config_file is None


def test_paths_of_flags_and_variables_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path)
    monkeypatch.chdir(tmp_path)

    (target,) = resolve_targets(
        load(None, None, {"manifests": ["m1.yaml"]}, PG_INDEX_EXPORTER_DSN="host=h dbname=d")
    )

    assert [manifest.path for manifest in target.databases[0].manifests] == ["m1.yaml"]


@pytest.mark.parametrize("name", ["090_quick_win_4_missing_indexes", "090_quick_win_4_missing_indexes.yaml"])
def test_a_bundled_manifest_is_found_by_its_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"targets: [{{name: a, host: h, databases: [{{name: d, manifests: [{name}]}}]}}]\n"

    (from_file,) = resolve_targets(load(tmp_path, text))
    (from_variable,) = resolve_targets(
        load(PG_INDEX_EXPORTER_DSN="host=h dbname=d", PG_INDEX_EXPORTER_MANIFESTS=name)
    )

    for target in (from_file, from_variable):
        assert len(target.databases[0].declared) == 2


def test_with_several_databases_each_gets_its_own(tmp_path: Path) -> None:
    write_manifest(tmp_path, "m1", "a")
    write_manifest(tmp_path, "m2", "b")
    text = """\
watch: all
manifests: [m1.yaml]
targets:
  - name: one
    host: h
    watch: ["app.*"]
    databases:
      - {name: x, manifests: [m1.yaml, m2.yaml]}
      - {name: y, watch: declared}
  - name: two
    host: i
    databases:
      - {name: x, manifests: m2.yaml}
"""
    targets = resolve_targets(load(tmp_path, text))

    bound = {
        (target.name, database.datname): ([m.migration for m in database.manifests], database.watch)
        for target in targets
        for database in target.databases
    }
    assert bound == {
        ("one", "x"): (["m1", "m2"], ("app.*",)),
        ("one", "y"): ([], "declared"),
        ("two", "x"): (["m2"], "all"),
    }


def test_a_folder_stands_for_the_manifests_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "indexes"
    folder.mkdir()
    write_manifest(folder, "m2", "b")
    write_manifest(folder, "m1", "a").rename(folder / "m1.yml")
    for name in (".hidden.yaml", "notes.md"):
        (folder / name).write_text("nonsense")
    text = "targets: [{name: t, host: h, databases: [{name: x, manifests: [indexes]}, y]}]\n"
    text += "manifests: [indexes]\n"

    (named,) = resolve_targets(load(tmp_path, text))
    (only,) = resolve_targets(load(None, None, {"manifests": [str(folder)], "dsn": "host=h dbname=d"}))

    for target in (named, only):
        assert [manifest.migration for manifest in target.databases[0].manifests] == ["m1", "m2"]
    assert named.databases[1].manifests == ()


def test_a_folder_without_manifests_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults_of(None, None, {"manifests": [str(tmp_path)], "dsn": "host=h dbname=d"})

    assert (fault.place, fault.what) == (str(tmp_path), "the folder holds no manifest")


def test_a_manifest_bound_nowhere_is_a_fault_where_it_is_named(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    text = "targets: [{name: a, host: h, databases: [x, y]}]\nmanifests:\n  - m1.yaml\n"

    (fault,) = faults_of(tmp_path, text)

    assert fault.place == f"{tmp_path}/settings.yaml:3"
    assert "bound to no database" in fault.what


def test_one_index_has_one_manifest_in_a_database(tmp_path: Path) -> None:
    write_manifest(tmp_path, "m1", "idx")
    write_manifest(tmp_path, "m2", "IDX")
    (tmp_path / "m3.yaml").write_text(MANIFEST.format(migration="m1", index="other"))
    text = "manifests: [m1.yaml, m2.yaml, m3.yaml]\ndsn: host=h dbname=d\n"

    faults = faults_of(tmp_path, text)

    assert [fault.what for fault in faults] == [
        f"{tmp_path}/m1.yaml and {tmp_path}/m2.yaml both declare public.idx",
        f"{tmp_path}/m1.yaml and {tmp_path}/m3.yaml are both the migration 'm1'",
    ]


def test_one_manifest_may_be_bound_to_many_databases(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    databases = ", ".join(f"{{name: d{n}, manifests: [m1.yaml]}}" for n in range(3))

    (target,) = resolve_targets(
        load(tmp_path, f"targets: [{{name: a, host: h, databases: [{databases}]}}]\n")
    )

    manifests = [database.manifests[0] for database in target.databases]
    assert all(manifest is manifests[0] for manifest in manifests)


def test_faults_of_a_server_and_of_its_manifest_are_told_together(tmp_path: Path) -> None:
    faults = faults_of(PG_INDEX_EXPORTER_DSN="nonsense", PG_INDEX_EXPORTER_MANIFESTS="absent")

    assert [fault.place for fault in faults] == ["PG_INDEX_EXPORTER_DSN", "absent"]


def test_faults_of_manifests_alone_are_a_manifest_error(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("migration: m\n")
    settings = load(
        PG_INDEX_EXPORTER_DSN="host=h dbname=d", PG_INDEX_EXPORTER_MANIFESTS=f"{tmp_path}/m.yaml,absent"
    )

    with pytest.raises(ManifestError) as caught:
        resolve_targets(settings)

    assert [fault.place for fault in caught.value.faults] == [f"{tmp_path}/m.yaml:1", "absent"]


# ---------------------------------------------------------------- no secret is told

# Each holds the canary where people put passwords, rightly or by a slip.
DSNS = [
    f"postgresql://u:{CANARY}@h:5432/d",
    f"postgresql://u:{CANARY}@h:54x32/d",
    f"postgresql://u:{CANARY}@x@h/d",
    f"postgresql://u:x@{CANARY}@h/d",
    f"postgresql://u:x/{CANARY}@h/d",
    f"postgresql://u:1/{CANARY}@h/d",
    f"postgresql://u:/{CANARY}@h/d",
    f"postgresql://u:1?{CANARY}/x@h/d",
    f"postgresql://u:{CANARY}%zz@h/d",
    f"postgresql://u:%zz{CANARY}@h/d",
    f"postgresql://h/d?password={CANARY}",
    f"postgresql://h/d?password={CANARY}&nonsense={CANARY}",
    f"postgresql://h/d?{CANARY}",
    f"postgresql://u:{CANARY}",
    f"postgresql://u:{CANARY}@[::1/d",
    f"postgres://u:{CANARY}@h/d?sslmode",
    f"mysql://u:{CANARY}@h/d",
    f"postgresql+psycopg://u:{CANARY}@h/d",
    f"jdbc:postgresql://h/d?password={CANARY}",
    f"host=h password={CANARY}",
    f"host=h password='{CANARY}",
    f"host=h password=a {CANARY}",
    f"host=h password=a {CANARY}=b",
    f"host=h port={CANARY}",
    f"password={CANARY} dbname='postgresql://u:{CANARY}@h/d'",
    f"host=postgresql://u:{CANARY}@h/d",
    f"user=postgresql://u:{CANARY}@h/d",
    f"hostaddr={CANARY}",
    f"u:{CANARY}@h/d",
    f"//u:{CANARY}@h/d",
    f"host=h\0password={CANARY}",
]
# Where a connection string belongs no slip is told; elsewhere, none that differs from a name or a path.
DSN_PLACES: dict[str, tuple[str | None, dict[str, str], dict[str, str]]] = {
    "variable": (None, {}, {"PG_INDEX_EXPORTER_DSN": "{}"}),
    "flag": (None, {"dsn": "{}"}, {}),
    "postgres_exporter's variable": (None, {}, {"DATA_SOURCE_NAME": "{}"}),
    "file": ("dsn: {}\n", {}, {}),
    "target": ("targets:\n  - name: a\n    dsn: {}\n", {}, {}),
    "targets as JSON": (None, {}, {"PG_INDEX_EXPORTER_TARGETS": '[{{"name": "a", "dsn": {}}}]'}),
    "part of a target": (
        None,
        {},
        {"PG_INDEX_EXPORTER_TARGETS__0__NAME": "a", "PG_INDEX_EXPORTER_TARGETS__0__DSN": "{}"},
    ),
    "a number": (None, {}, {"PG_INDEX_EXPORTER_MAX_INDEXES": "{}"}),
    "watch": ("watch: {}\n", {}, {}),
    "an address": ("web_listen_address: {}\n", {}, {}),
    "a password in a list": ("targets:\n  - {{name: a, password: [{}]}}\n", {}, {}),
    "the name of a target": ("targets:\n  - {{name: {}, host: h, databases: [d]}}\n", {}, {}),
    "a target": ("targets:\n  - {}\n", {}, {}),
    "the targets": ("targets: {}\n", {}, {}),
    "the targets' variable": (None, {}, {"PG_INDEX_EXPORTER_TARGETS": "{}"}),
    "a key": ("{}: 1\n", {}, {}),
}
OTHER_PLACES: dict[str, tuple[str | None, dict[str, str], dict[str, str]]] = {
    "libpq's database": (None, {}, {"PGDATABASE": "{}"}),
    "libpq's host": (None, {}, {"PGHOST": "{}", "PGDATABASE": "d"}),
    "libpq's user": (None, {}, {"PGUSER": "{}", "PGDATABASE": "d"}),
    "a host": ("targets:\n  - {{name: a, host: {}, databases: [d]}}\n", {}, {}),
    "a user": ("targets:\n  - {{name: a, host: h, user: {}, databases: [d]}}\n", {}, {}),
    "a database": ("targets:\n  - {{name: a, host: h, databases: [{}]}}\n", {}, {}),
    "a named database": ("targets:\n  - {{name: a, host: h, databases: [{{name: {}}}]}}\n", {}, {}),
    "manifests": ("manifests: {}\ndsn: host=h dbname=d\n", {}, {}),
    "a manifest": ("manifests: [{}]\ndsn: host=h dbname=d\n", {}, {}),
    "the manifests' variable": (None, {}, {"PG_INDEX_EXPORTER_MANIFESTS": "{}", "PGHOST": "h"}),
    "the file of settings": (None, {}, {"PG_INDEX_EXPORTER_CONFIG_FILE": "{}"}),
    "the file of a DSN": (None, {}, {"PG_INDEX_EXPORTER_DSN_FILE": "{}"}),
    "the file of a password": ("targets:\n  - {{name: a, host: h, password_file: {}}}\n", {}, {}),
    "a passfile": ("targets:\n  - {{name: a, host: h, passfile: {}, databases: [d]}}\n", {}, {}),
    "a certificate": ("targets:\n  - {{name: a, host: h, sslcert: {}, databases: [d]}}\n", {}, {}),
    "a schema": ("journal_schema: {}\n", {}, {}),
}


def everything_told(error: BaseException) -> str:
    """What an error and all that led to it say, in any form."""
    told = "".join(traceback.format_exception(error))
    cause: BaseException | None = error
    while cause is not None:
        told += f"{cause} {cause!r} {vars(cause)!r}"
        cause = cause.__cause__ or cause.__context__
    return told


def told_of(
    folder: Path, place: tuple[str | None, dict[str, str], dict[str, str]], secret: str
) -> tuple[str, bool]:
    """All that can be seen of settings with `secret` at a place, and whether they were refused."""
    text, flags, environment = place
    quoted = json.dumps(secret)

    def put(template: str) -> str:
        return template.format(quoted if '"' in template else secret)

    try:
        settings = load(
            folder,
            None if text is None else text.format(quoted),
            {name: put(template) for name, template in flags.items()},
            **{name: put(template) for name, template in environment.items()},
        )
        targets = resolve_targets(settings)
    except SettingsError as error:
        return everything_told(error), True
    return f"{settings} {settings!r} {targets!r}", False


@pytest.mark.parametrize("place", DSN_PLACES)
def test_no_secret_is_told_where_a_dsn_may_stand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for dsn in DSNS:
        told, _ = told_of(tmp_path, DSN_PLACES[place], dsn)

        assert CANARY not in told, dsn
        assert CANARY not in caplog.text, dsn


@pytest.mark.parametrize("place", OTHER_PLACES)
def test_a_dsn_at_a_wrong_place_is_refused_and_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for dsn in DSNS:
        if re.search("://|password=|:.*@", dsn):
            told, refused = told_of(tmp_path, OTHER_PLACES[place], dsn)

            assert refused, dsn
            assert CANARY not in told, dsn
            assert CANARY not in caplog.text, dsn


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{CANARY}@h:5432/d",
        f"postgres://u:{CANARY}@h/d?sslmode=disable",
        f"postgresql://h/d?user=u&password={CANARY}",
        f"host=h user=u dbname=d password='{CANARY}'",
    ],
)
def test_a_good_dsn_is_kept_but_not_shown(dsn: str) -> None:
    settings = load(PG_INDEX_EXPORTER_DSN=dsn)
    ((database,),) = (target.databases for target in resolve_targets(settings))

    given = parameters(database.conninfo.get_secret_value())
    assert (given["host"], given["user"], given["dbname"]) == ("h", "u", "d")
    assert given["password"] == CANARY
    assert CANARY not in f"{settings!r}{settings}{database!r}{database}"


@pytest.mark.parametrize(
    "host",
    ["db", "db.example.org", "10.0.0.1", "::1", "/var/run/postgresql", "@abstract", "a,b", "dä.example"],
)
def test_hosts_of_every_kind_are_accepted(host: str) -> None:
    assert parameters(sealed({"host": host, "user": "u"}))["host"] == host


def test_a_percent_encoded_password_is_decoded() -> None:
    assert parse_dsn("postgresql://u:a%40b%2Fc%25@h/d")["password"] == "a@b/c%"


def test_a_password_in_the_place_of_a_dsn_is_not_told() -> None:
    (fault,) = faults_of(PG_INDEX_EXPORTER_DSN=CANARY)

    assert fault.place == "PG_INDEX_EXPORTER_DSN"
    assert CANARY not in str(fault)


def test_a_secret_in_a_refused_text_is_not_in_the_error() -> None:
    with pytest.raises(InvalidText) as caught:
        parse_dsn(f"postgresql://u:%zz{CANARY}@h/d")

    assert CANARY not in everything_told(caught.value)


# ---------------------------------------------------------------- documentation


def table_rows() -> list[str]:
    return [
        f"| `{setting.name}` | {f'`{setting.flag}`' if setting.flag else 'none'} | `{setting.variable}` "
        f"| {f'`{setting.default}`' if setting.default else 'none'} | {setting.help_with_words} |"
        for setting in setting_references().values()
    ]


def test_the_documentation_lists_every_setting_as_it_is() -> None:
    text = DOCS.read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if re.match(r"\| `[a-z_]+` \| (?:`--|none)", line)]

    assert found == table_rows()


def test_every_flag_is_one_of_the_command_line() -> None:
    shown = "".join(
        subprocess.run(
            [sys.executable, "-m", "exporter", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for command in ("serve", "init")
    )

    for setting in setting_references().values():
        assert not setting.flag or re.search(rf"^  {re.escape(setting.flag)}\b", shown, re.MULTILINE)


@pytest.mark.parametrize("model", [TargetSettings, DatabaseSettings])
def test_the_documentation_lists_every_key_of(model: type[TargetSettings | DatabaseSettings]) -> None:
    text = DOCS.read_text(encoding="utf-8")

    for name, help_text in key_helps(model).items():
        assert f"| `{name}` | {help_text} |" in text


def test_every_setting_has_a_line_of_its_own() -> None:
    references = setting_references().values()

    assert len({setting.variable for setting in references}) == len(references)
    assert all(setting.help for setting in references)
    assert [setting.name for setting in references if setting.is_switch] == [
        "sequential",
        "cancel_on_term",
        "web_enable_lifecycle",
        "query_text",
    ]
