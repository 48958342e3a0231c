"""How much disk the builds of a plan may take at a time, and what those of each table take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.model import RelationName
from exporter.text.figures import byte_size


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """The most that the builds of one table take on one volume. Units: bytes.

    `kept_bytes`, the indexes and their WAL, stay after the builds; `temporary_bytes` do not.
    """

    kept_bytes: int
    temporary_bytes: int

    @property
    def all_bytes(self) -> int:
        """The sum."""
        return self.kept_bytes + self.temporary_bytes


_NOTHING = DiskNeed(0, 0)


@dataclass(frozen=True, slots=True)
class DiskBudget:
    """What all builds together may take on each volume, and what those of each table take there.

    Volumes by their titles; the free space of a volume without a ceiling is unknown. A table that is not
    in `needs` takes an unknown amount, which counts as the whole ceiling. Units: bytes.
    """

    ceilings: Mapping[str, int] = field(default_factory=dict)
    needs: Mapping[RelationName, Mapping[str, DiskNeed]] = field(default_factory=dict)

    def need(self, table: RelationName, volume: str) -> DiskNeed:
        """What the builds of the table take on the volume."""
        if table not in self.needs:
            return DiskNeed(0, self.ceilings[volume])
        return self.needs[table].get(volume, _NOTHING)

    def obstacle(self, table: RelationName, taken: Mapping[str, int]) -> str | None:
        """Why the builds of the table do not fit besides what is taken on each volume; None if they do."""
        for volume, ceiling in self.ceilings.items():
            need, left = self.need(table, volume).all_bytes, ceiling - taken.get(volume, 0)
            if need > left:
                wanted = f"up to {byte_size(need)}" if table in self.needs else "an unknown amount"
                beside = f"{byte_size(max(0, left))} left besides the running builds"
                return f"{volume}: needs {wanted}, {beside}"
        return None
