"""Estimates, and what is free; temporary files; the deadline."""

from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from exporter.model import Verdict
from tests.conftest import TestDatabase
from tests.postgres.migrate.preflight.looking import OPTIONS, findings_of, only, told
from tests.support.builds import session
from tests.support.declared import declare
from tests.support.postgres_server import LocalServer


def test_the_estimate_is_what_the_index_takes_at_most(shop: TestDatabase) -> None:
    shop.execute("INSERT INTO messages SELECT g + 1000, g, md5(g::text) FROM generate_series(1, 20000) g")
    shop.execute("ANALYZE messages")
    for index in (
        declare("i1", "messages", "id"),
        declare("i2", "messages", "sender_id", "content", "created_at DESC"),
        declare("i3", "messages", "lower(content)", where="id % 2 = 0"),
        declare("i4", "messages", "id", include=("content",), options=("fillfactor = 60",)),
        declare("i5", "messages", "id", method="hash"),
        declare("i6", "messages", "id", method="brin"),
    ):
        disk = only(findings_of(shop, index), "disk")
        with session(shop) as connection:
            from exporter.postgres import ddl

            ddl.run_single(connection, ddl.create_index(index, concurrently=False))
        ((size,),) = shop.execute("SELECT pg_relation_size(%s::regclass)", [index.name])
        estimated = dict(disk.facts)["index_bytes"]
        assert isinstance(estimated, int)
        assert size <= estimated <= 3 * size + 32 * 1024, index.name


def test_free_space_decides(shop: TestDatabase) -> None:
    unknown = only(findings_of(shop), "disk")
    need = sum(size for name, size in unknown.facts if name.endswith("_bytes") and isinstance(size, int))

    assert (unknown.verdict, unknown.reason) == (Verdict.UNKNOWN, "no_source")
    assert "--data-directory" in (unknown.hint or "")
    for free_bytes, reason in ((need - 1, "too_little"), (need, "nearly_full"), (2 * need, "ok")):
        found = only(findings_of(shop, options=replace(OPTIONS, free_bytes={"": free_bytes})), "disk")
        assert found.reason == reason


def test_the_data_directory_tells_its_volume(shop: TestDatabase, tmp_path: Path) -> None:
    if not isinstance(shop.server, LocalServer):
        pytest.skip("the server's files are not on this machine")
    seen = only(
        findings_of(shop, options=replace(OPTIONS, data_directory=shop.server.data_directory)), "disk"
    )
    absent = only(findings_of(shop, options=replace(OPTIONS, data_directory=tmp_path / "absent")), "disk")
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(b"another1" * 4)
    other = only(findings_of(shop, options=replace(OPTIONS, data_directory=tmp_path)), "disk")

    assert seen.verdict in (Verdict.PASS, Verdict.WARN)
    assert dict(seen.facts)["free_bytes"] is not None
    assert (absent.verdict, absent.reason) == (Verdict.UNKNOWN, "not_seen")
    assert (other.verdict, other.reason) == (Verdict.UNKNOWN, "other_server")


@pytest.mark.pg(">= 15")
def test_each_tablespace_is_judged_alone(shop: TestDatabase, tablespace: str) -> None:
    index = declare("i", "messages", "id", tablespace=tablespace)
    found = told(
        findings_of(shop, index, options=replace(OPTIONS, free_bytes={"": 10**12, tablespace: 1})), "disk"
    )

    assert found["data directory"] == (Verdict.PASS, "ok")
    assert found[f"tablespace {tablespace}"] == (Verdict.FAIL, "too_little")


def test_the_limit_of_temporary_files_is_heeded(shop: TestDatabase) -> None:
    shop.execute("INSERT INTO messages SELECT g, g, repeat('x', 50) FROM generate_series(1, 30000) g")
    shop.execute("ANALYZE messages")
    role = sql.SQL("ALTER DATABASE {} SET {} = {}")
    for name, value in (("maintenance_work_mem", "1MB"), ("temp_file_limit", "100kB")):
        shop.execute(role.format(sql.Identifier(shop.name), sql.Identifier(name), value))

    assert told(findings_of(shop, declare("i", "messages", "content")), "temporary files") == {
        "public.i": (Verdict.FAIL, "over_limit")
    }


def test_the_deadline_is_held_against_the_size(shop: TestDatabase) -> None:
    finding = only(findings_of(shop, options=replace(OPTIONS, deadline_seconds=0.0001)), "max duration")

    assert (finding.verdict, finding.reason) == (Verdict.FAIL, "over_deadline")
