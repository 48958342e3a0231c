"""What a row of the metric table is, and the label sets that families share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

INDEX = ("datname", "schemaname", "relname", "indexname")
DECLARED = (*INDEX, "role")
PARTITION = (*INDEX, "parent_schemaname", "parent_relname", "parent_indexname")
TABLE = ("datname", "schemaname", "relname")
STATEMENT = ("datname", "user", "queryid", "toplevel")
DATABASE = ("datname",)
COLLECTOR = ("collector", "datname")

Scope = Literal["index", "declared", "build", "table", "statement", "target", "exporter"]
Kind = Literal["counter", "gauge", "info"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. `since` is the first PostgreSQL version with the source."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    source: str
    scope: Scope
    field: str
    since: int = 14
    unit: str = ""

    @property
    def help_text(self) -> str:
        """The HELP line: the meaning, then the source."""
        return f"{self.help} Source: {self.source}."


def view_counter(view: str, column: str, labels: tuple[str, ...], scope: Scope, text: str) -> Metric:
    """A counter of one column of a statistics view."""
    return Metric(f"{view}_{column}_total", "counter", labels, text, f"{view}.{column}", scope, column)
