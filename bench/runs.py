"""The runs and the figures that they give, each figure with the target it is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.comparison import Costs, check_moved, check_same_facts, compare
from bench.contenders import (
    OUR_IDX_SCAN,
    ROLES,
    Contender,
    HttpContender,
    our_exporter,
    peer_exporter,
    query_contenders,
)
from bench.database import BenchServer, Database
from bench.distance import INDEXES as DISTANT_INDEXES
from bench.distance import Distance, measure_distance
from bench.figures import Bound, Figure, megabytes, milliseconds, ratio, seconds, under
from bench.peer import MISSING, Peer
from bench.sidecar import measure_sidecar
from bench.slow_clients import IDLE, NEVER_READING, SCRAPES, scrape_under_slow_clients

# The share that moved since the last scrape, in words, and how many times the floor it may take.
CASES = ((0.01, "1 % moved", 1.5), (1.0, "all moved", 2.0))
LARGE_LIMIT = 2.0
LARGE_ROUNDS = 5
SMALLER = 10
# Fixed costs make the time of an index fall as there are more; a larger share would be more than linear.
GROWTH_LIMIT = 1.2

# What a round trip to the server takes longer.
DELAYS_SECONDS = (0.0, 0.005)
MOST_ROUND_TRIPS = 4

Say = Callable[[str], None]


class Bench:
    """The runs on one server."""

    def __init__(self, server: BenchServer, folder: Path, peer: Peer | None, rounds: int, say: Say) -> None:
        self._server = server
        self._folder = folder
        self._peer = peer
        self._rounds = rounds
        self._say = say
        self._seconds: dict[int, float] = {}
        for role in ROLES:
            server.create_role(role)

    def compare(self, indexes: int) -> list[Figure]:
        """Everybody on so many indexes, then our growth from a tenth of them, then slow clients."""
        small = self._create(indexes // SMALLER)
        self._measure_alone(small)
        database = self._create(indexes)
        found: list[Figure] = []
        with ExitStack() as stack:
            ours = stack.enter_context(our_exporter(self._server, database, self._folder))
            contenders: dict[str, Contender] = {"ours": ours}
            peer = None
            if self._peer is not None:
                peer = stack.enter_context(peer_exporter(self._server, database, self._folder, self._peer))
                contenders["peer"] = peer
            contenders |= stack.enter_context(query_contenders(self._server, database))
            self._check(database, ours, peer)
            for share, case, floor_limit in CASES:
                self._say(f"{indexes} indexes, {case}: {self._rounds} rounds")
                costs = compare(self._server, database, contenders, share, self._rounds)
                found += under(f"{indexes} indexes, {case}", _case_figures(costs, floor_limit))
            self._seconds[indexes] = costs["ours"].seconds
            rest = [*_memory(ours, peer), self._growth(small.indexes, indexes)]
            found += under(f"{indexes} indexes", [*rest, *self._slow_clients(ours)])
        for used in (small, database):
            self._server.drop_database(used)
        return found

    def large(self, indexes: int, smaller: int) -> list[Figure]:
        """Us and the floor on very many indexes; the peer has no target there."""
        database = self._create(indexes)
        found: list[Figure] = []
        lost = 0
        with ExitStack() as stack:
            ours = stack.enter_context(our_exporter(self._server, database, self._folder))
            contenders: dict[str, Contender] = {"ours": ours}
            contenders["floor"] = stack.enter_context(query_contenders(self._server, database))["floor"]
            ours.wait_until_good()
            for share, case, _ in CASES:
                self._say(f"{indexes} indexes, {case}: {LARGE_ROUNDS} rounds")
                costs = compare(self._server, database, contenders, share, LARGE_ROUNDS)
                found += under(f"{indexes} indexes, {case}", _case_figures(costs, LARGE_LIMIT))
                lost += costs["ours"].lost
            self._seconds[indexes] = costs["ours"].seconds
            rest = [
                megabytes("peak memory, ours", ours.program.peak_bytes(), 500),
                Figure(f"of {LARGE_ROUNDS * len(CASES)} scrapes lost", lost, "", "at most", 0),
            ]
        return found + under(f"{indexes} indexes", [*rest, self._growth(smaller, indexes)])

    def sidecar(self) -> list[Figure]:
        """Two declared indexes, the exporter's defaults."""
        self._say("the sidecar case")
        sidecar = measure_sidecar(self._server, self._folder)
        return under(
            "sidecar, 2 declared indexes",
            [
                milliseconds("scrape", sidecar.scrape_seconds, 8),
                megabytes("resident memory", sidecar.resident_bytes, 55),
                seconds("first good scrape after the start", sidecar.first_good_seconds, 1),
                milliseconds("scrape, 5 ms to the server and back", sidecar.distant_scrape_seconds),
                Figure("round trips of a scrape", sidecar.round_trips, "", "at most", MOST_ROUND_TRIPS),
            ],
        )

    def distance(self) -> list[Figure]:
        """A small database at no distance and at some, beside the peer with the same facts."""
        database = self._create(DISTANT_INDEXES)
        found: list[Figure] = []
        for delay_seconds in DELAYS_SECONDS:
            case = f"{DISTANT_INDEXES} indexes, {delay_seconds * 1000:g} ms to the server and back"
            self._say(case)
            measured = measure_distance(self._server, database, self._folder, self._peer, delay_seconds)
            found += under(case, _distance_figures(measured))
        self._server.drop_database(database)
        return found

    def _create(self, indexes: int) -> Database:
        self._say(f"a database with {indexes} indexes")
        return self._server.create_database(f"bench_{indexes}", indexes)

    def _measure_alone(self, database: Database) -> None:
        with our_exporter(self._server, database, self._folder) as ours:
            ours.wait_until_good()
            costs = compare(self._server, database, {"ours": ours}, 1.0, self._rounds)
        self._seconds[database.indexes] = costs["ours"].seconds

    def _check(self, database: Database, ours: HttpContender, peer: HttpContender | None) -> None:
        """That what is compared is the same, and that it moves."""
        ours.wait_until_good()
        page = ours.page()
        if peer is not None:
            peer.wait_until_good()
            samples = check_same_facts(page, peer.page())
            self._say(f"both pages have the same {samples} samples")
        for share, _, _ in CASES:
            before, moved = ours.page(), database.move(share)
            check_moved(before, moved, ours.page(), OUR_IDX_SCAN)

    def _growth(self, small: int, large: int) -> Figure:
        before, after = self._seconds[small] / small, self._seconds[large] / large
        return ratio(f"time of an index, to that with {small}", after, before, "at most", GROWTH_LIMIT)

    def _slow_clients(self, ours: HttpContender) -> list[Figure]:
        self._say("slow clients")
        result = scrape_under_slow_clients(ours)
        clients = f"{IDLE} idle and {NEVER_READING} never-reading clients"
        return [
            seconds(f"longest scrape under {clients}", result.longest_seconds, 1),
            Figure(f"of {SCRAPES} scrapes under them lost", result.lost, "", "at most", 0),
            megabytes("peak memory, ours, after them", ours.program.peak_bytes()),
        ]


