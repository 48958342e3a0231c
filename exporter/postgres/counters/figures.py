"""Figures of many relations as columns, beside a fingerprint of what is known of those relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = int | float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Columns of figures, each in the order of `oids`.

    Another `fingerprint` says that the catalogue rows of these relations changed.
    """

    oids: Sequence[int]
    fingerprint: Sequence[int | None]
    columns: Mapping[str, Sequence[Value]]
