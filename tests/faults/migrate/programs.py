"""The tool as a program that tests start, signal and kill, and what has to stand after it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.test_init import command, environment
from tests.conftest import TestDatabase
from tests.support.builds import indexes_of
from tests.support.hosts import Host
from tests.support.waiting import wait_for

MANIFEST = """
migration: 001_test
indexes:
  - {name: idx_sender, table: messages, columns: [sender_id, created_at DESC], where: deleted_at IS NULL}
  - {name: idx_content, table: messages, columns: [md5(content)], role: statistics}
  - {name: idx_post, table: posts, columns: [sender_id]}
"""
BUILT = {"idx_sender": True, "idx_content": True, "idx_post": True}


class Tool:
    """Runs of a test: each is killed at its end if it still runs; the output is kept."""

    def __init__(self, directory: Path, manifest: Path) -> None:
        self.log = directory / "tool.log"
        self.manifest = manifest
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, dsn: str, *options: str, name: str = "init", on: Host | None = None
    ) -> subprocess.Popen[bytes]:
        """A run beside the test, `on` another host where one is given."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*(on.prefix if on else []), *command(name, "--yes", *options, manifest=self.manifest)],
                env=environment(dsn),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def finish(self, dsn: str, name: str = "init") -> None:
        """Runs it to a good end."""
        assert self.start(dsn, name=name).wait(timeout=120) == 0, self.output

    @property
    def output(self) -> str:
        """What all runs printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for_word(self, text: str) -> None:
        """Returns once a run has printed it, however its lines are folded."""
        wait_for(repr(text), lambda: text in " ".join(self.output.split()) or None)

    def close(self) -> None:
        """Kills what still runs."""
        for process in self._processes:
            process.kill()
            process.wait()


def assert_built_and_explained(database: TestDatabase, built: Mapping[str, bool] = BUILT) -> None:
    """Exactly the declared indexes stand, and the journal tells of each how it came to be."""
    assert indexes_of(database) == built
    latest = database.execute(
        "SELECT index_name, phase, status FROM migration_log WHERE index_name IS NOT NULL ORDER BY 1"
    )
    assert latest == [(name, "done", "done") for name in sorted(built)]
    assert database.execute("SELECT phase, status FROM migration_log WHERE index_name IS NULL") == [
        ("done", "done")
    ]
    # The intent before, the catalogue's word after: whatever stands was begun by a run on record.
    with database.connect() as connection:
        # As the tool has it: a definition names every schema.
        connection.execute("SET search_path = ''")
        explained = connection.execute(
            """
            SELECT DISTINCT index_name FROM public.migration_events e
            JOIN pg_class c ON c.relname = e.index_name
            WHERE phase = 'catalog_ok' AND definition = pg_get_indexdef(c.oid) AND EXISTS (
                SELECT FROM public.migration_events i
                WHERE i.index_name = e.index_name AND i.phase = 'building' AND i.id < e.id
            )
            ORDER BY 1
            """
        ).fetchall()
    assert explained == [(name,) for name in sorted(built)]