def _memory(ours: HttpContender, peer: HttpContender | None) -> list[Figure]:
    mine = ours.program.peak_bytes()
    found = [megabytes("peak memory, ours", mine)]
    name = "peak memory, ours to the peer's"
    if peer is None:
        return [*found, _missing(name, "at most", 0.5)]
    theirs = peer.program.peak_bytes()
    return [
        *found,
        megabytes("peak memory, the peer's", theirs),
        ratio(name, mine, theirs, "at most", 0.5),
    ]


def _distance_figures(measured: Mapping[str, Distance]) -> list[Figure]:
    ours, peer = measured["ours"], measured.get("peer")
    found = [
        milliseconds("scrape, ours", ours.scrape_seconds),
        Figure("round trips, ours", ours.round_trips, "", "at most", MOST_ROUND_TRIPS),
    ]
    name = "scrape, the peer to ours"
    if peer is None:
        return [*found, _missing(name, "at least", 1)]
    return [
        *found,
        milliseconds("scrape, the peer", peer.scrape_seconds),
        Figure("round trips, the peer", peer.round_trips, ""),
        ratio(name, peer.scrape_seconds, ours.scrape_seconds, "at least", 1),
    ]


def _case_figures(costs: Mapping[str, Costs], floor_limit: float) -> list[Figure]:
    ours, floor = costs["ours"], costs["floor"]
    found = [
        milliseconds("scrape, ours", ours.seconds),
        milliseconds("scrape, the floor", floor.seconds),
        ratio("scrape, ours to the floor", ours.seconds, floor.seconds, "at most", floor_limit),
    ]
    # In the large run there is only the floor.
    if "views" in costs:
        found += [*_of_peer(ours, costs.get("peer")), *_of_views(ours, costs["views"])]
    return found


def _of_peer(ours: Costs, peer: Costs | None) -> list[Figure]:
    speed, processor = "scrape, the peer to ours", "processor time, ours to the peer's"
    if peer is None:
        return [_missing(speed, "at least", 10), _missing(processor, "at most", 0.2)]
    return [
        milliseconds("scrape, the peer", peer.seconds),
        ratio(speed, peer.seconds, ours.seconds, "at least", 10),
        milliseconds("processor time, ours", ours.cpu_seconds),
        ratio(processor, ours.cpu_seconds, peer.cpu_seconds, "at most", 0.2),
    ]


def _of_views(ours: Costs, views: Costs) -> list[Figure]:
    mine, theirs = ours.execution_seconds, views.execution_seconds
    return [
        milliseconds("execution time in the database, ours", mine),
        milliseconds("execution time in the database, the views", theirs),
        ratio("execution time, ours to the views", mine, theirs, "at most", 0.5),
    ]


def _missing(name: str, bound: Bound, limit: float) -> Figure:
    return Figure(name, None, "x", bound, limit, note=MISSING)
