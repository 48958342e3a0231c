"""Whether a declared query uses its index, and how long it takes: plans and warm runs of a probe.

The text of a manifest is treated as hostile: it is sent by the extended protocol, which takes one statement
only, in a transaction that is read-only and always rolled back, under the search_path of its manifest and a
statement_timeout of the remaining budget.

Own traces: planning a query can read the ends of an index, and a run reads all it needs, so both can raise
idx_scan of the index and seq_scan of its table, even in a transaction that is rolled back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, cast

import psycopg
from psycopg import errors
from psycopg.abc import Buffer, DumperKey
from psycopg.adapt import Dumper, Loader, PyFormat

from exporter.evidence.plan_text import plan_text
from exporter.model import DeclaredIndex, Manifest, Probe, ProbeMeasurement, quote_identifier
from exporter.postgres import ddl
from exporter.postgres.fetching import fetch
from exporter.postgres.target import Connection, first_line, set_session

MAX_SAMPLES = 20
TIMED_RUNS = 10

# Drivers send strings without a type and let the server infer it: text, varchar, bpchar, name, unknown.
_INFERRED_TYPES = frozenset({25, 1043, 1042, 19, 705})
_INFERRED = 0

Parameters = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How a probe is measured. `covered_by` is the equal index that replaces its own. Units: seconds.

    Without `timed` it is planned only.
    """

    search_path: Sequence[str]
    budget_seconds: float
    timed: bool = True
    covered_by: str | None = None


def measure_probes(
    connection: Connection,
    manifest: Manifest,
    *,
    budget_seconds_per_probe: float,
    covered_by: Mapping[str, str] | None = None,
) -> tuple[ProbeMeasurement, ...]:
    """The measurement of every probe of the manifest, in the manifest's order.

    `covered_by` maps a declared index to the equal index under another name that replaces it.
    """
    equal = covered_by or {}
    options = {
        index: ProbeOptions(manifest.search_path, budget_seconds_per_probe, covered_by=equal.get(index.name))
        for index in manifest.indexes
    }
    return tuple(
        measure_probe(connection, index, probe, options[index])
        for index in manifest.indexes
        for probe in index.probes
    )


def measure_probe(
    connection: Connection,
    index: DeclaredIndex,
    probe: Probe,
    options: ProbeOptions,
) -> ProbeMeasurement:
    """How many plans of one probe use the index and how long it takes.

    An error of the server becomes the measurement's reason and detail. A write is planned but not run.
    Parameter sets with a NULL are skipped: no equality matches them. All work together ends after roughly
    the budget.
    """
    blank = ProbeMeasurement(
        index_name=index.name,
        probe=probe.name,
        samples=0,
        samples_using_index=None,
        median_seconds=None,
        runs=0,
        node=None,
        total_cost=None,
    )
    run = _ProbeRun(connection, index, probe, options, time.monotonic() + options.budget_seconds)
    try:
        with _read_only_session(connection, options.search_path):
            return _measure(run, blank)
    except psycopg.Error as error:
        return replace(blank, reason=_reason(error), detail=first_line(error))


@dataclass(frozen=True, slots=True)
class _ProbeRun:
    """One probe while it is measured, and when its budget ends. Units: seconds of the monotonic clock."""

    connection: Connection
    index: DeclaredIndex
    probe: Probe
    options: ProbeOptions
    ends_at_seconds: float

    @property
    def left_seconds(self) -> float:
        return self.ends_at_seconds - time.monotonic()

    def limit(self) -> None:
        """Set the statement_timeout of the transaction to the remaining budget."""
        # 0 would switch the timeout off.
        milliseconds = max(1, round(self.left_seconds * 1000))
        set_session(self.connection, {"statement_timeout": str(milliseconds)}, local=True)


@contextmanager
def _read_only_session(connection: Connection, search_path: Sequence[str]) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        session = {
            "transaction_read_only": "on",
            "search_path": ", ".join(map(quote_identifier, search_path)),
            # The plan for these values, as in EXPLAIN; a generic plan uses no partial index.
            "plan_cache_mode": "force_custom_plan",
        }
        set_session(connection, session, local=True)
        yield


