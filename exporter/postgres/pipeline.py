"""Several groups of reads in one round trip, each group with its own failure, locks and snapshot.

All groups are sent at once with a Sync after each: PostgreSQL ends the implicit transaction of a group there,
and an error only skips the rest of its own group. The answers are received one by one as they arrive, so that
what came before a hung statement is not lost. psycopg's own pipeline waits for all answers at every sync;
therefore this module works one level below, with psycopg.pq, the documented wrapper of libpq.
"""

from __future__ import annotations

import re
import select
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

from exporter.errors import ExporterError
from exporter.postgres.requests import Request, Row, ask
from exporter.postgres.target import Connection

# From this use on a statement is prepared: planning it is most of what a small read costs the server.
PREPARE_AT_USE = 3
# A statement that was prepared before a change of the schema, or that is gone with its session.
_STALE = ("0A000", "26000")
LOST = "the connection was lost"
_PLACEHOLDER = re.compile(r"%\((?P<name>\w+)\)s|%%")

Group = Sequence[Request[Any]]


class Answers:
    """The answers to one group of requests, or the error that took their place."""

    def __init__(self, rows: dict[Request[Any], list[Any]], error: Exception | None = None) -> None:
        self._rows = rows
        self.error = error

    def of(self, request: Request[Row]) -> list[Row]:
        """The rows that answer the request.

        Raises: psycopg.Error, ExporterError when the group failed.
        """
        if self.error is not None:
            raise self.error
        rows: list[Row] = self._rows[request]
        return rows


@dataclass(frozen=True, slots=True)
class _Sent:
    """A statement under way; statements of the same `key` share a prepared one."""

    request: Request[Any]
    key: tuple[bytes, tuple[int, ...]] | None
    prepares: bool


