"""The walk of README.md, word for word: its commands lead from nothing to a page with the declared index."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import OwnServer
from tests.support.terminal import Terminal
from tests.support.tools import CHECKOUT, find_tool

README = CHECKOUT / "README.md"
WALK = "## From nothing to a page"
BUILDER_PASSWORD, MONITOR_PASSWORD = "builder secret", "monitor/secret"
EXPORT = re.compile(r"^export (\w+)='[^']*'$", re.MULTILINE)


def section(heading: str) -> str:
    """The section of README.md under the heading, with those below it."""
    text = README.read_text(encoding="utf-8")
    level = heading.split(" ")[0]
    return re.split(rf"^{level} ", text.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str) -> list[str]:
    """The fenced blocks of shell commands."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def free_address() -> str:
    """An address of this machine that nothing listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def walk(own_server: OwnServer, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which the commands of the walk run, with the connections of a server of its own."""
    server = own_server()
    server.execute(sql.SQL("CREATE DATABASE shop"))
    given = conninfo_to_dict(server.dsn("shop"))
    place = f"{given['host']}:{given['port']}/shop"
    connections = {
        "ADMIN_DSN": f"postgresql://{given['user']}:{given['password']}@{place}",
        "BUILDER_DSN": f"postgresql://index_builder:{BUILDER_PASSWORD.replace(' ', '%20')}@{place}",
        "MONITOR_DSN": f"postgresql://index_monitor:{MONITOR_PASSWORD.replace('/', '%2F')}@{place}",
        "PG_INDEX_EXPORTER_WEB_LISTEN_ADDRESS": free_address(),
    }
    connecting, *rest = blocks(section(WALK))
    assert set(EXPORT.findall(connecting)) == set(connections)
    mine = EXPORT.sub(lambda match: f"export {match[1]}='{connections[match[1]]}'", connecting)
    script = tmp_path / "walk.sh"
    script.write_text("set -eo pipefail\n" + "\n".join([mine, *rest]), encoding="utf-8")
    # As in the checkout, where the walk would leave its manifest.
    (tmp_path / "deploy").symlink_to(CHECKOUT / "deploy")
    programs = [Path(sys.executable).parent, find_tool("psql").parent, find_tool("curl").parent]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    terminal = Terminal(
        ["/bin/bash", "-c", f"cd {tmp_path} && exec bash walk.sh"], {**os.environ, "PATH": path}
    )
    yield terminal
    terminal.close()


def test_the_walk_of_the_readme_leads_to_a_page(walk: Terminal) -> None:
    for role, password in (("index_builder", BUILDER_PASSWORD), ("index_monitor", MONITOR_PASSWORD)):
        walk.wait_for(f'new password for user "{role}"')
        walk.press(f"{password}\n".encode())
        walk.wait_for(f'new password for user "{role}": Enter it again')
        walk.press(f"{password}\n".encode())

    assert walk.end() == 0, walk.screen
    labels = 'datname="shop",schemaname="public",relname="orders",indexname="idx_orders_customer"'
    for sample in (f"pg_index_present{{{labels}}} 1", f"pg_index_valid{{{labels}}} 1"):
        assert sample in walk.screen


def test_the_table_of_roles_is_that_of_its_page_and_names_commands_that_exist() -> None:
    def rows(text: str) -> list[str]:
        return re.findall(r"^\| (?:monitor|builder) \|.*$", text, re.MULTILINE)

    table = rows(README.read_text(encoding="utf-8"))

    assert table == rows((CHECKOUT / "docs" / "roles.md").read_text(encoding="utf-8"))
    shown = subprocess.run(
        [sys.executable, "-m", "exporter", "--help"], capture_output=True, text=True, check=True
    )
    commands = {name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[2])}
    assert {name for name in commands if not re.search(rf"\b{name}\b", shown.stdout)} == set()


def test_every_link_between_the_pages_leads_somewhere() -> None:
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")]
    dead = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text(encoding="utf-8"))
        if not leads_somewhere(page, target)
    ]

    assert dead == []


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether the file is there, and the heading in it."""
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    if not path.exists() or not anchor:
        return path.exists()
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
