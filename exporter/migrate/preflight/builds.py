"""What is known of each build before it starts: its size, and rows that violate its uniqueness."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors

from exporter.migrate.options import PreflightOptions
from exporter.migrate.preflight.disk.estimate import estimate_index
from exporter.migrate.preflight.findings import failed, passed, unknown
from exporter.model import DeclaredIndex, Finding, IndexEstimate
from exporter.postgres.relations.index_shape import IndexShape, count_duplicates, expect_rows, read_shape
from exporter.postgres.server.storage import StorageFacts, TableAge
from exporter.postgres.target import Connection, first_line
from exporter.text.figures import duration


@dataclass(frozen=True, slots=True)
class Estimated:
    """The shapes and estimates of the builds, and a finding for each that cannot be estimated."""

    shapes: Mapping[DeclaredIndex, IndexShape]
    estimates: tuple[IndexEstimate, ...]
    findings: tuple[Finding, ...]


def estimate_builds(
    connection: Connection,
    builds: Sequence[DeclaredIndex],
    ages: Mapping[DeclaredIndex, TableAge],
    storage: StorageFacts,
    options: PreflightOptions,
) -> Estimated:
    """The estimate of each build, as far as the server and its rights allow."""
    shapes: dict[DeclaredIndex, IndexShape] = {}
    estimates: list[IndexEstimate] = []
    findings: list[Finding] = []
    for index in builds:
        try:
            shapes[index] = shape = read_shape(connection, index)
            heap_bytes = ages[index].heap_bytes if index in ages else 0
            expected = expect_rows(
                connection,
                index.table,
                shape,
                heap_bytes=heap_bytes,
                budget_seconds=options.query_budget_seconds,
            )
        except psycopg.Error as error:
            findings.append(_not_estimated(index, error))
            continue
        estimates.append(
            estimate_index(
                index,
                shape,
                expected,
                heap_bytes=heap_bytes,
                maintenance_work_mem_bytes=storage.maintenance_work_mem_bytes,
            )
        )
    return Estimated(shapes, tuple(estimates), tuple(findings))


def check_duplicates(
    connection: Connection,
    builds: Sequence[DeclaredIndex],
    shapes: Mapping[DeclaredIndex, IndexShape],
    options: PreflightOptions,
) -> Iterator[Finding]:
    """One finding for each unique index: whether a key occurs twice. All share one time budget."""
    ends_at_seconds = time.monotonic() + options.query_budget_seconds
    for index in builds:
        shape = shapes.get(index)
        if shape is not None and shape.is_unique:
            yield _duplicates(connection, index, shape, ends_at_seconds)
        elif shape is None and index.unique:
            yield unknown(
                "duplicates",
                index.relation.quoted,
                "not_compiled",
                "not counted, because the declaration could not be compiled",
                "resolve the finding on its estimate first",
            )


def _not_estimated(index: DeclaredIndex, error: psycopg.Error) -> Finding:
    is_refused = isinstance(error, errors.InsufficientPrivilege)
    return unknown(
        "estimate",
        index.relation.quoted,
        "not_permitted" if is_refused else "not_planned",
        f"size cannot be estimated: {first_line(error)}",
        f"grant SELECT on {index.table.quoted} to this role"
        if is_refused
        else "rerun when the table is not locked",
    )


def _duplicates(
    connection: Connection, index: DeclaredIndex, shape: IndexShape, ends_at_seconds: float
) -> Finding:
    subject = index.relation.quoted
    budget_seconds = max(0.001, ends_at_seconds - time.monotonic())
    try:
        found = count_duplicates(connection, index, shape, budget_seconds=budget_seconds)
    except (errors.QueryCanceled, errors.LockNotAvailable):
        return unknown(
            "duplicates",
            subject,
            "too_slow",
            f"not counted within {duration(budget_seconds)}: the whole table must be read",
            "count them at a quiet hour: group by the declared columns, having count(*) > 1",
        )
    except errors.InsufficientPrivilege as error:
        hint = f"grant SELECT on {index.table.quoted} to this role"
        return unknown("duplicates", subject, "not_permitted", first_line(error), hint)
    except psycopg.Error as error:
        # The server's text can show row values.
        return failed(
            "duplicates",
            subject,
            "expression_fails",
            f"an expression of the index fails for some row (SQLSTATE {error.sqlstate})",
            "correct the rows or the expression: the build would fail in the same way",
        )
    if found.key_count == 0:
        return passed("duplicates", subject, "no key occurs twice", key_count=0, row_count=0)
    at_least = "at least " if found.key_count >= 1000 else ""
    keys = "1 key occurs" if found.key_count == 1 else f"{at_least}{found.key_count} keys occur"
    return failed(
        "duplicates",
        subject,
        "duplicates",
        f"{keys} more than once, in {at_least}{found.row_count} rows",
        "remove or merge these rows first; to list them, group by the declared columns, having count(*) > 1",
        key_count=found.key_count,
        row_count=found.row_count,
    )