class Pipeline:
    """The reads of one connection.

    Without `is_pipelined` each request takes its own round trip, in the same order. When `is_broken`,
    the connection is of no further use: it was lost, or not all answers were taken.
    """

    def __init__(self, connection: Connection, *, is_pipelined: bool) -> None:
        self.connection = connection
        self.is_pipelined = is_pipelined and psycopg.Pipeline.is_supported()
        self._transformer = Transformer.from_context(connection)
        self._uses: dict[tuple[bytes, tuple[int, ...]], int] = {}
        self._prepared: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._names = 0
        self.is_broken = False

    def ask(self, groups: Sequence[Group]) -> Iterator[Answers]:
        """The answers to each group, in order, as they arrive. The caller takes all of them.

        A lost connection is the error of every group from there on.
        """
        if not self.is_pipelined:
            yield from (self._ask_singly(group) for group in groups)
            return
        # What was not received would be taken for the answers to what is asked next.
        self.is_broken = True
        yield from self._ask_together(groups)
        self.is_broken = self.connection.pgconn.pipeline_status != pq.PipelineStatus.OFF

    def _ask_together(self, groups: Sequence[Group]) -> Iterator[Answers]:
        pgconn = self.connection.pgconn
        refused: dict[int, ExporterError] = {}
        lost: psycopg.Error | None = None
        sent: list[deque[_Sent]] = []
        try:
            pgconn.enter_pipeline_mode()
            sent = [self._send(number, group, refused) for number, group in enumerate(groups)]
            self._flush(pgconn)
        except psycopg.OperationalError as error:
            lost = error
        for number in range(len(groups)):
            answers = Answers({}, lost)
            if lost is None:
                try:
                    answers = self._receive(pgconn, sent[number])
                except psycopg.OperationalError as error:
                    lost, answers = error, Answers({}, error)
            yield Answers({}, refused[number]) if number in refused and lost is None else answers
        if lost is None:
            pgconn.exit_pipeline_mode()

    def _ask_singly(self, group: Group) -> Answers:
        try:
            return Answers({request: ask(self.connection, request) for request in group})
        except (psycopg.Error, ExporterError) as error:
            return Answers({}, error)

    # ------------------------------------------------------------------ sending

    def _send(self, number: int, group: Group, refused: dict[int, ExporterError]) -> deque[_Sent]:
        """Queue the group's statements and a Sync; no statement if a request has no file for the version."""
        statements: deque[_Sent] = deque()
        version = self.connection.info.server_version
        try:
            queries = [request.query(version) for request in group]
        except ExporterError as error:
            refused[number] = error
            queries = []
        for request, query in zip(group, queries, strict=False):
            text = query if isinstance(query, str) else query.as_string(self.connection)
            statements += self._send_statement(request, text)
        self.connection.pgconn.pipeline_sync()
        return statements

    def _send_statement(self, request: Request[Any], text: str) -> Iterator[_Sent]:
        pgconn = self.connection.pgconn
        query, names = _positional(text, bool(request.parameters))
        values = [request.parameters[name] for name in names]
        parameters = self._transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
        types, formats = self._transformer.types or (), self._transformer.formats
        result_format = pq.Format.BINARY if request.is_wide else pq.Format.TEXT
        key = None if request.is_wide else (query, tuple(types))
        name = None if key is None else self._prepared.get(key)
        if key is not None and name is None:
            self._uses[key] = self._uses.get(key, 0) + 1
            if self._uses[key] >= PREPARE_AT_USE:
                self._names += 1
                name = b"pgix_%d" % self._names
                pgconn.send_prepare(name, query, param_types=types)
                self._prepared[key] = name
                yield _Sent(request, key, prepares=True)
        if name is None:
            pgconn.send_query_params(query, parameters, types, formats, result_format)
        else:
            pgconn.send_query_prepared(name, parameters, formats, result_format)
        yield _Sent(request, key, prepares=False)

    @staticmethod
    def _flush(pgconn: pq.abc.PGconn) -> None:
        """Send what is queued; read meanwhile, because a server that cannot send does not read either."""
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN | select.POLLOUT)
        while pgconn.flush():
            for _, events in poll.poll():
                if events & ~select.POLLOUT:
                    pgconn.consume_input()

    # ------------------------------------------------------------------ receiving

    def _receive(self, pgconn: pq.abc.PGconn, statements: deque[_Sent]) -> Answers:
        """The answers up to the group's Sync. Raises: psycopg.Error when the connection is lost."""
        rows: dict[Request[Any], list[Any]] = {}
        error: psycopg.Error | None = None
        while statements:
            sent = statements.popleft()
            result = _next_result(pgconn)
            if result is None:
                raise _lost(error)
            if result.status == pq.ExecStatus.TUPLES_OK:
                try:
                    rows[sent.request] = self._rows_of(sent.request, result)
                except psycopg.Error as unreadable:
                    error = error or unreadable
            elif result.status != pq.ExecStatus.COMMAND_OK:
                error = error or error_from_result(result, encoding="utf-8")
                self._forget(sent, error)
            # A statement's results end with None.
            while _next_result(pgconn) is not None:
                pass
        synced = _next_result(pgconn)
        if synced is None or synced.status != pq.ExecStatus.PIPELINE_SYNC:
            raise _lost(error)
        return Answers(rows, error)

    def _rows_of(self, request: Request[Row], result: pq.abc.PGresult) -> list[Row]:
        names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
        self._transformer.set_pgresult(result)
        row_type = request.row_type
        return self._transformer.load_rows(
            0, result.ntuples, lambda values: row_type(**dict(zip(names, values, strict=True)))
        )

    def _forget(self, sent: _Sent, error: psycopg.Error) -> None:
        """Prepare this statement again at its next use, if it is not or no longer prepared."""
        if sent.key is not None and (sent.prepares or error.sqlstate in _STALE):
            self._prepared.pop(sent.key, None)


def _lost(error: psycopg.Error | None) -> psycopg.OperationalError:
    """The error of a lost connection. libpq's own have no SQLSTATE, and so no class that says it."""
    return (
        error if isinstance(error, psycopg.OperationalError) else psycopg.OperationalError(str(error or LOST))
    )


def _next_result(pgconn: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """The next result, once it is there."""
    if pgconn.is_busy():
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        while pgconn.is_busy():
            poll.poll()
            try:
                pgconn.consume_input()
            except psycopg.OperationalError:
                # What the server said before it closed the connection is the better reason.
                if pgconn.is_busy():
                    raise
    return pgconn.get_result()


@lru_cache(maxsize=128)
def _positional(text: str, has_parameters: bool) -> tuple[bytes, tuple[str, ...]]:
    """The text with `$1` for psycopg's `%(name)s`, and the names in that order."""
    if not has_parameters:
        return text.encode(), ()
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACEHOLDER.sub(numbered, text).encode(), tuple(names)
