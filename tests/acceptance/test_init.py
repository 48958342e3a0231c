"""`init` and its sisters as a user runs them: what they print, how they exit, what signals leave behind."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import TestDatabase
from tests.support.builds import indexes_of, reader, waiting_build, waiting_drop, writer
from tests.support.ports import free_port
from tests.support.roles import PASSWORD, make_role
from tests.support.tools import find_tool
from tests.support.waiting import wait_for

MANIFEST = "090_quick_win_4_missing_indexes"
TABLES = ("messages", "posts", "users", "user_feed_preferences")
BUILT = {"idx_messages_sender_created": True, "idx_posts_user_created": True}
COLUMNS = 80
QUESTION = "Go on? [y/N]"
STEP_QUESTION = "[c]ontinue, [s]kip or [q]uit?"
# Ends a wait for what will not come; no test asserts how long it took.
END_SECONDS = 60
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def nova(nova_database: TestDatabase) -> Iterator[TestDatabase]:
    """Nova's database, owned by app_owner, with the builder role of deploy/sql."""
    nova_database.execute("CREATE ROLE app_owner")
    for table in TABLES:
        nova_database.execute(sql.SQL("ALTER TABLE {} OWNER TO app_owner").format(sql.Identifier(table)))
    assert make_role(nova_database, "builder.sql", "index_builder", "{" + ",".join(TABLES) + "}") == ""
    yield nova_database
    nova_database.server.drop_database(nova_database.name)
    for role in ("index_builder", "app_owner"):
        nova_database.server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def dsn_of(database: TestDatabase, password: str = PASSWORD) -> str:
    return database.server.dsn(database.name, "index_builder", password)


