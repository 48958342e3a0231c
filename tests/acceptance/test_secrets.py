"""Secrets planted wherever one can stand, and everything read that the program shows: none is in it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import bcrypt
import httpx
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.cli import main
from exporter.metrics.web.healthcheck import check_health
from exporter.settings.reference import setting_references
from tests.conftest import TestDatabase
from tests.support.builds import waiting_build, writer
from tests.support.ports import free_port
from tests.support.waiting import wait_for
from tests.unit.metrics.exposition.test_render import samples

CANARY = "canary"
MANIFEST = """\
migration: 001_secrets
indexes:
  - name: idx_messages_sender
    table: public.messages
    columns: [sender_id]
    probes:
      - sql: SELECT id FROM messages WHERE sender_id = %(sender_id)s
        sample: SELECT sender_id FROM messages LIMIT 3
"""
FORMATS = ("text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0")
PATHS = ("/metrics", "/probe", "/sd", "/", "/-/healthy", "/-/ready", "/-/reload", "/nothing")
STOP_SECONDS = 60


@dataclass
class Haystack:
    """Everything that was read, by where; and what must not be in it."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, text: str) -> str:
        self.texts[where] = text
        return text

    def found(self) -> dict[str, str]:
        """Where a canary was, with what stood around it."""
        return {
            where: text[max(0, text.lower().index(CANARY) - 60) :][:160]
            for where, text in self.texts.items()
            if CANARY in text.lower()
        }


@pytest.fixture
def haystack() -> Haystack:
    return Haystack()


