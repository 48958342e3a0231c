"""What a build takes: bytes of index, temporary files and WAL, and roughly how long. Pure.

The formula for b-trees was measured: an entry takes MAXALIGN(8 + the columns' average widths) + 4 bytes; the
sort writes that much once when it exceeds maintenance_work_mem; the second pass sorts 12 bytes for each row,
after the first has given its files back. Deduplication only lowers it. It is an upper bound, because an
estimate by the size of a similar index can be a third of what the sort takes. Other methods are rough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.model import DeclaredIndex, IndexEstimate
from exporter.postgres.relations.index_shape import ExpectedRows, IndexShape

_MAXALIGN = 8
_ITEM_POINTER_BYTES = 4
_TUPLE_HEADER_BYTES = 8
_TID_SORT_BYTES = 12
_PAGE_OVERHEAD_BYTES = 40
# What a sort in memory adds to each entry.
_SORT_OVERHEAD_BYTES = 32
_TID_MEMORY_BYTES = 24
_HASH_TUPLE_BYTES = 16
_INNER_FILL_SHARE = 0.7
_DEFAULT_FILLFACTOR = {"btree": 90.0, "hash": 75.0, "gist": 70.0, "spgist": 70.0}
_DEFAULT_PAGES_PER_RANGE = 128
# Conservative: the server does other work too.
_READ_BYTES_PER_SECOND = 100 * 1024**2
_SECONDS_PER_ROW = 3e-6


@dataclass(frozen=True, slots=True)
class SpaceNeeded:
    """What the builds of one or several tables take while they run. Units: bytes."""

    index_bytes: int
    temporary_bytes: int
    wal_bytes: int

    @property
    def all_bytes(self) -> int:
        """The sum."""
        return self.index_bytes + self.temporary_bytes + self.wal_bytes


def estimate_index(
    index: DeclaredIndex,
    shape: IndexShape,
    expected: ExpectedRows,
    *,
    heap_bytes: int,
    maintenance_work_mem_bytes: int,
) -> IndexEstimate:
    """What the build of one index takes at most."""
    rows = expected.row_count
    block = shape.block_bytes
    # Columns of different alignment leave gaps: half a word for each after the first.
    gaps = (len(shape.keys) + len(shape.included) - 1) * _MAXALIGN // 2
    entry = _aligned(_TUPLE_HEADER_BYTES + expected.row_bytes + gaps) + _ITEM_POINTER_BYTES
    if shape.method == "hash":
        # The number of buckets is a power of two.
        entry = 2 * (_HASH_TUPLE_BYTES + _ITEM_POINTER_BYTES)
    fillfactor = shape.fillfactor or _DEFAULT_FILLFACTOR.get(shape.method, 100.0)
    index_bytes = _pages(rows, entry, fillfactor / 100, block) * block
    sort_bytes = 0.0 if rows * (entry + _SORT_OVERHEAD_BYTES) <= maintenance_work_mem_bytes else rows * entry
    if shape.method == "brin":
        ranges = heap_bytes / block / (shape.pages_per_range or _DEFAULT_PAGES_PER_RANGE) + 1
        index_bytes, sort_bytes = ranges * (2 * entry) + 4 * block, 0.0
    tids_fit = shape.method == "brin" or rows * _TID_MEMORY_BYTES <= maintenance_work_mem_bytes
    tid_sort_bytes = 0.0 if tids_fit else rows * _TID_SORT_BYTES
    return IndexEstimate(
        index=index,
        index_bytes=round(index_bytes),
        temporary_bytes=round(max(sort_bytes, tid_sort_bytes)),
        # New pages are logged whole.
        wal_bytes=round(index_bytes),
        seconds=2 * heap_bytes / _READ_BYTES_PER_SECOND + rows * _SECONDS_PER_ROW,
        row_count=rows,
        is_rough=shape.method not in ("btree", "brin"),
    )


def needed_together(by_table: Iterable[SpaceNeeded], *, max_parallel: int | None) -> SpaceNeeded:
    """The most that the builds of several tables take at one time.

    Indexes and WAL stay, temporary files are removed: the `max_parallel` largest sorts count, None for all.
    """
    listed = list(by_table)
    largest = sorted((one.temporary_bytes for one in listed), reverse=True)[:max_parallel]
    return SpaceNeeded(
        sum(one.index_bytes for one in listed),
        sum(largest),
        sum(one.wal_bytes for one in listed),
    )


def _pages(rows: float, entry_bytes: int, fill_share: float, block_bytes: int) -> float:
    """Leaves filled to their share, each with a high key beside its entries, the levels above, a metapage."""
    usable_bytes = block_bytes - _PAGE_OVERHEAD_BYTES
    leaves = math.ceil(rows / max(1, (usable_bytes - block_bytes * (1 - fill_share)) // entry_bytes - 1))
    fanout = max(2, usable_bytes * _INNER_FILL_SHARE // entry_bytes)
    pages, level = leaves, leaves
    while level > 1:
        level = math.ceil(level / fanout)
        pages += level
    return pages + 1


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _MAXALIGN) * _MAXALIGN
