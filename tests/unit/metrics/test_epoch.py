"""When an index was born and what makes its counters begin anew, as far as one process can see it."""

import dataclasses
from typing import Any

from exporter.metrics.epoch import Births
from exporter.metrics.snapshot import IndexRow
from tests.support import snapshots

USED = dataclasses.replace(snapshots.INDEX, indexrelid=100, relid=10, indisvalid=True, idx_scan=5)


def changed(row: IndexRow, **changes: Any) -> IndexRow:
    return dataclasses.replace(row, **changes)


def test_without_any_record_an_index_is_as_old_as_its_first_sight() -> None:
    births = Births()

    assert births.observe([USED], 1000.0, {}) == {100: 1000.0}
    assert births.observe([USED], 1060.0, {}) == {100: 1000.0}


def test_a_record_goes_before_the_first_sight_and_may_come_later() -> None:
    births = Births()

    assert births.observe([USED], 1000.0, {}) == {100: 1000.0}
    assert births.observe([USED], 1060.0, {100: 400.0}) == {100: 400.0}
    assert births.observe([USED], 1120.0, {}) == {100: 400.0}


def test_a_later_record_does_not_make_it_younger() -> None:
    births = Births()
    births.observe([USED], 1000.0, {100: 400.0})

    assert births.observe([USED], 1060.0, {100: 900.0}) == {100: 400.0}


def test_only_what_was_not_observed_is_unseen() -> None:
    births = Births()
    births.observe([USED], 1000.0, {})

    assert births.unseen([USED, changed(USED, indexrelid=101)]) == [101]


def test_fewer_scans_than_before_are_a_new_beginning() -> None:
    births = Births()
    births.observe([USED], 1000.0, {100: 400.0})

    assert births.observe([changed(USED, idx_scan=0)], 1060.0, {100: 400.0}) == {100: 1060.0}
    assert births.observe([changed(USED, idx_scan=9)], 1120.0, {100: 400.0}) == {100: 1060.0}


def test_a_new_name_or_table_name_is_the_same_index() -> None:
    births = Births()
    births.observe([USED], 1000.0, {})

    renamed = changed(USED, indexname="renamed", relname="moved", schemaname="archive")
    assert births.observe([renamed], 1060.0, {}) == {100: 1000.0}


def test_an_index_renewed_under_its_name_keeps_its_birth_with_its_scans() -> None:
    births = Births()
    births.observe([USED], 1000.0, {})
    renewed = changed(USED, indexrelid=101, idx_scan=7)

    # What is recorded of the new row, its commit, is younger than what the counters hold.
    assert births.observe([renewed], 1060.0, {101: 1050.0}) == {101: 1000.0}
    assert births.observe([renewed], 1120.0, {}) == {101: 1000.0}


def test_an_index_dropped_and_created_anew_is_new() -> None:
    births = Births()
    births.observe([USED], 1000.0, {100: 400.0})

    again = changed(USED, indexrelid=101, idx_scan=0)
    assert births.observe([again], 1060.0, {100: 400.0}) == {101: 1060.0}


def test_without_scans_to_take_along_a_renewed_index_is_taken_for_new() -> None:
    births = Births()
    births.observe([changed(USED, idx_scan=0)], 1000.0, {})

    assert births.observe([changed(USED, indexrelid=101, idx_scan=0)], 1060.0, {}) == {101: 1060.0}


def test_the_name_on_another_table_or_beside_the_old_index_is_new() -> None:
    births = Births()
    births.observe([USED], 1000.0, {})

    elsewhere = changed(USED, indexrelid=101, relid=11)
    swapped = changed(USED, indexname="old")
    beside = changed(USED, indexrelid=102)
    assert births.observe([elsewhere, swapped, beside], 1060.0, {}) == {
        101: 1060.0,
        100: 1000.0,
        102: 1060.0,
    }


def test_an_index_that_was_gone_is_not_remembered() -> None:
    births = Births()
    births.observe([USED], 1000.0, {})
    births.observe([], 1060.0, {})

    assert births.observe([changed(USED, indexrelid=101)], 1120.0, {}) == {101: 1120.0}


def test_time_while_not_valid_does_not_count() -> None:
    births = Births()
    invalid = changed(USED, indisvalid=False)

    assert births.observe([invalid], 1000.0, {100: 400.0}) == {}
    assert births.observe([invalid], 1060.0, {100: 400.0}) == {}
    assert births.observe([USED], 1120.0, {100: 400.0}) == {100: 1060.0}


def test_the_index_of_a_partitioned_table_counts_nothing() -> None:
    assert Births().observe([changed(USED, idx_scan=None)], 1000.0, {100: 400.0}) == {}