def make_canary(name: str) -> str:
    """A password that says where it was planted and that every form has to escape."""
    return f"{CANARY}-{name}-{secrets.token_hex(4)} '\\%@/:"


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in where."""

    host: str
    port: int
    dbname: str
    user: str
    password: str

    @property
    def parts(self) -> dict[str, str]:
        return {"host": self.host, "port": str(self.port), "dbname": self.dbname, "user": self.user}

    def uri(self, password: str | None, query: str = "") -> str:
        secret = "" if password is None else ":" + quote(password, safe="")
        return f"postgresql://{self.user}{secret}@{self.host}:{self.port}/{self.dbname}{query}"

    def passfile(self, directory: Path) -> Path:
        """A file in the form of ~/.pgpass."""
        path = directory / "pgpass"
        escaped = self.password.replace("\\", "\\\\").replace(":", "\\:")
        path.write_text(f"*:*:*:{self.user}:{escaped}\n")
        path.chmod(0o600)
        return path

    def file(self, directory: Path, text: str) -> str:
        path = directory / "secret"
        path.write_text(text + "\n")
        return str(path)


Form = Callable[[Login, Path], dict[str, str]]


def pg_variables(login: Login) -> dict[str, str]:
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
    return {names[name]: value for name, value in login.parts.items()}


def settings_file(login: Login, directory: Path, secret: str) -> dict[str, str]:
    path = directory / "settings.yaml"
    target = {
        "name": "default",
        "host": login.host,
        "port": login.port,
        "user": login.user,
        "databases": [login.dbname],
    }
    # JSON is YAML.
    path.write_text(json.dumps({"targets": [{**target, **json.loads(secret)}]}))
    return {"PG_INDEX_EXPORTER_CONFIG_FILE": str(path)}


FORMS: Mapping[str, Form] = {
    "uri": lambda login, _: {"PG_INDEX_EXPORTER_DSN": login.uri(login.password)},
    "keywords": lambda login, _: {
        "PG_INDEX_EXPORTER_DSN": make_conninfo(password=login.password, **login.parts)
    },
    "parameter": lambda login, _: {
        "PG_INDEX_EXPORTER_DSN": login.uri(None, f"?password={quote(login.password, safe='')}")
    },
    "passfile": lambda login, directory: {
        "PG_INDEX_EXPORTER_DSN": make_conninfo(passfile=str(login.passfile(directory)), **login.parts)
    },
    "dsn_file": lambda login, directory: {
        "PG_INDEX_EXPORTER_DSN_FILE": login.file(directory, login.uri(login.password))
    },
    "data_source_name": lambda login, _: {"DATA_SOURCE_NAME": login.uri(login.password)},
    "pgpassword": lambda login, _: {**pg_variables(login), "PGPASSWORD": login.password},
    "pgpassfile": lambda login, directory: {
        **pg_variables(login),
        "PGPASSFILE": str(login.passfile(directory)),
    },
    "settings": lambda login, directory: settings_file(
        login, directory, json.dumps({"password": login.password})
    ),
    "settings_file": lambda login, directory: settings_file(
        login, directory, json.dumps({"password_file": login.file(directory, login.password)})
    ),
    "targets_variable": lambda login, _: {
        "PG_INDEX_EXPORTER_TARGETS": json.dumps([{"name": "default", "dsn": login.uri(login.password)}])
    },
}


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    database.execute("CREATE EXTENSION pg_stat_statements")
    database.execute("CREATE TABLE messages (id int PRIMARY KEY, sender_id int, body text)")
    database.execute("INSERT INTO messages SELECT g, g % 100 FROM generate_series(1, 5000) AS g")
    database.execute("ANALYZE messages")
    return database


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    return path


MakeLogin = Callable[[str], Login]


@pytest.fixture
def make_login(shop: TestDatabase) -> Iterator[MakeLogin]:
    """Makes roles that own the table, each with a canary for its password."""
    names: list[str] = []

    def make(form: str) -> Login:
        user, password = f"{shop.name}_{form}", make_canary(form)
        # The statement itself is one of the places where a password is recorded.
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        shop.execute(create.format(sql.Identifier(user), sql.Literal(password)))
        shop.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(user)))
        shop.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(user)))
        shop.execute(sql.SQL("ALTER TABLE messages OWNER TO {}").format(sql.Identifier(user)))
        names.append(user)
        return Login(shop.server.host, shop.server.port, shop.name, user, password)

    yield make
    shop.execute("ALTER TABLE messages OWNER TO CURRENT_USER")
    for name in names:
        shop.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
        shop.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def environment(given: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "80", "LC_ALL": "C.UTF-8", **given}


def command(name: str, *options: object) -> list[str]:
    return [sys.executable, "-m", "exporter", name, *map(str, options)]


def run(haystack: Haystack, given: Mapping[str, str], name: str, *options: object) -> int:
    """The exit code of a command; what it said is read."""
    done = subprocess.run(
        command(name, *options), env=environment(given), capture_output=True, text=True, check=False
    )
    where = " ".join(map(str, (name, *options)))
    haystack.add(f"output of {where}", done.stdout)
    haystack.add(f"talk of {where}", done.stderr)
    assert "Traceback" not in done.stderr
    return done.returncode


@contextmanager
def serving(haystack: Haystack, directory: Path, given: Mapping[str, str], *options: object) -> Iterator[str]:
    """The URL of `serve` at debug; its log and its command line are read."""
    address, log = f"127.0.0.1:{free_port()}", directory / "log"
    arguments = command("serve", "--log.level", "debug", "--web.listen-address", address, *options)
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, env=environment(given), stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for("the exporter", lambda: check_health(address) or None)
        haystack.add("command line of serve", command_line(process.pid))
        yield f"http://{address}"
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        haystack.add("log of serve", log.read_text())


def command_line(pid: int) -> str:
    """What every user of the machine sees of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/comm").read_text()


def read_pages(haystack: Haystack, url: str, login: Login, auth: tuple[str, str] | None = None) -> None:
    """Every path by every method in both formats, and what strangers may ask with a secret in it."""
    asked = [*PATHS, "/probe?target=default", f"/probe?target={quote(login.uri(login.password))}"]
    asked += [f"/{quote(login.password)}", f"/metrics?dsn={quote(login.uri(login.password))}"]
    with httpx.Client(base_url=url, timeout=60, auth=auth) as client:
        for path in asked:
            for accept in FORMATS:
                answer = client.get(path, headers={"Accept": accept})
                # Where we put the secret ourselves is not told on.
                shown = path if CANARY not in path else "a path with a secret"
                head = f"{answer.status_code} {answer.headers}"
                haystack.add(f"GET {shown} {accept} {len(haystack.texts)}", head + answer.text)
            for method in ("HEAD", "POST"):
                answer = client.request(method, path)
                haystack.add(f"{method} {len(haystack.texts)}", f"{answer.headers}{answer.text}")
        stranger = {
            "Authorization": f"Basic {login.password}",
            "Cookie": login.password,
            "Accept": login.password,
        }
        for headers in (stranger, {"X-Prometheus-Scrape-Timeout-Seconds": login.password}):
            haystack.add(f"a stranger {len(haystack.texts)}", client.get("/metrics", headers=headers).text)


