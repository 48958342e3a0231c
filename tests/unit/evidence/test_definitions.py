"""Whether an index is as its canonical definition says, and when its definition is read again."""

import dataclasses

import pytest

from exporter.evidence.definitions import (
    AGE_SECONDS,
    KnownDefinition,
    indexes_with_definition,
    matching_definitions,
    stale_definitions,
)
from exporter.model import RelationName
from tests.support.snapshots import INDEX

NAME = RelationName(INDEX.schemaname, INDEX.indexname)
OTHER = dataclasses.replace(INDEX, indexrelid=7, indexname="idx_other")
NAMESAKE = dataclasses.replace(INDEX, indexrelid=8, schemaname="archive")
CANONICAL = {NAME: "CREATE INDEX …"}
KNOWN = KnownDefinition(INDEX.catalogue_version, 100.0, "CREATE INDEX …")


def test_only_indexes_with_a_canonical_definition_are_compared() -> None:
    absent = RelationName("public", "idx_absent")

    found = indexes_with_definition((INDEX, OTHER, NAMESAKE), {**CANONICAL, absent: "CREATE INDEX …"})

    assert found == {NAME: INDEX}
    assert indexes_with_definition((INDEX,), {}) == {}


@pytest.mark.parametrize(
    ("known", "now", "is_stale"),
    [
        ({}, 100.0, True),
        ({INDEX.indexrelid: KNOWN}, 100.0, False),
        ({INDEX.indexrelid: KNOWN}, 100.0 + AGE_SECONDS, True),
        ({INDEX.indexrelid: dataclasses.replace(KNOWN, catalogue_version="1/1")}, 100.0, True),
    ],
)
def test_a_definition_is_read_again_when_it_can_have_changed(
    known: dict[int, KnownDefinition], now: float, is_stale: bool
) -> None:
    assert stale_definitions((INDEX,), known, now) == ([INDEX.indexrelid] if is_stale else [])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, {}),
        ({INDEX.indexrelid: KNOWN}, {NAME: True}),
        ({INDEX.indexrelid: dataclasses.replace(KNOWN, text="CREATE UNIQUE INDEX …")}, {NAME: False}),
        ({INDEX.indexrelid: dataclasses.replace(KNOWN, catalogue_version="1/1")}, {}),
    ],
)
def test_what_is_not_known_of_this_version_of_the_index_has_no_answer(
    known: dict[int, KnownDefinition], expected: dict[RelationName, bool]
) -> None:
    assert matching_definitions({NAME: INDEX}, CANONICAL, known) == expected
