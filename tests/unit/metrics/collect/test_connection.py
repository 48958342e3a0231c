"""How often a database that cannot be reached is tried: later and later, and not by all exporters at once."""

import time
from collections.abc import Iterator

import pytest

from exporter.errors import TargetError, TargetUnreachable
from exporter.metrics.collect import connection as session
from exporter.metrics.collect.connection import (
    FIRST_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    PersistentConnection,
)
from exporter.model import Database
from exporter.postgres.target import Connection, SessionLimits, connect
from exporter.secret import SecretStr

# Nobody listens there.
DATABASE = Database("nova", SecretStr("host=127.0.0.1 port=1 user=app"))


class Clock:
    """A monotonic clock that goes on when it is told to, and the attempts to connect by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.attempts: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def connect(self, database: Database, *, limits: SessionLimits) -> Connection:
        self.attempts.append(self.now)
        return connect(database, limits=limits)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(session, "connect", clock.connect)
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    return clock


@pytest.fixture
def warm() -> Iterator[PersistentConnection]:
    warm = PersistentConnection(DATABASE, SessionLimits())
    yield warm
    warm.close()


def fail(warm: PersistentConnection) -> TargetError:
    with pytest.raises(TargetUnreachable) as raised:
        warm.get()
    return raised.value


def attempts_within(clock: Clock, warm: PersistentConnection, seconds: float) -> list[float]:
    """The pauses between the attempts of somebody who asks all the time."""
    begin = clock.now
    while clock.now < begin + seconds:
        fail(warm)
        clock.now += 0.01
    return [later - earlier for earlier, later in zip(clock.attempts, clock.attempts[1:], strict=False)]


def test_the_pauses_grow_up_to_a_limit(clock: Clock, warm: PersistentConnection) -> None:
    pauses = attempts_within(clock, warm, 60)

    step = 0.02
    for number, pause in enumerate(pauses):
        longest = min(FIRST_BACKOFF_SECONDS * 2**number, LONGEST_BACKOFF_SECONDS)
        assert longest / 2 - step <= pause <= longest + step
    assert len(pauses) >= 60 / LONGEST_BACKOFF_SECONDS


def test_two_exporters_do_not_return_together(clock: Clock) -> None:
    pauses = []
    for _ in range(2):
        clock.attempts.clear()
        pauses.append(attempts_within(clock, PersistentConnection(DATABASE, SessionLimits()), 60))

    assert pauses[0] != pauses[1]


def test_while_it_waits_the_last_reason_stands(clock: Clock, warm: PersistentConnection) -> None:
    first = fail(warm)
    again = fail(warm)

    assert len(clock.attempts) == 1
    assert again is first
    assert "127.0.0.1" in first.what


def test_another_conninfo_is_tried_at_once(clock: Clock, warm: PersistentConnection) -> None:
    attempts_within(clock, warm, 60)
    clock.attempts.clear()

    warm.rebind(Database("nova", SecretStr("host=127.0.0.1 port=1 user=app password=rotated")))
    fail(warm)

    assert len(clock.attempts) == 1