def read_server(haystack: Haystack, shop: TestDatabase) -> None:
    """What the server shows of our sessions, and the journal."""
    activity = (
        "SELECT application_name, query FROM pg_stat_activity "
        "WHERE application_name LIKE 'pg-index-exporter%%'"
    )
    haystack.add(f"sessions {len(haystack.texts)}", str(shop.execute(activity)))
    if shop.execute("SELECT to_regclass('migration_events')") != [(None,)]:
        for name in ("migration_events", "migration_log"):
            haystack.add(f"journal {name}", str(shop.execute(sql.SQL(f"SELECT t::text FROM {name} AS t"))))


def target_up(haystack: Haystack) -> set[float]:
    """What the pages said of the target, in either format."""
    return {
        value
        for where, text in haystack.texts.items()
        if where.startswith("GET /metrics text/plain")
        for (name, _), value in samples(text.partition("})")[2]).items()
        if name == "pg_index_exporter_target_up"
    }


@pytest.mark.parametrize(
    ("form", "state"),
    # Without a server no form gets further than another.
    [
        *((form, state) for form in FORMS for state in ("up", "wrong")),
        ("uri", "down"),
        ("pgpassword", "down"),
    ],
)
def test_the_password_of_a_connection(
    shop: TestDatabase,
    make_login: MakeLogin,
    manifest: Path,
    tmp_path: Path,
    haystack: Haystack,
    form: str,
    state: str,
) -> None:
    login = make_login(form)
    if state == "wrong":
        shop.execute(sql.SQL("ALTER ROLE {} PASSWORD 'another'").format(sql.Identifier(login.user)))
    if state == "down":
        login = Login(login.host, free_port(), login.dbname, login.user, login.password)
    given = FORMS[form](login, tmp_path)
    flags: tuple[object, ...] = ("--watch", "all")
    if "settings" not in form:
        flags = ("--manifest", manifest, *flags)

    with serving(haystack, tmp_path, given, *flags, "--log.format", "json") as url:
        read_pages(haystack, url, login)
        read_server(haystack, shop)
    code = run(haystack, given, "check", "--format", "json", *flags)

    assert haystack.found() == {}
    assert target_up(haystack) == {1.0 if state == "up" else 0.0}
    assert code == (0 if state == "up" else 4)
    assert ("database does not answer" in haystack.texts["log of serve"]) is (state != "up")


def test_passwords_in_the_texts_of_statements(
    shop: TestDatabase, make_login: MakeLogin, tmp_path: Path, haystack: Haystack
) -> None:
    login = make_login("reader")
    # The role's name is a table's: the texts name a watched table as a whole word.
    name = sql.Identifier(login.user)
    shop.execute(sql.SQL("CREATE TABLE {} (id int PRIMARY KEY)").format(name))
    with shop.connect() as connection:
        connection.execute("SET pg_stat_statements.track = 'all'")
        for text in (
            "ALTER ROLE {name} PASSWORD 'canary-alter'",
            "DO $$ BEGIN ALTER ROLE {name} PASSWORD 'canary-do'; END $$",
            "SELECT id FROM {name} /* password=canary-comment */ WHERE id = 1 -- canary-line",
            "/* canary-leading /* canary-nested */ */ SELECT id, 'canary-literal' FROM {name}",
            "INSERT INTO messages VALUES (-1, 1, 'canary-value'), (-2, 2, $x$canary-dollar$x$)",
            "SELECT id AS marker FROM messages WHERE body = E'canary-\\\\escaped'",
            "SET application_name = 'canary-application messages'",
            "CREATE USER MAPPING FOR {name} SERVER nobody OPTIONS (password 'canary-mapping')",
        ):
            with connection.cursor() as cursor:
                try:
                    cursor.execute(sql.SQL(text).format(name=name))
                except Exception:  # noqa: BLE001 - a statement that fails is recorded or not; both are looked at
                    assert "mapping" in text
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(login.password)))
    recorded = str(shop.execute("SELECT query FROM pg_stat_statements WHERE query LIKE '%%canary%%'"))

    with serving(haystack, tmp_path, FORMS["uri"](login, tmp_path), "--watch", "all") as url:
        read_pages(haystack, url, login)

    for planted in ("alter", "do", "comment", "line", "reader"):
        assert f"canary-{planted}" in recorded
    page = next(text for where, text in haystack.texts.items() if where.startswith("GET /metrics text"))
    assert f'query="SELECT id FROM \\"{login.user}\\" WHERE id = $1"' in page
    assert "SELECT id AS marker FROM messages" in page
    assert haystack.found() == {}


