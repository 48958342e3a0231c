"""Disk: what fits side by side, what one after the other, and what never; each volume by itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.migrate.options import PreflightOptions
from exporter.migrate.plan.disk_budget import DiskBudget, DiskNeed
from exporter.migrate.preflight.disk.check import GIVEN_BUDGET, budget_of, check_disk
from exporter.migrate.preflight.disk.free_space import FreeSpace, FreeSpaces, Place, find_free_space
from exporter.model import Finding, IndexEstimate, Verdict
from exporter.postgres.server.storage import StorageFacts, TablespaceFacts
from tests.support.declared import declare, relation

STORAGE = StorageFacts(64 * 1024**2, None, None, "pg_default", "", "")
OPTIONS = PreflightOptions(warn_free_share=0.1)
DATA, WAL = Place(), Place(is_wal=True)


def estimate(
    table: str, size: int, sort: int, *, name: str | None = None, rough: bool = False
) -> IndexEstimate:
    """An index of that size, whose WAL is as large."""
    return IndexEstimate(declare(name or f"i_{table}", table), size, sort, size, 1.0, 1.0, is_rough=rough)


def on(free: int, size: int | None = None) -> FreeSpaces:
    """All on one volume."""
    space = FreeSpace("volume of /data", free, size)
    return FreeSpaces({DATA: space, WAL: space})


def findings(
    estimates: Sequence[IndexEstimate], spaces: FreeSpaces, options: PreflightOptions = OPTIONS
) -> list[Finding]:
    return list(check_disk(estimates, STORAGE, spaces, options))


TWO = (estimate("a", 100, 300), estimate("b", 50, 200))


@pytest.mark.parametrize(
    ("free", "verdict", "reason"),
    [
        # Both indexes and their WAL are 300, the sorts 300 and 200.
        (599, Verdict.FAIL, "too_little"),
        (600, Verdict.WARN, "nearly_full"),
        (667, Verdict.WARN, "not_side_by_side"),
        (888, Verdict.WARN, "not_side_by_side"),
        (889, Verdict.PASS, "ok"),
    ],
)
def test_what_fits_one_after_the_other_waits_and_what_never_fits_is_refused(
    free: int, verdict: Verdict, reason: str
) -> None:
    (found,) = findings(TWO, on(free))

    assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("max_parallel", "reason"), [(None, "not_side_by_side"), (1, "ok"), (2, "not_side_by_side")]
)
def test_who_builds_one_after_the_other_needs_no_more(max_parallel: int | None, reason: str) -> None:
    (found,) = findings(TWO, on(700), replace(OPTIONS, max_parallel=max_parallel))

    assert found.reason == reason


def test_of_one_table_one_sort_counts() -> None:
    (found,) = findings([estimate("a", 0, 70), estimate("a", 0, 30, name="j")], on(10**6))

    assert dict(found.facts)["temporary_bytes"] == 70


def test_the_reserve_is_a_share_of_the_volume() -> None:
    assert findings(TWO, on(1000, 2000))[0].reason == "ok"
    assert findings(TWO, on(1000, 3000))[0].reason == "not_side_by_side"


def test_each_volume_is_judged_by_what_is_written_there() -> None:
    spaces = FreeSpaces({DATA: FreeSpace("volume of /data", 10_000), WAL: FreeSpace("volume of /wal", 149)})
    data, wal = findings(TWO, spaces)

    assert (data.subject, data.verdict) == ("volume of /data", Verdict.PASS)
    assert [dict(data.facts)[name] for name in ("index_bytes", "temporary_bytes", "wal_bytes")] == [
        150,
        500,
        0,
    ]
    assert (wal.subject, wal.reason) == ("volume of /wal", "too_little")
    assert [dict(wal.facts)[name] for name in ("index_bytes", "temporary_bytes", "wal_bytes")] == [0, 0, 150]


def test_where_nothing_tells_it_is_unknown_and_bounds_nothing() -> None:
    spaces = FreeSpaces({DATA: FreeSpace("volume of /data", 10_000)})
    _, wal = findings(TWO, spaces)

    assert (wal.subject, wal.verdict, wal.reason) == ("pg_wal", Verdict.UNKNOWN, "no_source")
    assert budget_of(TWO, STORAGE, spaces, OPTIONS).ceilings == {"volume of /data": 9000}
    assert budget_of(TWO, STORAGE, FreeSpaces(), OPTIONS).ceilings == {}
    (nothing,) = findings(TWO, FreeSpaces())
    assert (nothing.subject, nothing.verdict) == ("the server", Verdict.UNKNOWN)


def test_the_schedule_gets_the_same_figures() -> None:
    several = (*TWO, estimate("a", 10, 400, name="j"))
    volume = "volume of /data"

    assert budget_of(several, STORAGE, on(2000, 5000), OPTIONS) == DiskBudget(
        {volume: 1500},
        {relation("a"): {volume: DiskNeed(220, 400)}, relation("b"): {volume: DiskNeed(100, 200)}},
    )


def test_a_given_budget_prevails_over_the_volumes() -> None:
    options = replace(OPTIONS, disk_budget_bytes=450)

    assert budget_of(TWO, STORAGE, on(10**6), options) == DiskBudget(
        {GIVEN_BUDGET: 450},
        {relation("a"): {GIVEN_BUDGET: DiskNeed(0, 500)}, relation("b"): {GIVEN_BUDGET: DiskNeed(0, 300)}},
    )
    # Nobody looks at the volume while it runs, so the sorts that the budget lets begin must fit.
    assert findings(TWO, on(749), options)[0].reason == "too_little"
    assert findings(TWO, on(10**6), options)[0].reason == "ok"


def test_a_rough_estimate_is_shown_as_one() -> None:
    (found,) = findings([estimate("a", 100, 0, rough=True)], on(10**6))
    (exact,) = findings([estimate("a", 100, 0)], on(10**6))

    assert found.found.startswith("needs roughly 200 bytes")
    assert exact.found.startswith("needs up to 200 bytes")
    assert (dict(found.facts)["is_rough"], dict(exact.facts)["is_rough"]) == (True, False)


# ------------------------------------------------------------------ where the volumes are


def rooms_of(options: PreflightOptions, storage: StorageFacts = STORAGE, *names: str) -> FreeSpaces:
    known = {name: TablespaceFacts(1000 + number, name, True, False) for number, name in enumerate(names)}
    indexes = [replace(declare(f"i{name}", "a"), tablespace=name) for name in names] or [declare("i", "a")]
    estimates = [IndexEstimate(index, 1, 1, 1, 1.0, 1.0, is_rough=False) for index in indexes]
    return find_free_space(estimates, storage, known, "7000000000000000001", options)


def test_somebodys_word_is_by_tablespace_and_for_the_log() -> None:
    told = rooms_of(PreflightOptions(free_bytes={"": 10, "fast": 20, "pg_wal": 30}), STORAGE, "fast")

    assert told.by_place == {
        Place("fast"): FreeSpace("tablespace fast", 20),
        DATA: FreeSpace("data directory", 10),
        WAL: FreeSpace("pg_wal", 30),
    }
    alone = rooms_of(PreflightOptions(free_bytes={"": 10}), STORAGE, "fast")
    assert alone.by_place == {DATA: FreeSpace("data directory", 10), WAL: FreeSpace("data directory", 10)}


def test_every_temporary_tablespace_must_hold_the_sorts() -> None:
    storage = replace(STORAGE, temp_tablespaces='fast, "Odd, ""one""", PLAIN, ""')
    told = {"": 1000, "fast": 5, 'Odd, "one"': 5, "plain": 1000}
    options = PreflightOptions(free_bytes=told, warn_free_share=0)
    found = list(check_disk([estimate("a", 10, 7)], storage, rooms_of(options, storage), options))

    assert {one.subject: one.reason for one in found} == {
        "data directory": "ok",
        "tablespace fast": "too_little",
        'tablespace Odd, "one"': "too_little",
        "tablespace plain": "ok",
    }


def test_a_log_behind_a_link_that_cannot_be_followed_is_unknown(tmp_path: Path) -> None:
    beside = rooms_of(PreflightOptions(data_directory=tmp_path))
    (tmp_path / "pg_wal").symlink_to(tmp_path / "another volume" / "pg_wal")
    elsewhere = rooms_of(PreflightOptions(data_directory=tmp_path))

    assert beside.by_place.keys() == {DATA, WAL}
    assert elsewhere.by_place.keys() == {DATA}
    told = rooms_of(PreflightOptions(data_directory=tmp_path, free_bytes={"": 10}))
    assert told.by_place == {DATA: FreeSpace("data directory", 10)}


def test_a_tablespace_that_cannot_be_entered_is_unknown(tmp_path: Path) -> None:
    options = PreflightOptions(data_directory=tmp_path)
    (tmp_path / "pg_tblspc" / "1001").mkdir(parents=True)

    # The first has no folder here, the second has.
    assert rooms_of(options, STORAGE, "far", "near").by_place.keys() == {Place("near"), DATA, WAL}