def environment(dsn: str | None) -> dict[str, str]:
    """That of a user at a terminal of 80 columns."""
    given = {"COLUMNS": str(COLUMNS), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    return {**os.environ, **given, **({"PG_INDEX_EXPORTER_DSN": dsn} if dsn is not None else {})}


def command(name: str, *options: str | Path, manifest: str | Path = MANIFEST) -> list[str]:
    return [sys.executable, "-m", "exporter", name, "--manifest", str(manifest), *map(str, options)]


def run(
    dsn: str | None, name: str, *options: str | Path, manifest: str | Path = MANIFEST
) -> subprocess.CompletedProcess[str]:
    """How the command ended, with no terminal; what it printed is seemly."""
    ended = subprocess.run(
        command(name, *options, manifest=manifest),
        env=environment(dsn),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert_seemly(ended.stdout + ended.stderr)
    return ended


def assert_seemly(output: str) -> None:
    """Neither a traceback nor a password."""
    assert "Traceback" not in output, output
    assert PASSWORD not in output, output


def assert_fits(text: str) -> None:
    """No line is wider than the terminal."""
    assert [line for line in text.splitlines() if len(line) > COLUMNS] == []


class Started:
    """A command that runs beside the test, its output in files."""

    def __init__(self, directory: Path, dsn: str, name: str, *options: str) -> None:
        self._out, self._err = directory / f"{name}.out", directory / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command(name, *options),
                env=environment(dsn),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def output(self) -> str:
        return self._out.read_text(encoding="utf-8") + self._err.read_text(encoding="utf-8")

    def wait_for_output(self, text: str) -> None:
        """Returns once it has printed `text`; an end before that fails."""

        def look() -> bool | None:
            has_ended = self.process.poll() is not None
            if text in self.output:
                return True
            assert not has_ended, f"ended with {self.process.returncode}: {self.output}"
            return None

        wait_for(repr(text), look)

    def end(self) -> tuple[int, str]:
        """Exit code and output, once it has ended."""
        exit_code = self.process.wait(timeout=120)
        assert_seemly(self.output)
        return exit_code, self.output


@pytest.fixture
def started() -> Iterator[list[Started]]:
    """What a test started; whatever is left of it is killed."""
    commands: list[Started] = []
    yield commands
    for one in commands:
        one.process.kill()
        one.process.wait()


# Well


def test_init_builds_and_reports(nova: TestDatabase, tmp_path: Path) -> None:
    report, page = tmp_path / "report.json", tmp_path / "report.md"

    ended = run(dsn_of(nova), "init", "--yes", "--report", report, "--report", page)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert indexes_of(nova) == BUILT
    assert_fits(ended.stdout)
    for name in BUILT:
        assert name in ended.stdout
    document = json.loads(report.read_text(encoding="utf-8"))
    assert document["command"] == "init"
    assert document["exit_code"] == 0
    assert page.read_text(encoding="utf-8").startswith("# ")
    [(operator,)] = nova.execute("SELECT DISTINCT operator FROM migration_events")
    assert operator == "index_builder"


def test_the_whole_way_there_and_back(nova: TestDatabase) -> None:
    dsn = dsn_of(nova)

    planned = run(dsn, "plan")
    assert planned.returncode == 0
    assert "CREATE INDEX CONCURRENTLY" in planned.stdout
    assert_fits(planned.stdout)
    assert nova.execute("SELECT FROM pg_class WHERE relname LIKE 'migration_%'") == []
    before = run(dsn, "status")
    assert (before.returncode, "0 of 2 declared indexes are in place" in before.stdout) == (1, True)
    assert run(dsn, "verify").returncode == 1

    assert run(dsn, "init", "--yes").returncode == 0
    again = run(dsn, "init")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout.lower()
    assert_fits(again.stdout)
    status = run(dsn, "status")
    assert (status.returncode, "2 of 2 declared indexes are in place" in status.stdout) == (0, True)
    assert_fits(status.stdout)
    verified = run(dsn, "verify", "--format", "json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["command"] == "verify"

    back = run(dsn, "rollback", "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert_fits(back.stdout)
    assert indexes_of(nova) == {}
    assert run(dsn, "status").returncode == 1
    nothing = run(dsn, "rollback")
    assert nothing.returncode == 0
    assert "nothing to do" in nothing.stdout.lower()


def test_a_dry_run_asks_nobody_and_touches_nothing(nova: TestDatabase) -> None:
    ended = run(dsn_of(nova), "init", "--dry-run")

    assert ended.returncode == 0
    assert "CREATE INDEX CONCURRENTLY" in ended.stdout
    assert_fits(ended.stdout)
    assert indexes_of(nova) == {}


def test_the_script_runs_as_the_builder(nova: TestDatabase, tmp_path: Path) -> None:
    script = tmp_path / "migration.sql"
    script.write_text(run(None, "plan", "--sql").stdout, encoding="utf-8")

    ended = subprocess.run(
        [find_tool("psql"), "-X", "-d", dsn_of(nova), "-f", script],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    after = run(dsn_of(nova), "init")
    assert (after.returncode, "nothing to do" in after.stdout.lower()) == (0, True), after.stdout


# At a terminal


def at_terminal(
    dsn: str,
    name: str,
    answer: str,
    on_screen: Callable[[str], None] = lambda screen: None,
    *,
    options: tuple[str, ...] = (),
    step_answers: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Exit code and screen of a command at a terminal of 80 columns whose user gives that answer.

    `on_screen` is called with all that was on the screen whenever more came; `step_answers` answer the
    questions before steps.
    """
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, COLUMNS))
    process = subprocess.Popen(
        command(name, *options),
        env=environment(dsn),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        # Ctrl-C of this terminal is for the command.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    screen = ""
    answered = False
    steps_answered = 0
    try:
        while True:
            assert select.select([master], [], [], END_SECONDS)[0], f"nothing more came after {screen}"
            try:
                screen += os.read(master, 65536).decode(errors="replace")
            except OSError:  # Linux says so when the last program has left the terminal
                break
            if QUESTION in screen and not answered:
                answered = True
                os.write(master, answer.encode())
            # A Ctrl-C while the prompt is written makes rich write it once more.
            if len(step_answers) > steps_answered < screen.count(STEP_QUESTION):
                os.write(master, step_answers[steps_answered].encode())
                steps_answered += 1
            on_screen(screen)
    except BaseException:
        process.kill()
        raise
    finally:
        exit_code = process.wait()
        os.close(master)
    assert_seemly(screen)
    return exit_code, screen


@pytest.mark.parametrize("answer", ["n\n", "\n", "yesno\n", "\x04"])
def test_a_user_who_does_not_agree_changes_nothing(nova: TestDatabase, answer: str) -> None:
    exit_code, screen = at_terminal(dsn_of(nova), "init", answer)

    assert QUESTION in screen
    assert "CREATE INDEX CONCURRENTLY" in screen
    # Which database it would be stands right before the question, and the plan is not told twice.
    assert f"In database '{nova.name}' at 127.0.0.1:" in screen
    assert "6 steps to do: build 2 indexes, analyze 4 tables." in screen
    assert screen.count("Steps\r\n") == 1
    assert "Nothing was changed." in screen
    assert exit_code == 0
    assert indexes_of(nova) == {}
    assert nova.execute("SELECT FROM pg_class WHERE relname LIKE 'migration_%'") == []


def test_an_error_is_broken_between_words_on_a_terminal(nova: TestDatabase) -> None:
    exit_code, screen = at_terminal(dsn_of(nova), "rollback", "y\n")

    assert exit_code == 2
    assert re.search(r"no created index is\s+known\s+-> name the schema", screen)
    assert [line for line in screen.splitlines() if len(line) >= COLUMNS] == []


def test_a_user_sees_whom_a_build_waits_for_under_its_bar(nova: TestDatabase) -> None:
    with writer(nova) as open_transaction:
        pid = open_transaction.info.backend_pid
        under_bar = re.compile(rf"waits [1-9][0-9]* s for pid {pid}, a writer, open for ")
        is_seen = False

        def end_the_wait(screen: str) -> None:
            nonlocal is_seen
            if under_bar.search(screen) and not is_seen:
                is_seen = True
                open_transaction.execute("ROLLBACK")

        exit_code, screen = at_terminal(dsn_of(nova), "init", "y\n", end_the_wait)

    assert (exit_code, is_seen) == (0, True), screen
    lines = ESCAPES.sub("", screen).replace("\r", "\n").splitlines()
    bars = [line for line in lines if re.match(r"build   idx_\w+ +[━╌]{10} ", line) or under_bar.search(line)]
    assert any("waits for writers" in line for line in bars)
    # One column less: a full line would begin another.
    assert [line for line in bars if len(line.rstrip()) >= COLUMNS] == []


def test_a_log_tells_when_and_whom_a_build_waits_for(
    nova: TestDatabase, tmp_path: Path, started: list[Started]
) -> None:
    with writer(nova) as open_transaction:
        started.append(init := Started(tmp_path, dsn_of(nova), "init", "--yes"))
        pid = open_transaction.info.backend_pid
        init.wait_for_output("  waits for pid ")
        open_transaction.execute("ROLLBACK")
        exit_code, output = init.end()

    assert exit_code == 0, output
    steps = [line for line in output.splitlines() if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  ", line)]
    told = [line.split("  ", 1)[1] for line in steps]
    name = "build   idx_messages_sender_created"
    who = f"{name}  waits for pid {pid}, user postgres, a writer, idle in transaction"
    assert f"{name}  started" in told
    assert len([line for line in told if line.startswith(who)]) == 1
    assert any(line.startswith(f"{name}  done (") for line in told)
    assert "\x1b" not in output


def test_a_user_who_agrees_sees_bars_and_the_report(nova: TestDatabase) -> None:
    exit_code, screen = at_terminal(dsn_of(nova), "init", "y\n")

    assert exit_code == 0, screen
    assert indexes_of(nova) == BUILT
    plain = ESCAPES.sub("", screen).replace("\r\n", "\n")
    rows = [part for line in plain.split("\n") for part in line.split("\r")]
    assert [row for row in rows if len(row.rstrip()) > COLUMNS] == []
    assert "idx_posts_user_created" in plain


def test_each_step_is_asked_about_and_ctrl_c_at_the_question_stops(nova: TestDatabase) -> None:
    exit_code, screen = at_terminal(
        dsn_of(nova), "init", "y\n", options=("--step",), step_answers=("c\n", "what\n", "skip\n", "\x03")
    )

    assert exit_code == 1, screen
    assert indexes_of(nova) == {"idx_messages_sender_created": True}
    assert re.search(r"1/6 +build public.idx_messages_sender_created\r\n +CREATE INDEX CONCURRENTLY", screen)
    assert "lock: ShareUpdateExclusiveLock on the table" in screen
    assert "not started because you chose to skip it" in screen
    assert "not started because you chose to stop" in screen
    assert "Traceback" not in screen
    assert run(dsn_of(nova), "init", "--yes").returncode == 0
    assert indexes_of(nova) == BUILT


def test_without_a_terminal_steps_run_alone_and_it_is_said(nova: TestDatabase) -> None:
    refused = run(dsn_of(nova), "init", "--step")
    assert (refused.returncode, indexes_of(nova)) == (2, {})

    ended = run(dsn_of(nova), "init", "--step", "--yes", "--index", "public.idx_posts_user_created")

    assert ended.returncode == 0, ended.stdout
    assert "there is no terminal to ask on: --step does not pause" in ended.stderr
    assert indexes_of(nova) == {"idx_posts_user_created": True}


# Streams


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing_but_what_is_printed(nova: TestDatabase, streams: str) -> None:
    words = " ".join(command("init", "--yes"))
    ended = subprocess.run(
        ["sh", "-c", f"exec {words} {streams}"],
        env=environment(dsn_of(nova)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert_seemly(ended.stdout + ended.stderr)
    assert indexes_of(nova) == BUILT


def test_a_full_disk_under_the_report_exits_with_one_after_the_build(nova: TestDatabase) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command("init", "--yes"),
            env=environment(dsn_of(nova)),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert_seemly(ended.stderr)
    assert (ended.returncode, indexes_of(nova)) == (1, BUILT)
    assert "standard output cannot be written: No space left on device" in ended.stderr


def test_a_full_disk_under_the_log_is_no_trouble(nova: TestDatabase) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command("init", "--yes"),
            env=environment(dsn_of(nova)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )

    assert_seemly(ended.stdout)
    assert (ended.returncode, indexes_of(nova)) == (0, BUILT)
    assert "2 indexes built" in ended.stdout


def test_a_reader_of_the_log_that_leaves_does_not_end_the_build(nova: TestDatabase) -> None:
    with (
        writer(nova) as open_transaction,
        subprocess.Popen(
            command("init", "--yes"),
            env=environment(dsn_of(nova)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as init,
    ):
        assert init.stdout is not None
        assert init.stderr is not None
        waiting_build(nova)
        init.stderr.close()
        open_transaction.execute("ROLLBACK")
        output = init.stdout.read().decode()

    assert (init.returncode, indexes_of(nova)) == (0, BUILT), output
    assert "2 indexes built" in output


# Wrong


def test_without_a_terminal_nobody_can_be_asked(nova: TestDatabase) -> None:
    ended = run(dsn_of(nova), "init")

    assert ended.returncode == 2
    assert "add --yes, or --dry-run" in ended.stderr
    assert indexes_of(nova) == {}


def dsn_forms(dsn: str) -> Mapping[str, str]:
    """The same connection string in each form that libpq takes."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    user, password = quote(parts["user"], safe=""), quote(parts["password"], safe="")
    place = f"{parts['host']}:{parts['port']}/{parts['dbname']}"
    return {
        "keywords": make_conninfo(dsn, connect_timeout=5),
        "uri": f"postgresql://{user}:{password}@{place}",
        "query": f"postgres://{place}?user={user}&password={password}",
    }


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("init", "keywords"),
        ("init", "uri"),
        ("init", "query"),
        ("plan", "uri"),
        ("status", "uri"),
        ("verify", "uri"),
        ("rollback", "uri"),
    ],
)
def test_a_dead_server_is_said(name: str, form: str) -> None:
    dsn = make_conninfo(
        host="127.0.0.1", port=free_port(), dbname="nova", user="index_builder", password=PASSWORD
    )

    ended = run(dsn_forms(dsn)[form], name)

    assert ended.returncode == 4
    assert "cannot be reached" in ended.stderr
    assert "\n  -> check that the server runs" in ended.stderr


@pytest.mark.parametrize("form", ["keywords", "uri", "query"])
def test_a_wrong_password_is_said_and_not_shown(nova: TestDatabase, form: str) -> None:
    wrong = "wr0ng:/@ %41secret"

    ended = run(dsn_forms(dsn_of(nova, wrong))[form], "init", "--yes")

    assert ended.returncode == 4
    assert "refused the login" in ended.stderr
    assert "secret" not in ended.stdout + ended.stderr


def test_a_connection_string_that_cannot_be_read_is_not_shown() -> None:
    ended = run(f"postgresql://index_builder:{PASSWORD}/@ 5%zz@127.0.0.1:5432/nova", "init", "--yes")

    assert ended.returncode == 2
    assert "->" in ended.stderr


def test_a_missing_database_is_said(nova: TestDatabase) -> None:
    ended = run(nova.server.dsn("nowhere", "index_builder", PASSWORD), "init", "--yes")

    assert ended.returncode == 4
    assert "'nowhere'" in ended.stderr


def test_a_wrong_manifest_is_said_line_by_line(nova: TestDatabase, tmp_path: Path) -> None:
    manifest = tmp_path / "wrong.yaml"
    manifest.write_text("migration: m\nindexes:\n- name: i\n  tabel: messages\n  columns: [id\n")
    unclosed = run(dsn_of(nova), "init", "--yes", manifest=manifest)
    manifest.write_text("migration: m\nindexes:\n- name: i\n  tabel: messages\n  columns: [id]\n")
    misspelt = run(dsn_of(nova), "init", "--yes", manifest=manifest)
    missing = run(dsn_of(nova), "init", "--yes", manifest=tmp_path / "missing.yaml")

    assert [ended.returncode for ended in (unclosed, misspelt, missing)] == [2, 2, 2]
    assert "wrong.yaml:4" in misspelt.stderr
    assert "table" in misspelt.stderr


def test_a_manifest_that_does_not_fit_the_database_is_said(nova: TestDatabase, tmp_path: Path) -> None:
    manifest = tmp_path / "unfit.yaml"
    manifest.write_text(
        "migration: m\nindexes:\n- {name: i, table: messages, columns: [sendr]}\n"
        "- {name: j, table: nowhere, columns: [id]}\n"
    )

    ended = run(dsn_of(nova), "init", "--yes", manifest=manifest)

    manifest.write_text("migration: m\nindexes:\n- {name: i, table: messages, columns: [sendr]}\n")
    refused = run(dsn_of(nova), "init", "--yes", manifest=manifest)

    assert (ended.returncode, refused.returncode) == (1, 1)
    assert "there is no table public.nowhere" in ended.stdout
    assert 'column "sendr" does not exist' in " ".join(refused.stdout.split())


@pytest.mark.parametrize("name", ["init", "plan"])
def test_a_role_that_may_not_build_is_told_what_is_missing(nova: TestDatabase, name: str) -> None:
    nova.execute("REVOKE app_owner FROM index_builder")

    ended = run(dsn_of(nova), name)

    assert ended.returncode == 1
    output = ended.stdout + ended.stderr
    assert "GRANT app_owner TO index_builder" in " ".join(output.split())
    assert indexes_of(nova) == {}


def test_a_refused_build_exits_with_one_and_says_why(nova: TestDatabase, tmp_path: Path) -> None:
    manifest = tmp_path / "unique.yaml"
    manifest.write_text(
        "migration: m\nindexes:\n- {name: i, table: messages, columns: [sender_id], unique: true}\n"
    )

    ended = run(dsn_of(nova), "init", "--yes", manifest=manifest)

    assert ended.returncode == 1
    assert "FAIL     duplicates: " in ended.stdout
    assert "keys occur more than once" in " ".join(ended.stdout.split())
    assert indexes_of(nova) == {}


def test_a_reader_that_leaves_is_no_trouble(nova: TestDatabase) -> None:
    with subprocess.Popen(
        command("plan"), env=environment(dsn_of(nova)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode()

    assert_seemly(errors)
    assert "Exception" not in errors


# Signals


def is_at_work(database: TestDatabase, pid: int) -> bool:
    query = "SELECT true FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    return database.execute(query, [pid]) != []


def test_ctrl_c_in_mid_build_leaves_nothing_invalid(
    nova: TestDatabase, tmp_path: Path, started: list[Started]
) -> None:
    with writer(nova) as open_transaction:
        started.append(init := Started(tmp_path, dsn_of(nova), "init", "--yes"))
        pid = waiting_build(nova)
        init.process.send_signal(signal.SIGINT)
        init.wait_for_output("cancelling and cleaning up")
        wait_for("the cancel", lambda: not is_at_work(nova, pid) or None)
        open_transaction.execute("ROLLBACK")
        exit_code, output = init.end()

    assert exit_code == 1, output
    assert "canceling statement due to user request" in output, output
    events = nova.execute("SELECT index_name, phase, status, detail, at FROM migration_events ORDER BY id")
    assert False not in indexes_of(nova).values(), output + "\n".join(map(repr, events))
    assert "idx_messages_sender_created" not in indexes_of(nova)


def test_a_killed_init_is_followed_by_the_next(
    nova: TestDatabase, tmp_path: Path, started: list[Started]
) -> None:
    with writer(nova) as open_transaction:
        started.append(killed := Started(tmp_path, dsn_of(nova), "init", "--yes"))
        pid = waiting_build(nova)
        killed.process.kill()
        killed.process.wait()
        started.append(following := Started(tmp_path, dsn_of(nova), "init", "--yes"))
        following.wait_for_output(f"following the build by pid {pid}")
        open_transaction.execute("ROLLBACK")
        exit_code, output = following.end()

    assert exit_code == 0, output
    assert indexes_of(nova) == BUILT


def test_a_build_that_outlived_its_init_is_finished_by_the_next(
    nova: TestDatabase, tmp_path: Path, started: list[Started]
) -> None:
    with writer(nova) as open_transaction:
        started.append(killed := Started(tmp_path, dsn_of(nova), "init", "--yes"))
        waiting_build(nova)
        killed.process.kill()
        killed.process.wait()
        open_transaction.execute("ROLLBACK")
    wait_for("the end of the build", lambda: indexes_of(nova).get("idx_messages_sender_created") or None)

    ended = run(dsn_of(nova), "init", "--yes")

    assert ended.returncode == 0, ended.stdout
    assert "analyze public.messages" in ended.stdout
    assert indexes_of(nova) == BUILT
    assert nova.execute("SELECT phase, status FROM migration_log WHERE index_name IS NULL") == [
        ("done", "done")
    ]
    assert "nothing to do" in run(dsn_of(nova), "init").stdout.lower()


def test_sigterm_detaches_and_says_so(nova: TestDatabase, tmp_path: Path, started: list[Started]) -> None:
    with writer(nova) as open_transaction:
        started.append(init := Started(tmp_path, dsn_of(nova), "init", "--yes"))
        pid = waiting_build(nova)
        init.process.terminate()
        exit_code, output = init.end()

        assert exit_code == 4
        assert f"the server goes on with it (pid {pid})" in " ".join(output.split())
        assert waiting_build(nova) == pid
        open_transaction.execute("ROLLBACK")
    wait_for("the end of the build", lambda: indexes_of(nova).get("idx_messages_sender_created") or None)

    assert run(dsn_of(nova), "init", "--yes").returncode == 0
    assert indexes_of(nova) == BUILT


def test_two_at_once_build_everything_once(
    nova: TestDatabase, tmp_path: Path, started: list[Started]
) -> None:
    (tmp_path / "other").mkdir()
    with writer(nova) as open_transaction:
        started.append(one := Started(tmp_path, dsn_of(nova), "init", "--yes"))
        waiting_build(nova)
        started.append(other := Started(tmp_path / "other", dsn_of(nova), "init", "--yes"))
        other.wait_for_output("following the build")
        open_transaction.execute("ROLLBACK")
        ends = [one.end(), other.end()]

    assert [exit_code for exit_code, _ in ends] == [0, 0], ends
    assert indexes_of(nova) == BUILT
    [(builds,)] = nova.execute(
        "SELECT count(*) FROM migration_events WHERE phase = 'building' AND status = 'in_progress'"
    )
    assert builds == 2


# Drops and signals


def test_ctrl_c_in_mid_drop_is_degraded_and_the_next_rollback_finishes_it(
    nova: TestDatabase, tmp_path: Path, started: list[Started]
) -> None:
    dsn = dsn_of(nova)
    assert run(dsn, "init", "--yes").returncode == 0
    with reader(nova):
        started.append(rollback := Started(tmp_path, dsn, "rollback", "--yes"))
        waiting_drop(nova)
        rollback.process.send_signal(signal.SIGINT)
        exit_code, output = rollback.end()
        assert indexes_of(nova)["idx_messages_sender_created"] is False

    assert exit_code == 3, output
    assert "DEGRADED drop public.idx_messages_sender_created" in output
    status = run(dsn, "status")
    assert "DEGRADED public.idx_messages_sender_created" in status.stdout
    assert status.returncode == 3
    again = run(dsn, "rollback", "--yes")
    assert again.returncode == 0, again.stdout + again.stderr
    assert indexes_of(nova) == {}


@pytest.mark.parametrize("name", ["rollback", "init"])
def test_a_killed_rollback_is_followed_by_the_next_command(
    nova: TestDatabase, tmp_path: Path, started: list[Started], name: str
) -> None:
    dsn = dsn_of(nova)
    assert run(dsn, "init", "--yes").returncode == 0
    (tmp_path / "next").mkdir()
    with reader(nova) as open_transaction:
        started.append(killed := Started(tmp_path, dsn, "rollback", "--yes"))
        pid = waiting_drop(nova)
        killed.process.kill()
        killed.process.wait()
        status = run(dsn, "status")
        assert "dropping" in status.stdout
        assert f"pid {pid}" in status.stdout
        started.append(following := Started(tmp_path / "next", dsn, name, "--yes"))
        following.wait_for_output(f"pid {pid}")
        open_transaction.execute("ROLLBACK")
        exit_code, output = following.end()

    assert exit_code == 0, output
    assert False not in indexes_of(nova).values()
    assert ("idx_messages_sender_created" in indexes_of(nova)) is (name == "init")


def test_a_drop_that_is_declined_drops_nothing(nova: TestDatabase) -> None:
    assert run(dsn_of(nova), "init", "--yes").returncode == 0

    exit_code, screen = at_terminal(dsn_of(nova), "rollback", "n\n")

    assert (exit_code, indexes_of(nova)) == (0, BUILT)
    assert "DROP INDEX CONCURRENTLY public" in screen.replace('"', "")
    assert run(dsn_of(nova), "rollback").returncode == 2
    assert indexes_of(nova) == BUILT