def test_commands_that_change_the_database(
    shop: TestDatabase, make_login: MakeLogin, manifest: Path, tmp_path: Path, haystack: Haystack
) -> None:
    login = make_login("builder")
    given = FORMS["passfile"](login, tmp_path)
    reports = [tmp_path / f"report.{ending}" for ending in ("txt", "md", "json")]
    flags = ["--manifest", manifest]

    for name in ("plan", "status", "check"):
        run(haystack, given, name, *flags)
    with (tmp_path / "init.log").open("wb") as log, writer(shop) as blocker:
        # What a session that is in the way said last can hold a password too.
        blocker.execute(f"ALTER ROLE {login.user} CONNECTION LIMIT 9 /* canary-blocker */")
        process = subprocess.Popen(
            command("init", "--yes", *flags, *(word for path in reports for word in ("--report", path))),
            env=environment(given),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            waiting_build(shop)
            told = tmp_path / "init.log"
            wait_for("the blocker's name", lambda: "waits for pid" in told.read_text() or None)
            haystack.add("command line of init", command_line(process.pid))
            read_server(haystack, shop)
            run(haystack, given, "status", *flags)
        except BaseException:
            process.kill()
            raise
    code = process.wait(STOP_SECONDS)
    haystack.add("output of init", (tmp_path / "init.log").read_text())
    for path in reports:
        haystack.add(path.name, path.read_text())
    codes = [run(haystack, given, name, *flags) for name in ("verify", "status", "check")]
    codes.append(run(haystack, given, "rollback", "--yes", "--format", "json", *flags))
    read_server(haystack, shop)

    assert code == 0
    assert codes == [0, 0, 0, 0]
    assert "idx_messages_sender" in haystack.texts["journal migration_log"]
    assert all("idx_messages_sender" in haystack.texts[path.name] for path in reports)
    assert haystack.found() == {}


@pytest.mark.parametrize("state", ["wrong", "down"])
def test_commands_that_reach_no_database(
    shop: TestDatabase,
    make_login: MakeLogin,
    manifest: Path,
    tmp_path: Path,
    haystack: Haystack,
    state: str,
) -> None:
    login = make_login("builder")
    shop.execute(sql.SQL("ALTER ROLE {} PASSWORD 'another'").format(sql.Identifier(login.user)))
    port = free_port() if state == "down" else login.port
    login = Login(login.host, port, login.dbname, login.user, login.password)

    codes = [
        run(haystack, FORMS[form](login, tmp_path), name, "--manifest", manifest, *options)
        for form in ("uri", "pgpassword")
        for name, *options in (["init", "--yes"], ["plan"], ["verify"], ["status"], ["rollback", "--yes"])
    ]

    assert codes == [4] * 10
    assert haystack.found() == {}


def test_users_and_their_hashes(
    shop: TestDatabase, make_login: MakeLogin, tmp_path: Path, haystack: Haystack
) -> None:
    login = make_login("web")
    password = make_canary("basic").replace(":", "")
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(json.dumps({"basic_auth_users": {"alice": hashed}}))
    flags = ("--web.config.file", web, "--watch", "all")

    with serving(haystack, tmp_path, FORMS["uri"](login, tmp_path), *flags) as url:
        read_pages(haystack, url, login, auth=("alice", password))
        read_pages(haystack, url, login, auth=("alice", f"{password} wrong"))
        # A hash that cannot be used is told, and not repeated.
        web.write_text(json.dumps({"basic_auth_users": {"alice": hashed[:-1], "bob": password}}))
        with httpx.Client(base_url=url, auth=("alice", password), timeout=60) as client:
            wait_for(
                "the faults in the log",
                lambda: (
                    "configuration invalid" in client.get("/").text + (tmp_path / "log").read_text() or None
                ),
            )
    code = run(haystack, FORMS["uri"](login, tmp_path), "check", *flags)

    assert code == 2
    assert "web.yml:1" in haystack.texts[f"talk of check {' '.join(map(str, flags))}"]
    assert haystack.found() == {}
    assert {where for where, text in haystack.texts.items() if hashed[7:-1] in text} == set()
    assert any("401" in text for text in haystack.texts.values())


MISPLACED = (
    "postgresql://app:canary-uri@db.example/nova",
    "postgresql://app:canary@slash/word@db.example/nova",
    "postgresql://app@db.example/nova?password=canary-parameter",
    "postgresql://app:canary-%zz@db.example/nova",
    "host=db.example user=app password=canary-keywords",
    "host=db.example password='canary-open",
    "mysql://app:canary-scheme@db.example/nova",
    "[{name: one, password: canary-yaml, dsn: 'host=db.example password=canary-dsn'}]",
)


def test_settings_that_are_read_again(
    shop: TestDatabase, make_login: MakeLogin, tmp_path: Path, haystack: Haystack
) -> None:
    """Rotated by file, and with a secret in every wrong place of the settings, told to whoever reloads."""
    login = make_login("reload")
    secret = json.dumps({"password_file": login.file(tmp_path, login.password)})
    given = settings_file(login, tmp_path, secret)
    file = Path(given["PG_INDEX_EXPORTER_CONFIG_FILE"])
    good = file.read_text()
    flags = ("--web.enable-lifecycle", "--watch", "all", "--log.format", "json")

    with (
        serving(haystack, tmp_path, given, *flags) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):

        def reload(expected: int) -> None:
            answer = client.post("/-/reload")
            haystack.add(
                f"reload {len(haystack.texts)}", f"{answer.status_code} {answer.headers}{answer.text}"
            )
            assert answer.status_code == expected, answer.text

        for text in MISPLACED:
            for broken in ({"targets": text}, {"watch": [text], text: text}, {"targets": [{"name": text}]}):
                file.write_text(json.dumps(broken))
                reload(500)
            file.write_text(text)
            reload(500)
        read_pages(haystack, url, login)
        file.write_text(good)
        (tmp_path / "secret").write_text(make_canary("rotated"))
        reload(200)
        shop.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s", [login.user]
        )
        read_pages(haystack, url, login)
        read_server(haystack, shop)

    assert haystack.found() == {}
    # The last good settings were served meanwhile, and the rotated password is none that the server knows.
    assert target_up(haystack) == {1.0, 0.0}
    assert "password authentication failed" in haystack.texts["log of serve"]


