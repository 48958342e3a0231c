"""What can be known of each build beforehand: its size, and rows that would break its uniqueness."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors

from exporter.migrate.options import PreflightOptions
from exporter.migrate.preflight.estimate import estimate_index
from exporter.migrate.preflight.findings import failed, passed, unknown
from exporter.model import DeclaredIndex, Finding, IndexEstimate
from exporter.postgres.relations.index_shape import IndexShape, count_duplicates, expect_rows, read_shape
from exporter.postgres.server.storage import StorageFacts, TableAge
from exporter.postgres.target import Connection, first_line
from exporter.text.figures import duration


@dataclass(frozen=True, slots=True)
class Estimated:
    """What was learnt of the builds: their shapes and estimates, and why there is none of some."""

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
    """The estimate of each build that one can be made of."""
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
    """One finding for each unique index: whether its rows allow it. All of them share one budget of time."""
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
                "do first what is said of its estimate",
            )


def _not_estimated(index: DeclaredIndex, error: psycopg.Error) -> Finding:
    is_refused = isinstance(error, errors.InsufficientPrivilege)
    return unknown(
        "estimate",
        index.relation.quoted,
        "not_permitted" if is_refused else "not_planned",
        f"its size cannot be estimated: {first_line(error)}",
        f"GRANT SELECT ON {index.table.quoted} to this role"
        if is_refused
        else "try again when the table is free",
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
            f"not counted within {duration(budget_seconds)}: the whole table has to be read",
            "count them at a quiet hour: GROUP BY the declared columns, HAVING count(*) > 1",
        )
    except errors.InsufficientPrivilege as error:
        hint = "grant that to this role, to have duplicates counted before the build"
        return unknown("duplicates", subject, "not_permitted", first_line(error), hint)
    except psycopg.Error as error:
        # Not its text: it can show values.
        return failed(
            "duplicates",
            subject,
            "expression_fails",
            f"an expression of the index fails for some row (SQLSTATE {error.sqlstate})",
            "fix the rows or the expression: the build would fail in the same way",
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
        "remove or merge these rows first: GROUP BY the declared columns, HAVING count(*) > 1 shows them",
        key_count=found.key_count,
        row_count=found.row_count,
    )