def _measure(run: _ProbeRun, blank: ProbeMeasurement) -> ProbeMeasurement:
    names = {run.index.name} | ({run.options.covered_by} if run.options.covered_by else set())
    relations = _read_relations(run.connection, run.index, names)
    parameter_sets = _sample(run)
    if not parameter_sets:
        return replace(blank, reason="no_sample", detail="the sample returned no row without NULL")
    plans = [_explain(run, parameters) for parameters in parameter_sets]
    planned = replace(
        blank,
        samples=len(plans),
        samples_using_index=sum(_uses_index(plan, relations) for plan in plans),
        node=_node_on_table(plans[0], relations),
        total_cost=plans[0].total_cost,
        plan=plans[0].text,
    )
    return _time(run, parameter_sets, planned) if run.options.timed else planned


# Sample parameters


class _Raw(Loader):
    """Keeps a value as the server wrote it: Python has no infinite timestamp and no year 10000."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of the sample in the server's own text, with the type that the server gave it."""

    text: bytes
    oid: int


class _ValueDumper(Dumper):
    """Binds a sample's value under its own type."""

    def get_key(self, obj: _Value, format: PyFormat) -> DumperKey:
        # psycopg only asks for something hashable; its type allows for classes alone.
        return cast(DumperKey, (_Value, obj.oid))

    def upgrade(self, obj: _Value, format: PyFormat) -> _ValueDumper:
        dumper = _ValueDumper(self.cls)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: _Value) -> bytes:
        return obj.text


def _adapt_raw(cursor: psycopg.Cursor[Any]) -> None:
    cursor.adapters.register_dumper(_Value, _ValueDumper)
    known = {oid for info in cursor.adapters.types for oid in (info.oid, info.array_oid)}
    for oid in known | {_INFERRED}:
        cursor.adapters.register_loader(oid, _Raw)


def _sample(run: _ProbeRun) -> list[Parameters | None]:
    """The distinct parameter sets; [None] if the probe has no parameters."""
    if run.probe.sample is None:
        return [None]
    run.limit()
    # A server-side cursor takes a query only, is declared by the extended protocol, and can stop early.
    with run.connection.cursor("probe_sample", scrollable=False) as cursor:
        _adapt_raw(cursor)
        cursor.execute(ddl.manifest_sql(run.probe.sample))
        rows = cursor.fetchmany(MAX_SAMPLES)
        columns = [(column.name, column.type_code) for column in cursor.description or ()]
    distinct = dict.fromkeys(row for row in rows if None not in row)
    return [
        {
            name: _Value(text, _INFERRED if oid in _INFERRED_TYPES else oid)
            for (name, oid), text in zip(columns, row, strict=True)
        }
        for row in distinct
    ]


def _raw_cursor(connection: Connection) -> psycopg.Cursor[tuple[Any, ...]]:
    """A cursor for `stream()`, which always uses the extended protocol and holds one row at a time."""
    cursor = connection.cursor()
    _adapt_raw(cursor)
    return cursor


# Plans


@dataclass(frozen=True, slots=True)
class _ProbeRelation:
    """A table that the probe may read, and the index to search for there, if it exists."""

    schemaname: str
    relname: str
    indexname: str | None


@dataclass(frozen=True, slots=True)
class _Scan:
    """One plan node that reads a table."""

    label: str
    schemaname: str | None
    relname: str | None
    indexname: str | None

    @property
    def table(self) -> tuple[str | None, str | None]:
        return self.schemaname, self.relname


@dataclass(frozen=True, slots=True)
class _Plan:
    scans: tuple[_Scan, ...]
    total_cost: float | None
    text: str | None


def _read_relations(
    connection: Connection, index: DeclaredIndex, names: Collection[str]
) -> list[_ProbeRelation]:
    parameters = {
        "schemaname": index.table.schemaname,
        "relname": index.table.relname,
        "indexnames": list(names),
    }
    return fetch(connection, "probe_relations", _ProbeRelation, **parameters)