@pytest.mark.parametrize("text", MISPLACED)
def test_a_secret_where_none_belongs(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    haystack: Haystack,
    text: str,
) -> None:
    """Every setting, as variable, flag and key, gets a connection string by mistake."""
    nowhere = f"host=127.0.0.1 port={free_port()} user=app dbname=nova"
    file = tmp_path / "settings.yaml"
    for setting in setting_references().values():
        variables = {"PG_INDEX_EXPORTER_DSN": nowhere, setting.variable: text}
        file.write_text(json.dumps({"dsn": nowhere, setting.name: text}))
        flag = [setting.flag] if setting.is_switch else [setting.flag, text]
        for where, given, arguments in (
            (setting.variable, variables, []),
            (f"key {setting.name}", {}, ["--config.file", str(file)]),
            (setting.flag, {"PG_INDEX_EXPORTER_DSN": nowhere}, flag if setting.flag else []),
        ):
            with monkeypatch.context() as patch:
                for name, value in given.items():
                    patch.setenv(name, value)
                told = call(capfd, "check", "--web.listen-address", "127.0.0.1:0", *arguments)
            haystack.add(f"{where}: {text}", told)
    for arguments in ([text], ["check", text], ["init", "--format", text], ["check", f"--dns={text}"]):
        haystack.add(f"{arguments}", call(capfd, *arguments))

    assert haystack.found() == {}


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says, in this process: there are many."""
    capfd.readouterr()
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(str(end.code))
    told = capfd.readouterr()
    assert code in (0, 1, 2, 4)
    assert told.out + told.err
    return told.out + told.err
