"""One cause, one exit code: every command of docs/exit-codes.md against every cause that it can meet."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.cli import main
from tests.conftest import TestDatabase
from tests.support.builds import fill_shop, indexes_of, journal_of
from tests.support.ports import free_port
from tests.support.roles import PASSWORD, make_role

PAGE = Path(__file__).parents[3] / "docs" / "exit-codes.md"
ROW = re.compile(r"^\| (?P<cause>[a-z ]+) \| (?P<code>[0-9]) \| (?P<commands>[a-z ]+) \|$", re.MULTILINE)
CASES = [
    (row["cause"], name, int(row["code"]))
    for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))
    for name in row["commands"].split()
]
FIT = "migration: 001_test\nindexes:\n- {name: idx_sender, table: messages, columns: [sender_id]}\n"
EXTRA: Mapping[str, tuple[str, ...]] = {
    "init": ("--yes",),
    "rollback": ("--yes",),
    "check": ("--web.listen-address", "127.0.0.1:0"),
    "serve": ("--web.listen-address", "127.0.0.1:0"),
}


@dataclass
class Call:
    """A command line under way: a cause changes what it needs to."""

    database: TestDatabase
    folder: Path
    name: str
    dsn: str
    words: list[str]

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.yaml"

    @property
    def statements(self) -> Path:
        return self.folder / "indexes.sql"


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    fill_shop(database)
    return database


def make_call(shop: TestDatabase, folder: Path, name: str) -> Call:
    call = Call(shop, folder, name, shop.dsn, [name, *EXTRA.get(name, ())])
    call.manifest.write_text(FIT, encoding="utf-8")
    call.statements.write_text("CREATE INDEX idx_sender ON messages (sender_id);", encoding="utf-8")
    call.words += [str(call.statements)] if name == "import" else ["--manifest", str(call.manifest)]
    return call


def bring_about(cause: str, call: Call) -> None:
    """Change the database or the command line so that the cause is there."""
    match cause:
        case "missing table":
            with journal_of(call.database):
                pass
            call.database.execute("DROP TABLE messages")
        case "wrong password":
            call.database.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(f"{call.database.name}_role"), PASSWORD
                )
            )
            call.dsn = make_conninfo(call.dsn, user=f"{call.database.name}_role", password="canary-wrong")
        case "unreachable server":
            call.dsn = make_conninfo(call.dsn, host="127.0.0.1", port=free_port())
        case "broken manifest":
            call.manifest.write_text(FIT.replace("columns", "colums"), encoding="utf-8")
        case "unknown target":
            call.words += ["--target", "nope"]
        case "undeclared index":
            call.words += ["--index", "nope"]
        case "unwritable report":
            call.words += ["--report", str(call.folder / "missing" / "report.json")]
        case "no terminal to ask on":
            if call.name == "rollback":
                assert main(["init", "--yes", "--manifest", str(call.manifest)]) in (0, 1)
            call.words.remove("--yes")
        case "monitor role":
            role = f"{call.database.name}_role"
            make_role(call.database, "monitor.sql", role, "{messages}")
            call.dsn = call.database.server.dsn(call.database.name, role, PASSWORD)
        case _:
            raise AssertionError(f"the test does not know the cause {cause!r}")


@pytest.fixture
def roles(shop: TestDatabase) -> Iterator[None]:
    yield
    name = sql.Identifier(f"{shop.name}_role")
    if shop.execute("SELECT FROM pg_roles WHERE rolname = %s", [f"{shop.name}_role"]):
        shop.execute(sql.SQL("DROP OWNED BY {}").format(name))
        shop.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize(("cause", "name", "code"), CASES)
def test_one_cause_has_one_exit_code_in_all_commands(
    shop: TestDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cause: str,
    name: str,
    code: int,
) -> None:
    call = make_call(shop, tmp_path, name)
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", call.dsn)
    bring_about(cause, call)
    monkeypatch.setenv("PG_INDEX_EXPORTER_DSN", call.dsn)
    before = indexes_of(shop)
    has_json = name not in ("import", "serve")
    capsys.readouterr()

    exit_code = main([*call.words, *(("--format", "json") if has_json else ())])

    captured = capsys.readouterr()
    assert exit_code == code, captured.out + captured.err
    assert indexes_of(shop) == before
    assert "Traceback" not in captured.out + captured.err
    assert "canary" not in captured.out + captured.err
    if has_json:
        document = json.loads(captured.out)
        assert (document["command"], document["exit_code"]) == (name, code)
        if code == 2:
            assert document["what"]
            assert document["hint"] or document["faults"]


def test_the_page_has_every_cause_and_command() -> None:
    assert {name for _, name, _ in CASES} == {
        *("check", "plan", "preflight", "init", "status", "verify", "rollback", "serve", "import")
    }
    assert len(CASES) > 40
