"""Data directory, log and tablespaces on real volumes of their own: each with its own need and space."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from psycopg import sql

from exporter.migrate.init import initialise
from exporter.migrate.options import BuildOptions, PreflightOptions, RunOptions
from exporter.migrate.preflight import PlanEstimate, check_plan
from exporter.model import DeclaredIndex, Finding, Verdict
from tests.conftest import OwnServer, TestDatabase
from tests.postgres.migrate.running import QUICK
from tests.support.builds import as_declared, fill_shop, indexes_of, session
from tests.support.declared import declare, manifest_of
from tests.support.postgres_server import LocalServer
from tests.support.volumes import mounted

MEGABYTE = 1024**2
DATA_BYTES, WAL_BYTES, SMALL_BYTES = 192 * MEGABYTE, 160 * MEGABYTE, MEGABYTE


@dataclass(frozen=True, slots=True)
class Volumes:
    """A server whose data directory, log and tablespace `small` each lie on a volume of their own."""

    database: TestDatabase
    data_directory: Path

    @property
    def options(self) -> PreflightOptions:
        return PreflightOptions(data_directory=self.data_directory)

    def check(self, *indexes: DeclaredIndex) -> PlanEstimate:
        """What a session finds about building these indexes."""
        with session(self.database) as connection:
            return check_plan(connection, manifest_of(*indexes), indexes, self.options)


def move(source: Path, target: Path) -> None:
    """Everything in a folder to another volume, with owners and rights."""
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
    shutil.rmtree(source)


@pytest.fixture
def volumes(own_server: OwnServer) -> Iterator[Volumes]:
    server = own_server({"min_wal_size": "32MB", "max_wal_size": "64MB"})
    if not isinstance(server, LocalServer):
        pytest.skip("the server's files are not on this machine")
    server.stop()
    data = server.data_directory
    aside = data.with_name("aside")
    with ExitStack() as stack:
        wal = stack.enter_context(mounted(f"{WAL_BYTES}"))
        small = stack.enter_context(mounted(f"{SMALL_BYTES}"))
        data.rename(aside)
        stack.enter_context(mounted(f"{DATA_BYTES}", data))
        move(aside / "pg_wal", wal)
        (aside / "pg_wal").symlink_to(wal)
        move(aside, data)
        server.start()
        stack.callback(server.stop)
        database = TestDatabase(server, "postgres")
        fill_shop(database)
        database.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(small))))
        yield Volumes(database, data)


def by_size(findings: tuple[Finding, ...]) -> dict[object, Finding]:
    """The findings about disk by the size of the volume."""
    return {dict(one.facts)["size_bytes"]: one for one in findings if one.criterion == "disk"}


def test_each_volume_has_its_own_need_and_its_own_space(volumes: Volumes) -> None:
    volumes.database.execute("ALTER SYSTEM SET maintenance_work_mem = '1MB'")
    volumes.database.execute("SELECT pg_reload_conf()")
    volumes.database.execute(
        "INSERT INTO messages SELECT g, g, md5(g::text) FROM generate_series(1, 20000) g"
    )
    volumes.database.execute("ANALYZE messages")
    small = declare("idx_small", "messages", "id", tablespace="small", method="brin")
    wide = declare("idx_wide", "messages", "content")
    checked = volumes.check(wide, small)
    found = by_size(checked.findings)
    facts = {size: dict(one.facts) for size, one in found.items()}

    assert facts.keys() == {DATA_BYTES, WAL_BYTES, SMALL_BYTES}
    assert {one.verdict for one in found.values()} == {Verdict.PASS}
    needs = {size: [of["index_bytes"], of["temporary_bytes"], of["wal_bytes"]] for size, of in facts.items()}
    wide_needs, small_needs = checked.estimates
    assert wide_needs.temporary_bytes > 0
    assert needs == {
        DATA_BYTES: [wide_needs.index_bytes, wide_needs.temporary_bytes, 0],
        WAL_BYTES: [0, 0, wide_needs.wal_bytes + small_needs.wal_bytes],
        SMALL_BYTES: [small_needs.index_bytes, 0, 0],
    }
    # What the schedule may use is what is free there, but for a tenth of the volume.
    assert sorted(checked.budget.ceilings.values()) == sorted(
        int(str(of["free_bytes"])) - round(int(str(size)) / 10) for size, of in facts.items()
    )


def test_what_does_not_fit_a_volume_is_refused_and_nothing_is_touched(volumes: Volumes) -> None:
    volumes.database.execute(
        "INSERT INTO messages SELECT g, g, md5(g::text) FROM generate_series(1, 20000) g"
    )
    volumes.database.execute("ANALYZE messages")
    index = declare("idx_small", "messages", "content", tablespace="small")
    options = RunOptions(build=BuildOptions(steps=QUICK), preflight=volumes.options)
    refused = initialise(as_declared(volumes.database), manifest_of(index), options)

    found = by_size(refused.preflight)
    assert (found[SMALL_BYTES].verdict, found[SMALL_BYTES].reason) == (Verdict.FAIL, "too_little")
    assert found[DATA_BYTES].verdict is found[WAL_BYTES].verdict is Verdict.PASS
    assert (refused.results, indexes_of(volumes.database)) == ((), {})
    # The same on the large volume is built.
    built = initialise(as_declared(volumes.database), manifest_of(replace(index, tablespace=None)), options)
    assert indexes_of(volumes.database) == {"idx_small": True}
    assert Verdict.FAIL not in {one.verdict for one in built.preflight}


def test_a_full_volume_is_seen_full(volumes: Volumes) -> None:
    filler = volumes.data_directory / "filler"
    free = by_size(volumes.check(declare("i", "messages", "id")).findings)[DATA_BYTES]
    with filler.open("wb") as file:
        file.write(b"\0" * (int(str(dict(free.facts)["free_bytes"])) - 64 * 1024))
    try:
        full = by_size(volumes.check(declare("i", "messages", "id", "content")).findings)[DATA_BYTES]
    finally:
        filler.unlink()

    assert (free.verdict, full.verdict, full.reason) == (Verdict.PASS, Verdict.FAIL, "too_little")
