"""The address of a database as messages have it: hosts with their ports, and no secret."""

import pytest

from exporter.model import Database
from exporter.postgres.target import address
from exporter.secret import SecretStr


@pytest.mark.parametrize(
    ("conninfo", "places"),
    [
        ("host=db port=5433", "db:5433"),
        ("host=db", "db:5432"),
        ("host=a,b port=5432,5433", "a:5432, b:5433"),
        ("host=a,b,c port=6432", "a:6432, b:6432, c:6432"),
        ("host=a,b port=,5433", "a:5432, b:5433"),
        ("hostaddr=192.0.2.1", "192.0.2.1:5432"),
        ("hostaddr=::1", "[::1]:5432"),
        ("", "local socket:5432"),
    ],
)
def test_each_host_has_its_port(conninfo: str, places: str) -> None:
    database = Database("nova", SecretStr(f"{conninfo} user=somebody password=hidden"))

    assert address(database) == f"database 'nova' at {places}"
