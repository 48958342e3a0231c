"""Settings read in another process are those read in this one, and nothing of reading stays here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.errors import ManifestError, SettingsError
from exporter.settings.reading import read
from exporter.settings.source import Reading, Source
from exporter.settings.subprocess_reader import SubprocessReader, read_in_subprocess
from tests.support.waiting import wait_for

CANARY = "c4n4ry"
SETTINGS = """\
targets:
  - {name: one, host: a, user: u, password_file: password, databases: [{name: d, manifests: [m.yaml]}]}
  - {name: two, dsn: "host=b user=u password=c4n4ry", databases: [{pattern: "e_*"}]}
watch: ["public.idx_*"]
free_bytes: []
log_format: json
"""
MANIFEST = "migration: m\nindexes:\n  - {name: i, table: t, columns: [a]}\n"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    (tmp_path / "password").write_text(CANARY)
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return Source(tmp_path / "settings.yaml", {"max_indexes": "7"}, {"PG_INDEX_EXPORTER_LOG_LEVEL": "debug"})


def told(reading: Reading) -> list[str]:
    assert isinstance(reading.outcome, SettingsError)
    return [str(fault) for fault in reading.outcome.faults]


def test_what_is_read_elsewhere_is_what_is_read_here(source: Source) -> None:
    here, elsewhere = read(source), read_in_subprocess(source)

    assert elsewhere == here
    assert elsewhere.configuration.settings.max_indexes == 7
    assert elsewhere.configuration.targets[0].databases[0].declared
    assert CANARY in elsewhere.configuration.targets[0].databases[0].conninfo.get_secret_value()
    assert CANARY not in repr(elsewhere)


def test_one_dsn_is_a_setting_that_does_not_show_itself() -> None:
    reading = read_in_subprocess(
        Source(None, {}, {"PG_INDEX_EXPORTER_DSN": f"host=h dbname=d password={CANARY}"})
    )

    dsn = reading.configuration.settings.dsn
    assert dsn is not None
    assert CANARY in dsn.get_secret_value()
    assert CANARY not in repr(reading)


def test_faults_are_told_with_their_places(source: Source, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"max_statements: {CANARY}\n")

    assert told(read_in_subprocess(source)) == told(read(source))
    assert told(read_in_subprocess(source))[0].startswith(f"{tmp_path}/settings.yaml:1: max_statements")


def test_a_fault_of_a_manifest_stays_one(source: Source, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("migration: m\n")

    reading = read_in_subprocess(source)

    assert isinstance(reading.outcome, ManifestError)
    assert reading.files == read(source).files


@pytest.mark.parametrize("program", ["/nonexistent", "/bin/false", "/bin/true"])
def test_a_reader_that_cannot_be_is_a_fault(
    source: Source, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)

    (fault,) = told(read_in_subprocess(source))

    assert re.search("no process can be started|ended with status [01]", fault)


def test_a_reader_that_is_killed_is_a_fault(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "killed"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    assert "ended with status -9" in told(read_in_subprocess(source))[0]


def test_no_command_line_and_no_environment_has_a_secret(source: Source, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hanging.yaml")
    hanging = Source(tmp_path / "hanging.yaml", {"dsn": CANARY}, {"PG_INDEX_EXPORTER_DSN": CANARY})

    reader = SubprocessReader()
    (pid,) = wait_for("the reader", lambda: readers() or None)
    seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    (tmp_path / "hanging.yaml").unlink()

    assert CANARY.encode() not in seen
    assert "hanging.yaml" in told(reader.read(hanging))[0]


def test_a_reader_that_hangs_ends_with_whom_it_reads_for(tmp_path: Path) -> None:
    fifo = tmp_path / "hanging.yaml"
    os.mkfifo(fifo)
    program = (
        "from pathlib import Path; from exporter.settings.source import Source;"
        "from exporter.settings.subprocess_reader import read_in_subprocess;"
        f"read_in_subprocess(Source(Path({str(fifo)!r}), {{}}, {{}}))"
    )
    # Who opens it to write waits until somebody reads it.
    with subprocess.Popen([sys.executable, "-c", program]) as asking, fifo.open("w"):
        (pid,) = readers(asking.pid)
        asking.kill()
        asking.wait()
        wait_for("the end of the reader", lambda: is_gone(pid) or None)


def test_serving_needs_nothing_of_what_reading_needs() -> None:
    program = (
        "import sys; from exporter.cli.parser import build_parser; build_parser();"
        "import exporter.metrics.service, exporter.settings.subprocess_reader;"
        "print('pydantic' in sys.modules)"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout == "False\n"


def readers(parent: int | None = None) -> list[int]:
    """The processes that read settings for this one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(status.parent.name), status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(rest[1]) == (parent or os.getpid()) and b"exporter.settings.subprocess_reader" in command:
            found.append(pid)
    return found


def is_gone(pid: int) -> bool:
    """True when it ended, whether or not anybody asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
