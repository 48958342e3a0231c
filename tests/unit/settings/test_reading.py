"""Reading a source again and again: what it gives, and which files would change that."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.file_state import file_state, have_changed
from exporter.settings.reading import read
from exporter.settings.source import Configuration, Reading, Source
from tests.support.certificates import Authority

CANARY = "c4n4ry"
MANIFEST = "migration: m\nindexes:\n  - {name: i, table: t, columns: [a]}\n"


def source(folder: Path, text: str, **environment: str) -> Source:
    path = folder / "settings.yaml"
    path.write_text(text)
    return Source(path, {}, environment)


def faults(reading: Reading) -> str:
    assert isinstance(reading.outcome, SettingsError)
    return "\n".join(map(str, reading.outcome.faults))


def names(reading: Reading) -> set[str]:
    return {path.name for path in reading.files}


def test_every_file_that_counts_is_known_by_whatever_way_it_was_named(tmp_path: Path) -> None:
    Authority(tmp_path).issue("client", "monitor")
    for name in ("password", "pgpass", "root.crl"):
        (tmp_path / name).write_text(CANARY)
    (tmp_path / "m.yaml").write_text(MANIFEST)
    (tmp_path / "archive").write_text(
        f"host=b dbname=d passfile={tmp_path}/pgpass sslcrl={tmp_path}/root.crl"
    )
    text = """\
targets:
  - name: main
    host: a
    password_file: password
    sslrootcert: ca.pem
    sslcert: client.pem
    sslkey: client.key
    databases: [{name: d, manifests: [m.yaml]}, {pattern: "e_*"}]
  - {name: archive, dsn_file: archive}
"""

    reading = read(source(tmp_path, text))

    assert isinstance(reading.outcome, Configuration)
    assert [target.name for target in reading.configuration.targets] == ["main", "archive"]
    assert names(reading) - {"none"} == {
        *("settings.yaml", "password", "m.yaml", "archive", "pgpass", "root.crl"),
        *("ca.pem", "client.pem", "client.key"),
    }
    assert not have_changed(reading.files)


def test_a_manifest_that_comes_into_a_folder_is_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "indexes"
    folder.mkdir()
    (folder / "m.yaml").write_text(MANIFEST)
    given = source(tmp_path, "dsn: host=a dbname=d\nmanifests: indexes\n")

    first = read(given)
    assert {"indexes", "m.yaml"} <= names(first)
    assert not have_changed(first.files)
    (folder / "n.yaml").write_text(MANIFEST.replace("i,", "j,").replace(": m", ": n"))

    assert have_changed(first.files)
    assert len(read(given).configuration.targets[0].databases[0].manifests) == 2


def test_a_file_that_is_to_come_is_known_too(tmp_path: Path) -> None:
    text = "targets: [{name: main, host: a, databases: [d], password_file: later}]\n"

    reading = read(source(tmp_path, text))
    (tmp_path / "later").write_text(CANARY)

    assert "later cannot be read: No such file or directory" in faults(reading)
    assert have_changed(reading.files)
    assert isinstance(read(source(tmp_path, text)).outcome, Configuration)


@pytest.mark.parametrize("text", ["targets: [", "no_setting: 1\n", "", None])
def test_of_settings_that_cannot_be_read_their_own_file_decides(tmp_path: Path, text: str | None) -> None:
    given = source(tmp_path, text or "")
    if text is None:
        (tmp_path / "settings.yaml").unlink()

    reading = read(given)

    assert names(reading) == {"settings.yaml"}
    assert str(tmp_path / "settings.yaml") in faults(reading)
    with pytest.raises(SettingsError):
        _ = reading.configuration


def test_environment_and_flags_stay_those_of_the_start(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("max_indexes: 7\n")
    environment: Mapping[str, str] = {
        "PG_INDEX_EXPORTER_CONFIG_FILE": str(path),
        "PGHOST": "a",
        "PGDATABASE": "d",
        "PGPASSWORD": CANARY,
    }
    given = Source(None, {"max_statements": 3}, environment)

    first, second = read(given).configuration, read(given).configuration

    assert first == second
    assert (first.settings.max_indexes, first.settings.max_statements) == (7, 3)
    assert CANARY in first.targets[0].databases[0].conninfo.get_secret_value()
    assert CANARY not in repr(given) + repr(first)


def test_what_was_only_touched_is_the_same_configuration(tmp_path: Path) -> None:
    given = source(tmp_path, "targets: [{name: main, host: a, databases: [d]}]\n")
    first = read(given)
    os.utime(tmp_path / "settings.yaml")
    second = read(given)

    assert have_changed(first.files)
    assert first.configuration == second.configuration


CERTIFIED = """\
targets: [{name: main, host: a, databases: [d], sslrootcert: ca.pem, sslcert: client.pem, sslkey: client.key}]
"""


@pytest.mark.parametrize(
    ("broken", "content", "fault"),
    [
        ("ca.pem", "nothing", "ca.pem holds no certificate"),
        ("ca.pem", None, "ca.pem cannot be read: No such file or directory"),
        ("client.pem", "nothing", "are not a usable certificate and key"),
        ("client.key", "nothing", "are not a usable certificate and key"),
        ("client.key", None, "client.key cannot be read: No such file or directory"),
    ],
)
def test_certificates_are_looked_at_before_libpq_needs_them(
    tmp_path: Path, broken: str, content: str | None, fault: str
) -> None:
    Authority(tmp_path).issue("client", "monitor")
    path = tmp_path / broken
    if content is None:
        path.unlink()
    else:
        path.write_text(content)

    told = faults(read(source(tmp_path, CERTIFIED)))

    assert fault in told
    assert f"{tmp_path}/settings.yaml:1: " in told


def test_a_certificate_with_the_key_of_another_is_a_fault(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("client", "monitor")
    _, other = authority.issue("other", "monitor")
    other.replace(tmp_path / "client.key")

    assert "client.key does not belong to the certificate in" in faults(read(source(tmp_path, CERTIFIED)))


def test_in_a_dsn_a_file_that_is_not_there_is_for_libpq_to_judge(tmp_path: Path) -> None:
    dsn = f"host=a dbname=d passfile={tmp_path}/absent sslrootcert={tmp_path}/absent.pem"

    reading = read(source(tmp_path, "max_indexes: 7\n", PG_INDEX_EXPORTER_DSN=dsn))

    assert isinstance(reading.outcome, Configuration)
    assert {"absent", "absent.pem"} <= names(reading)


def test_a_pipe_has_no_state(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert file_state(tmp_path / "pipe") is None
    assert file_state(Path("/dev/null")) is None
    assert file_state(tmp_path / "a\0b") is None


def test_rights_are_part_of_a_state(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    before = file_state(path)
    path.chmod(0o200)

    assert before is not None
    assert have_changed({path: before})
