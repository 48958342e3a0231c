"""Services of pg_service.conf: which file counts, what it ranks above and below, and its faults."""

from pathlib import Path

import pytest

from exporter.parsing.text import InvalidText
from exporter.settings.binding import resolve_targets
from exporter.settings.connection.service_file import service_files, service_parameters
from exporter.settings.reading import read
from exporter.settings.source import Source
from tests.unit.settings.test_loading import CANARY, faults_of, load, parameters

KEYWORDS = ("host", "port", "user", "password", "dbname", "sslmode")
SERVICES = """\
# of the team
[archive]
host=archive.example.org

[prod]
host=db.example.org
host=ignored
port=6432
  user=monitor
password=c4n4ry=x
dbname=app
[later]
nonsense
"""


@pytest.fixture
def services(tmp_path: Path) -> Path:
    path = tmp_path / "services.conf"
    path.write_text(SERVICES)
    return path


def conninfo(*settings: str, **environment: str) -> dict[str, str]:
    """The parameters of the only database."""
    file = Path(settings[0]) if settings else None
    if file is not None:
        environment["PG_INDEX_EXPORTER_CONFIG_FILE"] = str(file)
    ((database,),) = (target.databases for target in resolve_targets(load(**environment)))
    return parameters(database.conninfo.get_secret_value())


def test_the_first_file_that_defines_a_service_counts(services: Path, tmp_path: Path) -> None:
    home = tmp_path / ".pg_service.conf"
    home.write_text("[prod]\nhost=of-the-user\n")

    assert service_files({"HOME": str(tmp_path), "PGSYSCONFDIR": "/etc/pg"}) == (
        home,
        Path("/etc/pg/pg_service.conf"),
    )
    assert service_files({"HOME": str(tmp_path), "PGSERVICEFILE": str(services)}) == (
        services,
        Path("/etc/postgresql-common/pg_service.conf"),
    )
    assert service_parameters("prod", (home, services), KEYWORDS) == {"host": "of-the-user"}
    assert service_parameters("archive", (home, services), KEYWORDS) == {"host": "archive.example.org"}


def test_a_dsn_may_name_a_service_and_ranks_above_it(services: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("targets: [{name: main, dsn: 'service=prod user=other', port: 5433, databases: [d]}]\n")

    found = conninfo(PG_INDEX_EXPORTER_DSN="service=prod user=other", PGSERVICEFILE=str(services))
    assert [found[name] for name in ("host", "port", "user", "password", "dbname")] == [
        *("db.example.org", "6432", "other", "c4n4ry=x", "app")
    ]
    found = conninfo(str(file), PGSERVICEFILE=str(services))
    assert [found[name] for name in ("host", "port", "user", "dbname")] == [
        *("db.example.org", "5433", "other", "d")
    ]


def test_a_service_of_the_environment_ranks_above_its_other_variables(services: Path) -> None:
    environment = {"PGSERVICE": "prod", "PGSERVICEFILE": str(services), "PGHOST": "h", "PGSSLMODE": "require"}

    found = conninfo(**environment)
    assert (found["host"], found["user"], found["sslmode"]) == ("db.example.org", "monitor", "require")
    found = conninfo(**environment, DATA_SOURCE_NAME="service=archive dbname=old user=u")
    assert (found["host"], found["dbname"], found["user"]) == ("archive.example.org", "old", "u")


def test_a_service_of_the_environment_is_ignored_beside_a_named_server(services: Path) -> None:
    environment = {"PGSERVICE": "prod", "PGSERVICEFILE": str(services)}

    settings = load(PG_INDEX_EXPORTER_DSN="host=h dbname=d", **environment)

    assert settings.ignored_variables == ("PGSERVICE",)
    assert conninfo(PG_INDEX_EXPORTER_DSN="host=h dbname=d", **environment)["host"] == "h"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[other]\nhost=h\n", "the service is not defined"),
        ("", "the service is not defined"),
        (f"[prod]\n{CANARY}\n", "services.conf:2 is not keyword=value"),
        (f"[prod]\nhost=h\npasword={CANARY}\n", "services.conf:3 has a keyword that libpq does not know"),
        (f"[prod]\nhost = {CANARY}\n", "services.conf:2 has a keyword that libpq does not know"),
        (f"[prod]\nservice={CANARY}\n", "services.conf:2 names a service inside a service"),
        (f"[prod]\nldap://{CANARY}/dc=x\n", "services.conf:2 asks an LDAP server, which is not supported"),
        ("[prod]\nuser=\xff\n", "services.conf is not UTF-8"),
    ],
)
def test_faults_of_a_service_have_their_places_and_no_values(services: Path, text: str, what: str) -> None:
    services.write_bytes(text.encode("latin-1"))

    for name in ("PG_INDEX_EXPORTER_DSN", "DATA_SOURCE_NAME"):
        fault = faults_of(**{name: "service=prod", "PGSERVICEFILE": str(services)})[0]
        assert fault.place == name
        assert fault.what.removeprefix(f"{services.parent}/") == what
        assert CANARY not in str(fault)


def test_a_service_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InvalidText, match="cannot be read: Is a directory"):
        service_parameters("prod", (tmp_path,), KEYWORDS)
    with pytest.raises(InvalidText) as caught:
        service_parameters(CANARY, (), KEYWORDS)
    assert CANARY not in caught.value.what + caught.value.hint


def test_a_service_file_is_read_again_when_it_changes(services: Path) -> None:
    source = Source(None, {"dsn": "service=prod"}, {"PGSERVICEFILE": str(services)})

    assert services in read(source).files
