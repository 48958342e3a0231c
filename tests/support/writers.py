"""Writers as an application has them, beside a build: what failed, and for whose locks they waited.

The server's log tells of every wait, however short: each writer has its waits logged after a millisecond,
and the log names who holds the lock and who queues for it.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from exporter.postgres.target import APPLICATION_NAME
from tests.conftest import TestDatabase

# What a server must log for its waits to be read.
LOGGING = {"log_connections": "on", "log_line_prefix": "%m [%p] "}
PAUSE_SECONDS = 0.005
_AUTHORIZED = re.compile(r"\[(\d+)\] LOG:  connection authorized: .* application_name=(\S+)")
_WAITING = re.compile(
    r"\[(\d+)\] LOG:  process \d+ still waiting for (\w+) on (.+) after [\d.]+ ms.*\n"
    r".*? DETAIL:  Process(?:es)? holding the lock: ([\d, ]*)\. Wait queue: ([\d, ]*)\."
)


@dataclass(frozen=True, slots=True)
class LockWait:
    """A statement of a writer that waited for a lock, and the programs that held it or queued before it."""

    mode: str
    subject: str
    application_names: frozenset[str]


@dataclass(slots=True)
class Writers:
    """Sessions that insert, update and delete in some tables until they are told to end."""

    database: TestDatabase
    tables: Sequence[str]
    failures: list[psycopg.Error] = field(default_factory=list)
    written: int = 0
    _pids: set[int] = field(default_factory=set)
    _done: threading.Event = field(default_factory=threading.Event)
    _log_begins: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def waits(self, application_name: str = APPLICATION_NAME) -> list[LockWait]:
        """Each wait for a lock that a session held or queued for whose program's name begins like that."""
        log = self.database.server.log()
        names = {int(pid): name for pid, name in _AUTHORIZED.findall(log)}
        found = []
        for pid, mode, subject, holders, queue in _WAITING.findall(log[self._log_begins :]):
            # Who adds a page to a relation holds that for a moment; so does psql's own build.
            if int(pid) not in self._pids or subject.startswith("extension of "):
                continue
            others = {int(one) for one in f"{holders}, {queue}".replace(" ", "").split(",") if one} - {
                int(pid)
            }
            culprits = {names.get(one, "") for one in others}
            if any(name.startswith(application_name) for name in culprits):
                found.append(LockWait(mode, subject, frozenset(culprits)))
        return found

    def write(self, kind: str) -> None:
        """Writes in one session."""
        with self.database.connect() as connection:
            connection.execute("SET lock_timeout = '30s'")
            connection.execute("SET deadlock_timeout = '1ms'")
            connection.execute("SET log_lock_waits = on")
            with self._lock:
                self._pids.add(connection.info.backend_pid)
            number = 0
            while not self._done.is_set() and not self.failures:
                try:
                    for table in self.tables:
                        connection.execute(
                            _STATEMENTS[kind].format(sql.Identifier(table)), {"number": number}
                        )
                except psycopg.Error as error:
                    self.failures.append(error)
                number += 1
                with self._lock:
                    self.written += 1
                self._done.wait(PAUSE_SECONDS)

    def end(self) -> None:
        """Asks every session to end."""
        self._done.set()


_STATEMENTS = {
    "insert": sql.SQL(
        "INSERT INTO {} (id, sender_id, content, created_at) "
        "VALUES (1000000 + %(number)s, 3, md5((%(number)s)::text), now())"
    ),
    "update": sql.SQL("UPDATE {} SET sender_id = sender_id + 1 WHERE id = %(number)s %% 500 + 1"),
    "delete": sql.SQL("DELETE FROM {} WHERE id = 1000000 + %(number)s"),
}


@contextmanager
def writing(database: TestDatabase, tables: Sequence[str] = ("messages", "posts")) -> Iterator[Writers]:
    """Writers at work; leaving the block fails where a statement of theirs failed."""
    writers = Writers(database, tables, _log_begins=len(database.server.log()))
    threads = [threading.Thread(target=writers.write, args=[kind]) for kind in _STATEMENTS]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        writers.end()
        for thread in threads:
            thread.join()
    assert writers.failures == []
    assert writers.written
