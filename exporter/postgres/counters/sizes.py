"""Sizes of relations, and the locks that keep them from being read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.postgres.requests import Request


@dataclass(frozen=True, slots=True)
class LockedRelation:
    """A relation under AccessExclusiveLock. Source: pg_locks."""

    relid: int


@dataclass(frozen=True, slots=True)
class RelationSize:
    """Size of an index or a table; None without storage. Units: bytes."""

    relid: int
    size_bytes: int | None


# All relations on which another session holds an AccessExclusiveLock, or waits for one.
LOCKED_RELATIONS = Request("locked_relations", LockedRelation)


def relation_sizes(relids: Iterable[int]) -> Request[RelationSize]:
    """The size of each relation that is not locked against it."""
    return Request("relation_sizes", RelationSize, {"relids": list(relids)})
