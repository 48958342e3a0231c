"""Which sizes are asked for again, and which are still what they were."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import pytest
from psycopg.errors import LockNotAvailable

from exporter.metrics.collect import size_cache
from exporter.metrics.collect.size_cache import AGE_SECONDS, WRITES, SizeCache
from exporter.metrics.snapshot import Watched
from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow
from exporter.postgres.counters.sizes import RelationSize
from exporter.postgres.counters.tables import TableRow
from tests.support import snapshots

INDEX = dataclasses.replace(snapshots.INDEX, indexrelid=11, relid=10, indisvalid=True)
INDEXES = (
    INDEX,
    dataclasses.replace(INDEX, indexrelid=12),
    dataclasses.replace(INDEX, indexrelid=21, relid=20),
)
TABLES = tuple(dataclasses.replace(snapshots.TABLE, relid=relid) for relid in (10, 20))
EVERYTHING = {10, 11, 12, 20, 21}


class Clock:
    """The time that the module sees."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(size_cache, "time", clock)
    return clock


class Server:
    """Sizes of relations, and which of them were asked for."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.sizes: dict[int, int | None] = {oid: oid * 1000 for oid in EVERYTHING}
        self.asked: set[int] = set()
        self.unread = self.answers = 0
        # What an answer takes, by that clock.
        self.clock, self.seconds = clock or Clock(), 0.0
        self.kept = SizeCache()

    def read(
        self,
        *,
        indexes: Sequence[IndexRow] = INDEXES,
        tables: Sequence[TableRow] = TABLES,
        writes: Mapping[int, Value] | None = None,
        locked: Collection[int] = (),
        shows_writes: bool = True,
        until: float = math.inf,
    ) -> tuple[Mapping[int, int], int]:
        """What is known then, and how many are missing; `writes` are rows inserted by table."""
        figures: dict[str, list[Value]] = {column: [0] * len(tables) for column in WRITES}
        figures["n_tup_ins"] = [(writes or {}).get(table.relid, 0) for table in tables]
        self.asked = set()
        found = self.kept.read(
            indexes,
            # The same object where nothing changed, as a collection has it.
            Watched(TABLES if tables is TABLES else tuple(tables), figures),
            locked,
            shows_writes=shows_writes,
            until=until,
            read_sizes=lambda oids: self._answer(oids, locked),
        )
        self.unread = found.unread
        return found.sizes, found.missing

    def _answer(self, oids: Sequence[int], locked: Collection[int]) -> list[RelationSize]:
        self.asked |= set(oids)
        self.answers += 1
        self.clock.now += self.seconds
        return [RelationSize(oid, self.sizes[oid]) for oid in oids if oid not in locked]


@pytest.fixture
def server(clock: Clock) -> Server:
    """One whose sizes were all read once, just now."""
    server = Server()
    server.read()
    # Their first ages are spread; from now on they are all new.
    clock.now += AGE_SECONDS
    server.read()
    return server


def test_the_first_time_everything_is_read() -> None:
    server = Server()

    assert server.read() == ({oid: oid * 1000 for oid in EVERYTHING}, 0)
    assert server.asked == EVERYTHING


def test_nothing_is_read_while_nothing_is_written(server: Server, clock: Clock) -> None:
    clock.now += AGE_SECONDS - 1

    assert server.read() == ({oid: oid * 1000 for oid in EVERYTHING}, 0)
    assert server.asked == set()


def test_a_table_that_was_written_to_is_read_with_its_indexes(server: Server) -> None:
    server.sizes[11] = 77

    found, _ = server.read(writes={10: 1})

    assert server.asked == {10, 11, 12}
    assert found[11] == 77
    assert server.read(writes={10: 1})[0] == found
    assert server.asked == set()


def test_after_a_minute_everything_is_read_again(server: Server, clock: Clock) -> None:
    server.sizes[21] = 77
    clock.now += AGE_SECONDS

    assert server.read()[0][21] == 77
    assert server.asked == EVERYTHING


def test_what_is_first_read_together_is_not_due_together(clock: Clock) -> None:
    server = Server()
    server.read()
    clock.now += AGE_SECONDS * 0.6

    server.read()

    assert server.asked in ({10, 11, 12}, {20, 21})


def test_on_a_standby_everything_is_read_every_time(server: Server) -> None:
    server.read(shows_writes=False)

    assert server.asked == EVERYTHING


def test_a_locked_relation_has_no_size_until_it_is_free(server: Server) -> None:
    assert server.read(locked={11}) == ({oid: oid * 1000 for oid in EVERYTHING - {11}}, 1)
    assert server.read(locked={11})[1] == 1

    server.sizes[11] = 77

    assert server.read() == ({**{oid: oid * 1000 for oid in EVERYTHING}, 11: 77}, 0)


def test_an_index_that_is_built_grows_without_writes(server: Server) -> None:
    building = (dataclasses.replace(INDEX, indisvalid=False), *INDEXES[1:])
    server.read(indexes=building)
    server.sizes[11] = 77

    assert server.read(indexes=building)[0][11] == 77


def test_another_catalogue_row_may_be_another_file(server: Server) -> None:
    rebuilt = (dataclasses.replace(INDEX, catalogue_version="9/9"), *INDEXES[1:])

    server.read(indexes=rebuilt)

    assert server.asked == {10, 11, 12}
    truncated = (dataclasses.replace(TABLES[0], catalogue_version="9"), TABLES[1])
    server.read(indexes=rebuilt, tables=truncated)
    assert server.asked == {10, 11, 12}


def test_what_is_no_longer_watched_has_no_size(server: Server) -> None:
    found, missing = server.read(indexes=INDEXES[:1], tables=TABLES[:1])

    assert (set(found), missing) == ({10, 11}, 0)


def test_an_index_that_came_is_read_with_its_table(server: Server) -> None:
    server.sizes[22] = 22
    new = dataclasses.replace(INDEX, indexrelid=22, relid=20)

    found, _ = server.read(indexes=(*INDEXES, new))

    assert (found[22], server.asked) == (22, {20, 21, 22})


def test_a_relation_without_storage_has_no_size_and_is_not_missing(server: Server) -> None:
    server.sizes[12] = None

    assert server.read(writes={10: 1}) == ({oid: oid * 1000 for oid in EVERYTHING - {12}}, 0)


def test_without_tables_the_sizes_of_indexes_are_read() -> None:
    server = Server()

    assert set(server.read(tables=())[0]) == {11, 12, 21}


# ------------------------------------------------------------------ when there is no time for all


@pytest.fixture
def slow(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Server:
    """One that is asked for a table at a time and takes a second for it."""
    monkeypatch.setattr(size_cache, "BATCH_RELATIONS", 1)
    server = Server(clock)
    server.seconds = 1.0
    return server


def test_what_there_is_no_time_for_is_read_the_next_time(slow: Server, clock: Clock) -> None:
    found, missing = slow.read(until=clock.now + 1.5)

    assert (set(found), missing, slow.unread) == ({10, 11, 12}, 0, 2)
    assert slow.read(until=clock.now + 1.5) == ({oid: oid * 1000 for oid in EVERYTHING}, 0)
    assert (slow.asked, slow.unread) == ({20, 21}, 0)


def test_a_batch_that_would_take_too_long_is_not_begun(slow: Server, clock: Clock) -> None:
    slow.read(until=clock.now + 1.9)

    assert slow.answers == 1


def test_without_time_nothing_is_asked_for(slow: Server, clock: Clock) -> None:
    assert slow.read(until=clock.now) == ({}, 0)
    assert (slow.answers, slow.unread) == (0, 5)


def test_what_is_known_stays_when_there_is_no_time_to_read_it_again(slow: Server, clock: Clock) -> None:
    slow.read()
    clock.now += 2 * AGE_SECONDS

    assert slow.read(until=clock.now) == ({oid: oid * 1000 for oid in EVERYTHING}, 0)
    assert slow.unread == 5


def test_tables_that_are_always_due_leave_the_others_their_turn(slow: Server, clock: Clock) -> None:
    asked = []
    for inserted in range(4):
        slow.read(writes={10: inserted, 20: inserted}, until=clock.now + 1.5)
        asked.append(min(slow.asked))

    assert asked in ([10, 20, 10, 20], [20, 10, 20, 10])


def test_a_lock_in_the_middle_leaves_what_was_read_before(slow: Server) -> None:
    def refuse(oids: Sequence[int]) -> Sequence[RelationSize]:
        if 21 in oids:
            raise LockNotAvailable
        return [RelationSize(oid, 1) for oid in oids]

    watched = Watched(TABLES, {column: [0, 0] for column in WRITES})
    with pytest.raises(LockNotAvailable):
        slow.kept.read(INDEXES, watched, (), shows_writes=True, until=math.inf, read_sizes=refuse)

    assert set(slow.read()[0]) == EVERYTHING
    assert slow.asked == {20, 21}