def _explain(run: _ProbeRun, parameters: Parameters | None) -> _Plan:
    run.limit()
    with _raw_cursor(run.connection) as cursor:
        ((text,),) = cursor.stream(ddl.explain(ddl.manifest_sql(run.probe.sql)), parameters)
    # A rule can turn one statement into several plans, a utility statement has none.
    plans = [item["Plan"] for item in json.loads(text.decode(errors="replace")) if "Plan" in item]
    scans = tuple(scan for plan in plans for scan in _scans(plan, None, None))
    shown = "\n".join(map(plan_text, plans)) if plans else None
    return _Plan(scans, plans[0].get("Total Cost") if plans else None, shown)


def _scans(node: Mapping[str, Any], schemaname: str | None, relname: str | None) -> Iterator[_Scan]:
    """The nodes that read a table, depth first.

    A Bitmap Index Scan names its index only: schema and table are those of the Bitmap Heap Scan above it,
    which reads through it and is not counted by itself.
    """
    schemaname, relname = node.get("Schema", schemaname), node.get("Relation Name", relname)
    kind = str(node.get("Node Type"))
    indexname = node.get("Index Name")
    if indexname is not None or ("Relation Name" in node and kind != "Bitmap Heap Scan"):
        label = f"Parallel {kind}" if node.get("Parallel Aware") else kind
        yield _Scan(label, schemaname, relname, indexname)
    for child in node.get("Plans", ()):
        yield from _scans(child, schemaname, relname)


def _index_scans(plan: _Plan, relations: Sequence[_ProbeRelation]) -> Iterator[_Scan]:
    wanted = {(one.schemaname, one.relname, one.indexname) for one in relations}
    for scan in plan.scans:
        if scan.indexname is not None and (*scan.table, scan.indexname) in wanted:
            yield scan


def _uses_index(plan: _Plan, relations: Sequence[_ProbeRelation]) -> bool:
    return any(True for _ in _index_scans(plan, relations))


def _node_on_table(plan: _Plan, relations: Sequence[_ProbeRelation]) -> str | None:
    tables = {(one.schemaname, one.relname) for one in relations}
    others = (scan for scan in plan.scans if scan.table in tables)
    scan = next(_index_scans(plan, relations), None) or next(others, None)
    if scan is None:
        return None
    return scan.label if scan.indexname is None else f"{scan.label} using {scan.indexname}"


# Times


def _time(
    run: _ProbeRun, parameter_sets: Sequence[Parameters | None], planned: ProbeMeasurement
) -> ProbeMeasurement:
    """`planned` with the median of the runs that ended within the budget."""
    cold: list[float] = []
    warm: list[float] = []
    reason = detail = stopped_after_seconds = None
    started_seconds = time.monotonic()
    try:
        for number in range(TIMED_RUNS):
            parameters = parameter_sets[number % len(parameter_sets)]
            if number < len(parameter_sets):
                cold.append(_run(run, parameters))
            if run.left_seconds < max(cold):
                break
            warm.append(_run(run, parameters))
            if run.left_seconds < 2 * max(cold):
                break
    except (errors.QueryCanceled, errors.LockNotAvailable) as error:
        if not cold:
            stopped_after_seconds = time.monotonic() - started_seconds
            reason, detail = "timed_out", f"no run ended within the budget: {first_line(error)}"
    except psycopg.Error as error:
        # It was planned: a write in a read-only transaction, or a value that the query does not accept.
        detail = f"not timed: {first_line(error)}"
    if cold and not warm and detail is None:
        detail = "the budget allowed one run, without a warm-up"
    times = warm or cold
    return replace(
        planned,
        median_seconds=median(times) if times else None,
        runs=len(times),
        reason=reason,
        detail=detail,
        stopped_after_seconds=stopped_after_seconds,
    )


def _run(run: _ProbeRun, parameters: Parameters | None) -> float:
    run.limit()
    with _raw_cursor(run.connection) as cursor:
        started_seconds = time.monotonic()
        for _ in cursor.stream(ddl.manifest_sql(run.probe.sql), parameters):
            pass
        return time.monotonic() - started_seconds


def _reason(error: psycopg.Error) -> str:
    if isinstance(error, errors.InsufficientPrivilege):
        return "not_permitted"
    if isinstance(error, (errors.QueryCanceled, errors.LockNotAvailable)):
        return "timed_out"
    return "failed"
