"""What does not fit the disk beside what is built now waits for it, and says so."""

from dataclasses import replace

import pytest

from exporter.migrate.assessment import assess
from exporter.migrate.events import Event, EventKind
from exporter.migrate.init import initialise
from exporter.migrate.options import BuildOptions, PreflightOptions, RunOptions
from exporter.model import StepStatus
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import QUICK, Beside
from tests.support.builds import as_declared, indexes_of, waiting_build, writer
from tests.support.declared import declare, manifest_of
from tests.support.waiting import wait_for

MANIFEST = manifest_of(declare("idx_m", "messages", "sender_id"), declare("idx_p", "posts", "sender_id"))
OPTIONS = RunOptions(build=BuildOptions(steps=QUICK))


def needs_of(shop: TestDatabase) -> dict[str, int]:
    """What the builds of each table take, by the preflight."""
    assessment = assess(as_declared(shop), MANIFEST, OPTIONS)
    return {one.index.table.relname: one.index_bytes + one.wal_bytes for one in assessment.estimates}


@pytest.mark.parametrize("by_volume", [True, False], ids=["free space", "given budget"])
def test_a_table_waits_for_the_disk(shop: TestDatabase, by_volume: bool) -> None:
    needs = needs_of(shop)
    fits_but_one = sum(needs.values()) - 1
    preflight = (
        # All fits, but not with the reserve.
        PreflightOptions(free_bytes={"": sum(needs.values())})
        if by_volume
        else PreflightOptions(disk_budget_bytes=fits_but_one)
    )
    events: list[Event] = []
    options = replace(OPTIONS, preflight=preflight)
    with (
        Beside(
            lambda: initialise(as_declared(shop), MANIFEST, options, on_event=events.append).results
        ) as run,
        writer(shop),
    ):
        waiting_build(shop)
        note = wait_for(
            "the word of it",
            lambda: next((one for one in list(events) if one.text.startswith("waits for disk: ")), None),
        )
        assert note.kind is EventKind.WAIT_FOR_DISK
        started = {one.step.table.relname for one in events if one.kind is EventKind.STARTED}

    assert started == {"messages"}
    assert note.step.table.relname == "posts"
    assert ("data directory: needs up to" if by_volume else "the disk budget: needs up to") in note.text
    told = [(one.step, bool(one.text)) for one in events if one.kind is EventKind.WAIT_FOR_DISK]
    assert told == [(note.step, True), (note.step, False)]
    assert {one.status for one in run.results()} == {StepStatus.DONE}
    assert indexes_of(shop) == {"idx_m": True, "idx_p": True}


def test_what_never_fits_is_refused_before_anything_is_touched(shop: TestDatabase) -> None:
    free_bytes = sum(needs_of(shop).values()) - 1
    outcome = initialise(
        as_declared(shop),
        MANIFEST,
        replace(OPTIONS, preflight=PreflightOptions(free_bytes={"": free_bytes})),
    )

    assert [one.reason for one in outcome.preflight if one.criterion == "disk"] == ["too_little"]
    assert outcome.results == ()
    assert indexes_of(shop) == {}
    assert shop.execute("SELECT to_regclass('migration_events')::text") == [(None,)]
