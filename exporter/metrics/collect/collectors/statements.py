"""The statements that read or write watched tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import psycopg

from exporter.metrics.collect.context import Collected, DatabaseContext, Steps, Turn
from exporter.metrics.collect.statement_selection import StatementSelection
from exporter.postgres.counters.statements import (
    STATEMENTS_EXTENSION,
    StatementsExtension,
    statement_texts,
    statements,
    statements_info,
)
from exporter.postgres.requests import ask
from exporter.postgres.target import describe_error

NOT_INSTALLED = "the extension pg_stat_statements is not installed in this database"


class StatementsCollector:
    """Collects counters without texts; texts are read when a query identifier appears."""

    name = "statements"

    def __init__(self, max_statements: int, *, query_text: bool, query_text_length: int) -> None:
        self._query_text = query_text
        self._selection = StatementSelection(
            max_statements=max_statements, query_text_length=query_text_length
        )

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        answers = yield (STATEMENTS_EXTENSION,)
        extensions = answers.of(STATEMENTS_EXTENSION)
        if not extensions:
            return Collected(context.snapshot, NOT_INSTALLED)
        (extension,) = extensions
        if "tables" not in context.ended:
            yield Turn.ALONE
        tables = context.snapshot.tables
        if tables is None:
            return Collected(context.snapshot, "the watched tables are not known")
        selection = self._selection
        selection.watch(row.relname for row in tables.rows)
        counters, info = statements(extension, selection.rejected), statements_info(extension)
        # Before 1.9 the extension counts no evictions: there is nothing to miss.
        has_info = info.is_supported(context.connection.info.server_version)
        answers = yield (counters, info) if has_info else (counters,)
        rows = answers.of(counters)
        gap: str | None = None
        if unknown := selection.unknown(rows):
            yield Turn.ALONE
            gap = self._learn_texts(context, extension, unknown)
        chosen, cut = selection.choose(rows)
        snapshot = replace(context.snapshot, statements=chosen, statements_cut=cut)
        if self._query_text:
            snapshot = replace(snapshot, query_texts=selection.texts(chosen))
        if has_info:
            snapshot = replace(snapshot, statements_info=answers.of(info)[0])
        hidden = sum(row.queryid is None for row in rows)
        if hidden:
            gap = f"{hidden} statements of other roles are hidden; grant pg_monitor"
        return Collected(snapshot, gap)

    def _learn_texts(
        self, context: DatabaseContext, extension: StatementsExtension, queryids: Sequence[int]
    ) -> str | None:
        """Reads these texts; the reason why they could not be read."""
        try:
            rows = ask(context.connection, statement_texts(extension, queryids))
        except psycopg.errors.DataError as error:
            # One text of a database in another encoding spoils them all; what is known already stays.
            return describe_error(context.database, error).what
        self._selection.learn(queryids, {row.queryid: row.query for row in rows})
        return None
