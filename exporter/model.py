"""The nouns that travel between rooms: frozen, without behaviour beyond derived properties.

Names follow PostgreSQL's catalogues; every measured value carries its unit in its name. `None` means
"not known" everywhere and is never replaced by zero. One long module, so that every
noun is found in one place; it imports nothing but secrets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from exporter.secret import SecretStr

WatchAll = Literal["all"]
WatchDeclared = Literal["declared"]


@dataclass(frozen=True, slots=True, order=True)
class RelationName:
    """A schema and a relation in it, both unquoted, as the catalogue stores them."""

    schemaname: str
    relname: str

    @property
    def quoted(self) -> str:
        """The name as SQL writes it: each part quoted where PostgreSQL would need it."""
        return f"{quote_identifier(self.schemaname)}.{quote_identifier(self.relname)}"


def quote_identifier(name: str) -> str:
    """The identifier as people read it: bare when plain lower case, else in double quotes."""
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower()
    if plain and not name[0].isdigit():
        return name
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Probe:
    """A query that an index exists for, with a query that finds sample parameters for it.

    `sql` uses psycopg's named placeholders (`%(sender_id)s`); `sample` returns columns of those names.
    """

    name: str
    sql: str
    sample: str | None
    max_seconds: float | None


class Role(StrEnum):
    """What an index is for; only `read` indexes are expected to be scanned."""

    READ = "read"
    CONSTRAINT = "constraint"
    FOREIGN_KEY = "fk"
    REPLICA_IDENTITY = "replica_identity"
    STATISTICS = "statistics"
    SEASONAL = "seasonal"


@dataclass(frozen=True, slots=True)
class DeclaredIndex:
    """An index as its manifest names it. `columns`, `include`, `where` and `options` are SQL text."""

    name: str
    table: RelationName
    columns: tuple[str, ...]
    method: str = "btree"
    unique: bool = False
    nulls_not_distinct: bool = False
    include: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    tablespace: str | None = None
    where: str | None = None
    max_size_ratio: float | None = None
    not_null: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    role: Role = Role.READ

    @property
    def relation(self) -> RelationName:
        """The index's own name: PostgreSQL puts an index into the schema of its table."""
        return RelationName(self.table.schemaname, self.name)


BACKUP_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class BackupCommand:
    """What proves, by its exit code 0, that there is a backup: words of a program, run without a shell.

    Units: seconds.
    """

    words: tuple[str, ...]
    timeout_seconds: float = BACKUP_TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Manifest:
    """The indexes of one migration. `analyze` and `search_path` are unquoted names.

    `is_partial`: a run is limited to some of the declared indexes, and the others are not among `indexes`.
    """

    path: str
    migration: str
    search_path: tuple[str, ...]
    analyze: tuple[RelationName, ...]
    indexes: tuple[DeclaredIndex, ...]
    backup: BackupCommand | None = None
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a target: how to connect, what is declared in it and what else is watched.

    `conninfo` is a libpq connection string and may hold a password. `watch` is "declared", "all", or
    shell patterns over `schemaname.indexname`.
    """

    datname: str
    conninfo: SecretStr
    manifests: tuple[Manifest, ...] = ()
    watch: WatchDeclared | WatchAll | tuple[str, ...] = "declared"

    @property
    def declared(self) -> tuple[DeclaredIndex, ...]:
        """Every declared index of every manifest bound to this database."""
        return tuple(index for manifest in self.manifests for index in manifest.indexes)


@dataclass(frozen=True, slots=True)
class DatabasePattern:
    """Databases known by a shell pattern over their names, and what belongs to each that matches.

    `exclude` are patterns over names that are not taken. The rest is as in a Database.
    """

    pattern: str
    exclude: tuple[str, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    watch: WatchDeclared | WatchAll | tuple[str, ...] = "declared"


@dataclass(frozen=True, slots=True)
class ServerDisk:
    """The disk of a server: its data directory as visible from here, and the free space.

    `free_bytes` is given by tablespace, with the empty name for that of the database, and for pg_wal. Units:
    bytes.
    """

    data_directory: Path | None = None
    free_bytes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One PostgreSQL server by its name in the settings, with its databases.

    `databases` are those with a name. Which ones match `patterns` is for the server to say: it is asked in
    `maintenance`, which is set where there are patterns.
    """

    name: str
    databases: tuple[Database, ...]
    patterns: tuple[DatabasePattern, ...] = ()
    maintenance: Database | None = None
    disk: ServerDisk = ServerDisk()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself. Source: pg_control_system(), pg_is_in_recovery(), pg_extension."""

    server_version_num: int
    server_version: str
    system_identifier: str | None
    in_recovery: bool
    statements_version: str | None


class Verdict(StrEnum):
    """The verdict of one criterion; `warn` does not stop a run."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One criterion with its verdict: what was found and, unless it passed, what to do next.

    `facts` are the figures behind it by their names, with units in those.
    """

    criterion: str
    subject: str
    verdict: Verdict
    reason: str
    found: str
    hint: str | None = None
    facts: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class IndexEstimate:
    """Upper bounds of one build. `is_rough` without a measured formula.

    Units: bytes, seconds, rows.
    """

    index: DeclaredIndex
    index_bytes: int
    temporary_bytes: int
    wal_bytes: int
    seconds: float
    row_count: float
    is_rough: bool


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the preflight of one migration in one database found."""

    migration: str
    datname: str
    address: str
    server_version: str
    checked_at: datetime
    findings: tuple[Finding, ...]


