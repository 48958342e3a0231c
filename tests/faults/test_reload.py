"""Settings, manifests and secrets that change while the exporter runs: the good counts, faults are told."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import httpx
import pytest
from psycopg import sql

from exporter.metrics.web.healthcheck import check_health
from tests.conftest import OwnServer, TestDatabase
from tests.faults.scraping import CLIENT_TIMEOUT_SECONDS, Scrape, scrape
from tests.faults.serving import serve
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.postgres_server import LocalServer
from tests.support.waiting import wait_for

CANARY = "canary"
CURRENT = "pg_index_exporter_config_last_reload_successful"
LAST_SUCCESS = "pg_index_exporter_config_last_reload_success_timestamp_seconds"
LIFECYCLE = "--web.enable-lifecycle"


class Files:
    """The settings of an exporter, of one target `main` and of whatever else, as files that change."""

    def __init__(self, folder: Path, database: TestDatabase, user: str) -> None:
        self.folder = folder
        self.database = database
        self.user = user
        self.path = folder / "settings.yaml"
        self.log = folder / "log"
        self.password = folder / "password"
        self.manifest = folder / "manifest.yaml"
        self.declare("idx_one")

    def declare(self, *names: str) -> None:
        indexes = [{"name": name, "table": "public.messages", "columns": ["id"]} for name in names]
        replace(self.manifest, json.dumps({"migration": "001_test", "indexes": indexes}))

    def write(self, names: Sequence[str] = ("main",), **settings: object) -> None:
        replace(self.path, json.dumps({"targets": [self.target(name) for name in names], **settings}))

    def target(self, name: str) -> dict[str, object]:
        server = self.database.server
        return {
            "name": name,
            "host": server.host,
            "port": server.port,
            "user": self.user,
            "password_file": "password",
            "databases": [{"name": self.database.name, "manifests": ["manifest.yaml"]}],
        }

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        """The process and its URL; at the end it is still there, stops well and has told no secret."""
        flags = ("--config.file", str(self.path), "--log.level", "debug", *arguments)
        with serve(None, self.log, *flags) as (process, url):
            yield process, url
            assert process.poll() is None
            process.terminate()
            assert process.wait(CLIENT_TIMEOUT_SECONDS) == 0
        assert CANARY not in self.log.read_text()
        assert "Traceback" not in self.log.read_text()

    def said(self, text: str) -> int:
        """How many lines of the log hold that."""
        return sum(text in line for line in self.log.read_text().splitlines())

    def backends(self) -> list[int]:
        """The server processes of our connections."""
        rows = self.database.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'pg-index-exporter' ORDER BY backend_start"
        )
        return [pid for (pid,) in rows]


def replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)


def post(url: str, method: str = "POST", auth: tuple[str, str] | None = None) -> httpx.Response:
    return httpx.request(method, f"{url}/-/reload", auth=auth, timeout=CLIENT_TIMEOUT_SECONDS)


def probe(url: str, name: str) -> Scrape:
    return scrape(url, path=f"/probe?target={name}")


@pytest.fixture
def files(database: TestDatabase, tmp_path: Path) -> Iterator[Files]:
    """Settings whose password is right, of a database with one table and one of its declared indexes."""
    database.execute("CREATE TABLE messages (id int)")
    database.execute("CREATE INDEX idx_one ON messages (id)")
    user = f"{database.name}_monitor"
    database.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)))
    files = Files(tmp_path, database, user)
    set_password(files, f"{CANARY}-first")
    replace(files.password, f"{CANARY}-first\n")
    files.write()
    yield files
    database.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


def set_password(files: Files, password: str) -> None:
    change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(files.user), sql.Literal(password))
    files.database.execute(change)


def is_up(url: str) -> Callable[[], bool | None]:
    return lambda: scrape(url).target_up == 1 or None


def test_a_wrong_password_is_mended_in_its_file_alone(files: Files) -> None:
    replace(files.password, f"{CANARY}-wrong\n")
    with files.serving() as (_, url):
        before = scrape(url)
        replace(files.password, f"{CANARY}-first\n")
        wait_for("the right password", is_up(url))

    assert (before.target_up, before.value(CURRENT)) == (0, 1)
    assert files.said("the settings were read again") == 1
    assert files.said("changed=main") == 1


def test_a_password_is_rotated_under_open_and_lost_connections(files: Files) -> None:
    with files.serving(LIFECYCLE) as (_, url):
        assert scrape(url).target_up == 1
        (backend,) = files.backends()
        set_password(files, f"{CANARY}-second")
        kept = scrape(url)
        replace(files.password, f"{CANARY}-second\n")
        assert post(url).status_code == 200
        assert scrape(url).target_up == 1
        assert files.backends() == [backend]

        set_password(files, f"{CANARY}-third")
        files.database.execute("SELECT pg_terminate_backend(%s)", [backend])
        refused = wait_for("the refusal", lambda: found if (found := scrape(url)).target_up == 0 else None)
        replace(files.password, f"{CANARY}-third\n")
        # Not a moment of the pause that follows a refused connection is waited for.
        assert post(url).status_code == 200
        assert scrape(url).target_up == 1

    assert kept.target_up == 1
    assert refused.value("pg_index_declared", indexname="idx_one") == 1


def test_a_new_index_of_a_manifest_has_its_series(files: Files) -> None:
    with files.serving() as (process, url):
        before = scrape(url)
        (backend,) = files.backends()
        files.declare("idx_one", "idx_two")
        process.send_signal(signal.SIGHUP)
        wait_for("the index", lambda: scrape(url).value("pg_index_declared", indexname="idx_two"))
        after = scrape(url)
        assert files.backends() == [backend]

    assert before.value("pg_index_declared", indexname="idx_two") is None
    assert after.value("pg_index_present", indexname="idx_two") == 0
    assert after.value("pg_index_present", indexname="idx_one") == 1
    since = "pg_index_observed_since_timestamp_seconds"
    assert after.value(since, indexname="idx_one") == before.value(since, indexname="idx_one")


BREAKS: dict[str, Callable[[Files], object]] = {
    "yaml": lambda files: replace(files.path, "targets:\n  - {name: main, host: a\n  password: canary\n"),
    "unknown key": lambda files: files.write(hots="canary"),
    "manifest": lambda files: replace(files.manifest, "migration: [canary\n"),
    "manifest that is gone": lambda files: files.manifest.unlink(),
    "secret that is gone": lambda files: files.password.unlink(),
    "secret of two lines": lambda files: replace(files.password, "canary\ncanary\n"),
    "secret that cannot be read": lambda files: put_a_folder_in_place_of(files.password),
    "settings that are gone": lambda files: files.path.unlink(),
}


def put_a_folder_in_place_of(path: Path) -> None:
    # The tests may run as root, who can read a file whatever its rights.
    path.unlink()
    path.mkdir()


def fix(files: Files) -> None:
    if files.password.is_dir():
        files.password.rmdir()
    files.declare("idx_one")
    replace(files.password, f"{CANARY}-first\n")
    files.write()


def test_faults_keep_the_last_good_settings_and_are_told_once(files: Files) -> None:
    with files.serving(LIFECYCLE) as (_, url):
        assert scrape(url).target_up == 1
        backends = files.backends()
        for what, break_them in BREAKS.items():
            before = scrape(url)
            break_them(files)
            refused = [post(url) for _ in range(3)]
            during = scrape(url)
            fix(files)
            fixed = post(url)
            after = scrape(url)

            assert {answer.status_code for answer in refused} == {500}, what
            assert str(files.folder) in refused[0].text
            assert CANARY not in refused[0].text
            assert fixed.status_code == 200
            assert (during.target_up, during.value("pg_index_present")) == (1, 1), what
            assert [page.value(CURRENT) for page in (before, during, after)] == [1, 0, 1], what
            first, kept, last = (page.value(LAST_SUCCESS) or 0 for page in (before, during, after))
            assert first == kept < last
        assert files.backends() == backends

    assert files.said("the settings have faults, the last good ones stay") == len(BREAKS)
    assert files.said("the settings have no faults any more") == len(BREAKS)


def test_faults_and_their_hint_are_noticed_without_a_request(files: Files) -> None:
    with files.serving() as (_, url):
        replace(files.path, "targets: [")
        wait_for("the fault", lambda: scrape(url).value(CURRENT) == 0 or None)
        files.path.unlink()
        wait_for("the other fault", lambda: files.said("the settings have faults") == 2 or None)
        fix(files)
        wait_for("the fix", lambda: scrape(url).value(CURRENT) or None)
        assert scrape(url).target_up == 1


def test_targets_come_and_go_while_they_are_scraped(files: Files) -> None:
    files.write(["main", "other"])
    stopped = threading.Event()
    answers: dict[str, list[Scrape | httpx.Response]] = {"main": [], "other": []}

    def keep_scraping(url: str, name: str) -> None:
        with httpx.Client(base_url=url, timeout=CLIENT_TIMEOUT_SECONDS) as client:
            while not stopped.is_set():
                answers[name].append(client.get("/probe", params={"target": name}))

    with files.serving(LIFECYCLE) as (_, url), ThreadPoolExecutor(4) as scrapers:
        assert probe(url, "main").target_up == probe(url, "other").target_up == 1
        backend, _ = files.backends()
        scraping = [scrapers.submit(keep_scraping, url, name) for name in ("main", "other") * 2]
        try:
            for number in range(5):
                files.write(["main"])
                assert post(url).status_code == 200
                assert probe(url, "other").status_code == 404
                wait_for("the end of the connection", lambda: files.backends() == [backend] or None)
                files.write([("main", "other"), ("other", "main")][number % 2])
                assert post(url).status_code == 200
                assert probe(url, "other").target_up == 1
        finally:
            stopped.set()
        for each in scraping:
            each.result()
        assert backend in files.backends()

    assert {answer.status_code for answer in answers["main"]} == {200}
    assert {answer.status_code for answer in answers["other"]} == {200, 404}
    pages = [answer.text for answer in itertools.chain(*answers.values()) if answer.status_code == 200]
    assert all("pg_index_exporter_target_up 1\n" in page for page in pages)
    assert files.said("removed=other") == files.said("added=other") == 5


def test_a_removed_target_ends_its_scrape_well_and_its_connections_then(
    files: Files, own_server: OwnServer
) -> None:
    server = own_server()
    frozen = {"name": "frozen", "dsn": server.dsn()}
    with files.serving(LIFECYCLE) as (_, url), ThreadPoolExecutor(1) as scraper:
        replace(files.path, json.dumps({"targets": [files.target("main"), frozen]}))
        assert post(url).status_code == 200
        assert probe(url, "frozen").target_up == 1
        server.freeze()
        hanging = scraper.submit(scrape, url, 3, "/probe?target=frozen")
        # Nothing but its own answer tells that it began; the reload may well come first.
        wait_for("the scrape", lambda: hanging.running() or None)
        files.write(["main"])
        assert post(url).status_code == 200
        assert scrape(url).target_up == 1
        ended = hanging.result(CLIENT_TIMEOUT_SECONDS)
        server.thaw()
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg-index-exporter'"
        wait_for("the end of the connection", lambda: server.execute(ours) == [(0,)] or None)

    assert (ended.status_code, ended.target_up) in ((200, 0), (404, None))


def test_a_storm_of_signals_disturbs_nobody(files: Files) -> None:
    with files.serving() as (process, url), ThreadPoolExecutor(4) as scrapers:
        assert scrape(url).target_up == 1
        backends = files.backends()
        scraping = [scrapers.submit(scrape, url) for _ in range(40)]
        for number in range(300):
            if number % 50 == 0:
                files.declare("idx_one", f"idx_{number}")
            process.send_signal(signal.SIGHUP)
        answers = [each.result() for each in scraping]
        wait_for("the last one", lambda: scrape(url).value("pg_index_declared", indexname="idx_250"))
        assert files.backends() == backends

    assert {(answer.status_code, answer.target_up) for answer in answers} == {(200, 1)}
    assert files.said("the settings have faults") == 0


def test_a_signal_before_it_is_ready_is_a_request_too(files: Files) -> None:
    port = free_port()
    os.mkfifo(files.folder / "pipe")
    command = [sys.executable, "-m", "exporter", "serve", "--web.listen-address", f"127.0.0.1:{port}"]
    with files.log.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config.file", str(files.folder / "pipe")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        # It can be opened once somebody reads, who then waits for what is written.
        with (files.folder / "pipe").open("w") as pipe:
            process.send_signal(signal.SIGHUP)
            pipe.write(files.path.read_text())
            files.write(["main", "other"])
            files.path.replace(files.folder / "pipe")
        wait_for("the exporter", lambda: check_health(f"127.0.0.1:{port}") or None)
        url = f"http://127.0.0.1:{port}"
        wait_for("the reload", lambda: probe(url, "other").target_up)
    finally:
        process.terminate()
        assert process.wait(CLIENT_TIMEOUT_SECONDS) == 0


def test_a_request_to_reload_needs_leave_and_the_password(files: Files) -> None:
    hashed = bcrypt.hashpw(f"{CANARY}-web".encode(), bcrypt.gensalt(4)).decode()
    web = files.folder / "web.yml"
    web.write_text(f"basic_auth_users: {{prometheus: {hashed}}}\n")
    auth = ("prometheus", f"{CANARY}-web")
    with files.serving("--web.config.file", str(web)) as (process, url):
        refused = [post(url), post(url, auth=auth), post(url, "PUT", auth)]
        files.write(web_enable_lifecycle=True)
        process.send_signal(signal.SIGHUP)
        wait_for("the leave", lambda: post(url, auth=auth).status_code == 200 or None)
        allowed = [post(url), post(url, "PUT", auth), post(url, "GET", auth)]
        files.write(web_enable_lifecycle=True, log_format="json", max_indexes=5)
        last = post(url, auth=auth)

    assert [answer.status_code for answer in refused] == [401, 403, 403]
    assert LIFECYCLE in refused[1].text
    assert [answer.status_code for answer in allowed] == [401, 200, 405]
    assert last.status_code == 200
    assert files.said('"settings": ["max_indexes", "log_format"]') == 1


def test_settings_that_need_a_restart_say_so(files: Files) -> None:
    settings = {"web_listen_address": "127.0.0.1:1", "web_telemetry_path": "/own"}
    with files.serving(LIFECYCLE) as (_, url):
        files.write(**settings)
        # The flag wins over the file: its setting did not change.
        told = post(url)
        assert scrape(url).target_up == 1

    assert told.text.splitlines()[1:] == ["web_telemetry_path takes effect after a restart"]
    assert files.said("settings that changed count after a restart") == 1


def test_links_that_are_swapped_as_kubernetes_does_are_noticed(files: Files) -> None:
    """A mounted secret: files are links through `..data`, itself a link that is replaced."""
    folders = [files.folder / name for name in ("..first", "..second")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for file in (files.password, files.manifest):
            (folder / file.name).write_bytes(file.read_bytes())
        files.write(["main", "other"][: number + 1])
        files.path.replace(folder / "settings.yaml")
    data = files.folder / "..data"
    data.symlink_to("..first")
    for file in (files.path, files.password, files.manifest):
        file.unlink(missing_ok=True)
        file.symlink_to(Path("..data") / file.name)

    with files.serving() as (_, url):
        assert probe(url, "other").status_code == 404
        (files.folder / "..new").symlink_to("..second")
        (files.folder / "..new").replace(data)
        wait_for("the other target", lambda: probe(url, "other").target_up)

    assert files.said("added=other") == 1


def test_variables_of_libpq_stay_those_of_the_start(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    server = files.database.server
    variables = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": files.user,
        "PGPASSWORD": f"{CANARY}-first",
        "PGDATABASE": files.database.name,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    replace(files.path, json.dumps({"manifests": ["manifest.yaml"], "web_enable_lifecycle": True}))
    with files.serving() as (_, url):
        backends = (scrape(url).target_up, files.backends())
        files.declare("idx_one", "idx_two")
        assert post(url).status_code == 200
        after = scrape(url)
        assert (after.target_up, files.backends()) == backends

    assert after.value("pg_index_declared", indexname="idx_two") == 1


def test_a_passfile_that_changed_counts_for_the_next_connection(files: Files) -> None:
    passfile = files.folder / "pgpass"

    def write(password: str) -> None:
        new = passfile.with_suffix(".new")
        new.write_text(f"*:*:*:*:{password}\n")
        new.chmod(0o600)
        new.replace(passfile)

    write(f"{CANARY}-wrong")
    target = {**files.target("main"), "passfile": "pgpass"}
    del target["password_file"]
    replace(files.path, json.dumps({"targets": [target]}))
    with files.serving() as (_, url):
        assert scrape(url).target_up == 0
        write(f"{CANARY}-first")
        wait_for("the right password", is_up(url))


def test_options_that_changed_count_at_the_next_scrape(files: Files) -> None:
    with files.serving(LIFECYCLE) as (_, url):
        assert scrape(url).target_up == 1
        files.write(watch="all", max_indexes=1, journal_schema="other")
        files.database.execute("CREATE INDEX idx_three ON messages (id)")
        files.database.execute("CREATE INDEX idx_four ON messages (id)")
        assert post(url).status_code == 200
        after = scrape(url)
        wait_for("one connection", lambda: len(files.backends()) == 1 or None)

    assert after.value("pg_index_exporter_indexes_cut") == 1


def test_a_client_certificate_is_rotated_with_its_authority(files: Files, own_server: OwnServer) -> None:
    # The others are built without TLS, or have their folder in a container.
    server = own_server(kind="debian")
    assert isinstance(server, LocalServer)
    issuers = [Authority(files.folder, name) for name in ("old", "new")]
    secure(server, issuers[0])
    for number, issuer in enumerate(issuers):
        for file in issuer.issue(f"client_{number}", "monitor"):
            file.chmod(0o600)
    for ending in ("pem", "key"):
        (files.folder / f"client_0.{ending}").rename(files.folder / f"client.{ending}")
    dsn = server.dsn("postgres", "monitor", f"{CANARY}-tls")
    tls = {"sslmode": "require", "sslcert": "client.pem", "sslkey": "client.key"}
    replace(files.path, json.dumps({"targets": [{"name": "main", "dsn": dsn, **tls}]}))
    with files.serving(LIFECYCLE) as (_, url):
        assert scrape(url).target_up == 1
        trust(server, issuers[1])
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'")
        wait_for("the refusal", lambda: scrape(url).target_up == 0 or None)

        (files.folder / "client_1.pem").replace(files.folder / "client.pem")
        half = post(url)
        between = scrape(url)
        (files.folder / "client_1.key").replace(files.folder / "client.key")
        whole = post(url)
        wait_for("the new certificate", is_up(url))

    assert (half.status_code, between.value(CURRENT)) == (500, 0)
    assert "client.key does not belong to the certificate in" in half.text
    assert whole.status_code == 200


def secure(server: LocalServer, issuer: Authority) -> None:
    """Has the server ask its role `monitor` for a certificate of that authority."""
    server.execute(f"CREATE ROLE monitor LOGIN PASSWORD '{CANARY}-tls'")
    for file in issuer.issue("server", "127.0.0.1"):
        give(server, file, file.name)
    give(server, issuer.file, "ca.pem")
    for name, value in (("cert", "server.pem"), ("key", "server.key"), ("ca", "ca.pem")):
        server.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(f"ssl_{name}_file"), value))
    server.execute("ALTER SYSTEM SET ssl = on")
    rules = server.data_directory / "pg_hba.conf"
    first = "hostssl all monitor all scram-sha-256 clientcert=verify-ca\nhostnossl all monitor all reject\n"
    rules.write_text(first + rules.read_text())
    server.execute("SELECT pg_reload_conf()")
    wait_for("TLS", lambda: server.execute("SHOW ssl") == [("on",)] or None)


def trust(server: LocalServer, issuer: Authority) -> None:
    give(server, issuer.file, "ca.pem")
    server.execute("SELECT pg_reload_conf()")


def give(server: LocalServer, file: Path, name: str) -> None:
    """Puts a copy of the file into the server's folder, as its own."""
    path = server.data_directory / name
    path.write_bytes(file.read_bytes())
    path.chmod(0o600)
    owner = server.data_directory.stat()
    os.chown(path, owner.st_uid, owner.st_gid)
