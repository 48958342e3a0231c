"""Limits that would cancel a build: of temporary files, and of time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.migrate.preflight.findings import SERVER, failed, passed, warned
from exporter.model import Finding, IndexEstimate
from exporter.postgres.server.storage import StorageFacts
from exporter.text.figures import byte_size, duration


def check_temporary_files(estimates: Sequence[IndexEstimate], storage: StorageFacts) -> Iterator[Finding]:
    """One finding for each build that temp_file_limit would cancel, or one if there is none."""
    limit = storage.temp_file_limit_bytes
    over = [one for one in estimates if limit is not None and one.temporary_bytes > limit]
    if limit is None or not over:
        said = "temp_file_limit sets no limit" if limit is None else f"no sort exceeds {byte_size(limit)}"
        yield passed("temporary files", SERVER, said, temp_file_limit_bytes=limit)
        return
    for one in over:
        yield failed(
            "temporary files",
            one.index.relation.quoted,
            "over_limit",
            f"sorts up to {byte_size(one.temporary_bytes)}, temp_file_limit is {byte_size(limit)}",
            "raise temp_file_limit for this role as a superuser, or raise maintenance_work_mem",
            temporary_bytes=one.temporary_bytes,
            temp_file_limit_bytes=limit,
        )


def check_duration(estimates: Sequence[IndexEstimate], deadline_seconds: float) -> Iterator[Finding]:
    """Whether each build can finish before its deadline, which is its statement_timeout."""
    for one in estimates:
        subject = one.index.relation.quoted
        facts = {
            "seconds": round(one.seconds, 1),
            "deadline_seconds": deadline_seconds,
            "rows": one.row_count,
            "index_bytes": one.index_bytes,
        }
        found = f"roughly {duration(one.seconds)} by size alone, the deadline is {duration(deadline_seconds)}"
        hint = "raise --deadline-seconds: the server cancels a build that takes longer"
        if one.seconds > deadline_seconds:
            yield failed("max duration", subject, "over_deadline", found, hint, **facts)
        elif one.seconds > deadline_seconds / 2:
            yield warned("max duration", subject, "near_deadline", found, hint, **facts)
        else:
            yield passed("max duration", subject, found, **facts)
