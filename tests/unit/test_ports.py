"""Workers of one run are never given the same port."""

import pytest

from exporter.demo import processes
from tests.support.ports import free_port


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # No real ones, so that no other test misses them.
    offered = iter([70_001, 70_001, 70_002])
    monkeypatch.setattr(processes, "free_port", lambda: next(offered))

    assert [free_port(), free_port()] == [70_001, 70_002]