class IndexState(StrEnum):
    """State of a declared index in the catalogue, regardless of the journal.

    DEGRADED: it was valid, and a drop by this tool that stopped half-way left it INVALID.
    """

    ABSENT = "absent"
    PRESENT = "present"
    COVERED = "covered"
    CONFLICT = "conflict"
    INCOMPLETE = "incomplete"
    INVALID_OURS = "invalid_ours"
    INVALID_FOREIGN = "invalid_foreign"
    BUILDING_OURS = "building_ours"
    BUILDING_FOREIGN = "building_foreign"
    DROPPING_OURS = "dropping_ours"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class ObservedIndex:
    """A declared index held against the catalogue.

    `definition` is the canonical form of the declaration (pg_get_indexdef on an empty clone),
    `found_definition` that of the existing relation, `detail` the state in words;
    `indisready` is None if no index of the table has the name. Of a partitioned table's index, which
    `is_partitioned`, `partitions` are the indexes that the tables below must have, those of a table before
    those of its partitions.
    """

    declared: DeclaredIndex
    state: IndexState
    definition: str
    found_definition: str | None = None
    covered_by: str | None = None
    builder_pid: int | None = None
    detail: str = ""
    indexrelid: int | None = None
    relid: int | None = None
    indisready: bool | None = None
    is_partitioned: bool = False
    partitions: tuple[ObservedPartition, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedPartition:
    """The index that one table below a partitioned one must have, held against the catalogue.

    `parent` is the index of the table directly above, to which it is to be attached. Units: blocks.
    """

    observed: ObservedIndex
    parent: RelationName
    is_attached: bool
    relpages: int

    @property
    def index(self) -> DeclaredIndex:
        """The index to attach: the existing one if an equal one has another name."""
        declared = self.observed.declared
        covered_by = self.observed.covered_by
        return declared if covered_by is None else replace(declared, name=covered_by)


@dataclass(frozen=True, slots=True)
class ProbeMeasurement:
    """What one probe showed in one moment: how often its plans used the index, how long it took.

    `samples` counts the parameter sets tried, `samples_using_index` those whose plan named the index.
    `median_seconds` is the median of warm runs, None when none finished within the budget;
    `node` is the plan node that read the table for the first sample, `plan` that whole plan as text without
    constants. `reason` is set when nothing could
    be measured: no_sample, not_permitted, timed_out, failed: the server's words follow in `detail`.
    `stopped_after_seconds` is how long the first run lasted when the budget ended it: it takes longer.
    """

    index_name: str
    probe: str
    samples: int
    samples_using_index: int | None
    median_seconds: float | None
    runs: int
    node: str | None
    total_cost: float | None
    reason: str | None = None
    detail: str | None = None
    stopped_after_seconds: float | None = None
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What the catalogue says of a declared index after a build.

    Units: bytes. Source: pg_index, pg_relation_size(indexrelid), pg_table_size(indrelid), pg_attribute.
    `nullable` lists the not_null columns in which a NULL was found, `unproven` those not decided in time.
    """

    observed: ObservedIndex
    indisvalid: bool | None
    indisready: bool | None
    size_bytes: int | None
    table_size_bytes: int | None
    table_pages: int | None
    table_last_analyze: datetime | None
    nullable: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()


class StepKind(StrEnum):
    """What a step does."""

    BUILD = "build"
    ADOPT = "adopt"
    DROP_INVALID = "drop_invalid"
    DROP_LEFTOVER = "drop_leftover"
    DROP = "drop"
    CREATE_PARENT = "create_parent"
    ATTACH = "attach"
    DROP_PARENT = "drop_parent"
    ANALYZE = "analyze"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: its SQL for people to read, the lock it takes, when it is done and its undo.

    Steps of one `table` run in order; tables are independent of each other. `parent` is set where the
    index belongs to a partition: the index to which it is, or will be, attached.
    """

    kind: StepKind
    table: RelationName
    index: DeclaredIndex | None
    sql: str
    lock: str
    done_when: str
    undo: str | None
    parent: RelationName | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered steps of one migration in one database, and what needs none or cannot be done.

    `settled` are indexes already as declared or covered, `refused` those that need a person's decision.
    """

    migration: str
    steps: tuple[Step, ...]
    settled: tuple[ObservedIndex, ...]
    refused: tuple[ObservedIndex, ...]


class StepStatus(StrEnum):
    """How a step ended."""

    DONE = "done"
    FAILED = "failed"
    LEFT_BEHIND = "left_behind"
    DEGRADED = "degraded"
    HALTED = "halted"
    SKIPPED = "skipped"
    DETACHED = "detached"


class OnFailure(StrEnum):
    """What becomes of the other steps when one fails."""

    STOP_LAUNCHING = "stop-launching"  # what runs goes on to its end, nothing new is started
    CONTINUE = "continue"  # everything else is tried too
    CANCEL_ALL = "cancel-all"  # what runs is cancelled and cleaned up


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """How long a build was seen in one phase. Units: seconds."""

    phase: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A session that a step waited for in one phase, and for how long it was seen to.

    `pid` is None for a prepared transaction; `query` is cut. What belongs to another role's session is
    None without pg_read_all_stats. Units: seconds.
    """

    phase: str
    seconds: float
    pid: int | None
    usename: str | None = None
    application_name: str | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step. `sqlstate` and `message` are the server's, when it refused."""

    step: Step
    status: StepStatus
    seconds: float
    attempts: int = 1
    phases: tuple[PhaseTime, ...] = ()
    waits: tuple[Wait, ...] = ()
    sqlstate: str | None = None
    message: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything one run of init, verify or rollback did and found; the report is made of nothing else.

    `estimates` are of the indexes that were to be built. `wal_bytes` is what the whole server wrote to its
    log while the steps ran, None where that is not known.
    """

    command: str
    run: str
    migration: str
    datname: str
    address: str
    server_version: str
    started_at: datetime
    finished_at: datetime
    plan: Plan
    results: tuple[StepResult, ...] = ()
    facts: tuple[IndexFacts, ...] = ()
    before: tuple[ProbeMeasurement, ...] = ()
    after: tuple[ProbeMeasurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    dry_run: bool = False
    preflight: tuple[Finding, ...] = ()
    estimates: tuple[IndexEstimate, ...] = ()
    wal_bytes: int | None = None
