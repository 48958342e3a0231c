"""When an index was born and what makes its counters begin anew, as far as one process can see it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.evidence import epoch
from exporter.postgres.counters.indexes import IndexRow
from tests.support import snapshots


@dataclass(frozen=True)
class Counted:
    """An index and its scans."""

    row: IndexRow
    idx_scan: int | None


USED = Counted(dataclasses.replace(snapshots.INDEX, indexrelid=100, relid=10, indisvalid=True), 5)


class Births(epoch.Births):
    """The same, told of rows with their scans."""

    def see(
        self, counted: Sequence[Counted], server_time: float, known: Mapping[int, float]
    ) -> Mapping[int, float]:
        scans = [one.idx_scan for one in counted]
        return self.observe([one.row for one in counted], scans, server_time, known)


def changed(counted: Counted, **changes: Any) -> Counted:
    idx_scan = changes.pop("idx_scan", counted.idx_scan)
    return Counted(dataclasses.replace(counted.row, **changes), idx_scan)


def test_without_any_record_an_index_is_as_old_as_its_first_sight() -> None:
    births = Births()

    assert births.see([USED], 1000.0, {}) == {100: 1000.0}
    assert births.see([USED], 1060.0, {}) == {100: 1000.0}


def test_a_record_goes_before_the_first_sight_and_may_come_later() -> None:
    births = Births()

    assert births.see([USED], 1000.0, {}) == {100: 1000.0}
    assert births.see([USED], 1060.0, {100: 400.0}) == {100: 400.0}
    assert births.see([USED], 1120.0, {}) == {100: 400.0}


def test_a_later_record_does_not_make_it_younger() -> None:
    births = Births()
    births.see([USED], 1000.0, {100: 400.0})

    assert births.see([USED], 1060.0, {100: 900.0}) == {100: 400.0}


def test_only_what_was_not_observed_is_unseen() -> None:
    births = Births()
    births.see([USED], 1000.0, {})

    assert births.unseen([USED.row, changed(USED, indexrelid=101).row]) == [101]


def test_fewer_scans_than_before_are_a_new_beginning() -> None:
    births = Births()
    births.see([USED], 1000.0, {100: 400.0})

    assert births.see([changed(USED, idx_scan=0)], 1060.0, {100: 400.0}) == {100: 1060.0}
    assert births.see([changed(USED, idx_scan=9)], 1120.0, {100: 400.0}) == {100: 1060.0}


def test_a_new_name_or_table_name_is_the_same_index() -> None:
    births = Births()
    births.see([USED], 1000.0, {})

    renamed = changed(USED, indexname="renamed", relname="moved", schemaname="archive")
    assert births.see([renamed], 1060.0, {}) == {100: 1000.0}


def test_an_index_renewed_under_its_name_keeps_its_birth_with_its_scans() -> None:
    births = Births()
    births.see([USED], 1000.0, {})
    renewed = changed(USED, indexrelid=101, idx_scan=7)

    # What is recorded of the new row, its commit, is younger than what the counters hold.
    assert births.see([renewed], 1060.0, {101: 1050.0}) == {101: 1000.0}
    assert births.see([renewed], 1120.0, {}) == {101: 1000.0}


def test_an_index_dropped_and_created_anew_is_new() -> None:
    births = Births()
    births.see([USED], 1000.0, {100: 400.0})

    again = changed(USED, indexrelid=101, idx_scan=0)
    assert births.see([again], 1060.0, {100: 400.0}) == {101: 1060.0}


def test_without_scans_to_take_along_a_renewed_index_is_taken_for_new() -> None:
    births = Births()
    births.see([changed(USED, idx_scan=0)], 1000.0, {})

    assert births.see([changed(USED, indexrelid=101, idx_scan=0)], 1060.0, {}) == {101: 1060.0}


def test_the_name_on_another_table_or_beside_the_old_index_is_new() -> None:
    births = Births()
    births.see([USED], 1000.0, {})

    elsewhere = changed(USED, indexrelid=101, relid=11)
    swapped = changed(USED, indexname="old")
    beside = changed(USED, indexrelid=102)
    assert births.see([elsewhere, swapped, beside], 1060.0, {}) == {
        101: 1060.0,
        100: 1000.0,
        102: 1060.0,
    }


def test_an_index_that_was_gone_is_not_remembered() -> None:
    births = Births()
    births.see([USED], 1000.0, {})
    births.see([], 1060.0, {})

    assert births.see([changed(USED, indexrelid=101)], 1120.0, {}) == {101: 1120.0}


def test_time_while_not_valid_does_not_count() -> None:
    births = Births()
    invalid = changed(USED, indisvalid=False)

    assert births.see([invalid], 1000.0, {100: 400.0}) == {}
    assert births.see([invalid], 1060.0, {100: 400.0}) == {}
    assert births.see([USED], 1120.0, {100: 400.0}) == {100: 1060.0}


def test_the_index_of_a_partitioned_table_counts_nothing() -> None:
    assert Births().see([changed(USED, idx_scan=None)], 1000.0, {100: 400.0}) == {}


# ------------------------------------------------------------------ while the catalogue stays as it is


def test_the_same_rows_with_more_scans_are_what_they_were() -> None:
    births, rows = Births(), [USED.row]
    first = births.observe(rows, [5], 1000.0, {})

    assert births.observe(rows, [6], 1060.0, {}) is first
    assert births.unseen(rows) == []
    assert first == {100: 1000.0}


def test_the_same_rows_with_fewer_scans_than_last_time_began_anew() -> None:
    births, rows = Births(), [USED.row]
    births.observe(rows, [5], 1000.0, {})
    births.observe(rows, [9], 1060.0, {})

    assert births.observe(rows, [7], 1120.0, {}) == {100: 1120.0}
    assert births.observe(rows, [7], 1180.0, {}) == {100: 1120.0}


def test_a_record_that_comes_later_counts_for_the_same_rows() -> None:
    births, rows = Births(), [USED.row]
    births.observe(rows, [5], 1000.0, {})

    assert births.observe(rows, [5], 1060.0, {100: 400.0}) == {100: 400.0}


def test_the_same_row_that_stays_invalid_counts_from_its_last_sight() -> None:
    births, invalid = Births(), [changed(USED, indisvalid=False).row]
    births.observe(invalid, [0], 1000.0, {100: 400.0})
    births.observe(invalid, [0], 1060.0, {100: 400.0})

    assert births.observe([USED.row], [0], 1120.0, {100: 400.0}) == {100: 1060.0}


def test_a_renewed_index_is_known_by_the_scans_that_were_last_seen() -> None:
    births, rows = Births(), [USED.row]
    births.observe(rows, [5], 1000.0, {})
    births.observe(rows, [9], 1060.0, {})
    renewed = [changed(USED, indexrelid=101).row]

    assert births.observe(renewed, [8], 1120.0, {}) == {101: 1120.0}
