"""Outcomes, facts and measurements as a run makes them, to be changed by a test where it matters."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from exporter.migrate.plan.steps import analyze_step, build_step, drop_step
from exporter.migrate.verify import verify
from exporter.model import (
    DeclaredIndex,
    Finding,
    IndexEstimate,
    IndexFacts,
    IndexState,
    ObservedIndex,
    Outcome,
    PhaseTime,
    Plan,
    Probe,
    ProbeMeasurement,
    RelationName,
    Step,
    StepKind,
    StepResult,
    StepStatus,
    Verdict,
    Wait,
)
from exporter.text.characters import printable

STARTED_AT = datetime(2026, 8, 20, 14, 3, 11, tzinfo=UTC)
BUILT_AT = STARTED_AT + timedelta(seconds=7)
ANALYZED_AT = STARTED_AT + timedelta(seconds=8)

HISTORY = Probe(
    "message_history",
    "SELECT id FROM messages WHERE sender_id = %(sender_id)s AND deleted_at IS NULL",
    "SELECT sender_id FROM messages LIMIT 20",
    0.010,
)
MESSAGES = DeclaredIndex(
    "idx_messages_sender_created",
    RelationName("public", "messages"),
    ("sender_id", "created_at DESC"),
    where="deleted_at IS NULL",
    max_size_ratio=0.20,
    not_null=("sender_id",),
    probes=(HISTORY,),
)
POSTS = replace(
    MESSAGES,
    name="idx_posts_user_created",
    table=RelationName("public", "posts"),
    columns=("user_id", "created_at DESC"),
    not_null=("user_id",),
    probes=(replace(HISTORY, name="user_timeline"),),
)
# Every character here means something to a terminal, to HTML, to Markdown or to SQL.
ODD = replace(
    MESSAGES,
    name='i`d"x|<b>\n# _x_ \x1b[31m\u202e\\',
    table=RelationName("Odd.Schema", "table | with `ticks` and a ünïcödé\ttail"),
    probes=(replace(HISTORY, name="<script>alert(1)</script>"),),
)


def definition(index: DeclaredIndex) -> str:
    return (
        f"CREATE INDEX {index.name} ON {index.table.quoted} USING btree ({', '.join(index.columns)})"
        " WHERE (deleted_at IS NULL)"
    )


def observed(index: DeclaredIndex, state: IndexState = IndexState.PRESENT, detail: str = "") -> ObservedIndex:
    return ObservedIndex(index, state, definition(index), detail=detail or f"{state.value} as told by a test")


def facts_of(index: ObservedIndex) -> IndexFacts:
    return IndexFacts(
        observed=index,
        indisvalid=True,
        indisready=True,
        size_bytes=20 * 1024 * 1024,
        table_size_bytes=160 * 1024 * 1024,
        table_pages=20_480,
        table_last_analyze=ANALYZED_AT,
    )


def measured_before(index: DeclaredIndex) -> ProbeMeasurement:
    table = printable(index.table.quoted)
    plan = f"Parallel Seq Scan on {table}  (cost=0.00..15342.10 rows=50)\n  Filter: (sender_id = ?)"
    name = index.probes[0].name
    return ProbeMeasurement(index.name, name, 20, 0, 0.084, 10, "Parallel Seq Scan", 15_342.1, plan=plan)


def measured_after(index: DeclaredIndex) -> ProbeMeasurement:
    node = f"Index Scan using {index.name}"
    table = printable(index.table.quoted)
    plan = (
        "Limit  (cost=0.42..193.17 rows=50)\n"
        f"  ->  {printable(node)} on {table}  (cost=0.42..1930.10 rows=500)\n"
        "        Index Cond: (sender_id = ?)"
    )
    return ProbeMeasurement(index.name, index.probes[0].name, 20, 20, 0.00042, 10, node, 193.17, plan=plan)


def result_of(step: Step, status: StepStatus = StepStatus.DONE) -> StepResult:
    return StepResult(step, status, 0.3 if step.kind is StepKind.ANALYZE else 4.2)


def plan_of(*indexes: DeclaredIndex) -> Plan:
    steps = [step for index in indexes for step in (build_step(index), analyze_step(index.table))]
    return Plan("090_quick_win_4_missing_indexes", tuple(steps), (), ())


def outcome_of(plan: Plan, command: str = "init") -> Outcome:
    """A run that did nothing yet."""
    return Outcome(
        command=command,
        run="0f3a9c1d",
        migration=plan.migration,
        datname="nova",
        address="database 'nova' at 127.0.0.1:5432",
        server_version="18.6",
        started_at=STARTED_AT,
        finished_at=STARTED_AT + timedelta(seconds=12.4),
        plan=plan,
    )


def done(*indexes: DeclaredIndex) -> Outcome:
    """A run that built, analyzed and verified the indexes."""
    plan = plan_of(*indexes)
    facts = tuple(facts_of(observed(index, detail="present as declared")) for index in indexes)
    before = tuple(map(measured_before, indexes))
    after = tuple(map(measured_after, indexes))
    phases = (
        PhaseTime("building index: scanning table", 2.5),
        PhaseTime("building index: sorting live tuples", 1.0),
        PhaseTime("index validation: scanning table", 0.5),
    )
    results = [result_of(step) for step in plan.steps]
    return replace(
        outcome_of(plan),
        results=tuple(
            replace(result, phases=phases) if result.step.kind is StepKind.BUILD else result
            for result in results
        ),
        facts=facts,
        before=before,
        after=after,
        findings=verify(facts, before, after, built_at={index.name: BUILT_AT for index in indexes}),
        wal_bytes=52 * 1024 * 1024,
        preflight=tuple(
            Finding(
                "max duration",
                index.relation.quoted,
                Verdict.PASS,
                "ok",
                "about 5.0 s by size alone, the deadline is 24 h",
            )
            for index in indexes
        ),
        estimates=tuple(
            IndexEstimate(index, 24 * 1024 * 1024, 0, 24 * 1024 * 1024, 5.0, 1e6, is_rough=False)
            for index in indexes
        ),
    )


def nothing_to_do() -> Outcome:
    """A second run: everything stands, and is verified again."""
    first = done(MESSAGES, POSTS)
    settled = tuple(facts.observed for facts in first.facts)
    return replace(
        first,
        plan=replace(plan_of(), settled=settled),
        results=(),
        preflight=(),
        estimates=(),
        wal_bytes=None,
    )


def dry_run() -> Outcome:
    return replace(outcome_of(plan_of(MESSAGES, POSTS)), dry_run=True)


def failed() -> Outcome:
    """One table is done; on the other a build was left behind, and what follows was not started."""
    plan = plan_of(MESSAGES, POSTS)
    cleanup = drop_step(MESSAGES, StepKind.DROP_INVALID)
    plan = replace(plan, steps=(cleanup, *plan.steps))
    statuses = (
        StepStatus.DONE,
        StepStatus.DONE,
        StepStatus.DONE,
        StepStatus.LEFT_BEHIND,
        StepStatus.SKIPPED,
    )
    results = [result_of(step, status) for step, status in zip(plan.steps, statuses, strict=True)]
    results[3] = replace(
        results[3],
        attempts=3,
        sqlstate="57014",
        message="canceling statement due to statement timeout; public.idx_posts_user_created is INVALID",
        hint="end the transaction of pid 4711, then run init again",
    )
    results[4] = replace(results[4], message="not started because another step failed")
    return replace(outcome_of(plan), results=tuple(results))


def found_wanting() -> Outcome:
    """Built, but the criteria are not all met: too large, half of the plans, no baseline, a NULL."""
    first = done(MESSAGES, POSTS)
    messages, posts = first.facts
    facts = (
        replace(
            messages, size_bytes=60 * 1024 * 1024, unproven=("sender_id",), table_last_analyze=STARTED_AT
        ),
        replace(posts, nullable=("user_id",)),
    )
    stopped = replace(
        first.before[0], median_seconds=None, runs=0, reason="timed_out", stopped_after_seconds=15.0
    )
    after = (
        replace(first.after[0], samples_using_index=11, median_seconds=0.0161),
        replace(
            first.after[1],
            samples=0,
            samples_using_index=None,
            median_seconds=None,
            runs=0,
            node=None,
            reason="not_permitted",
            detail="permission denied for table posts",
        ),
    )
    before = (stopped,)
    built = {MESSAGES.name: BUILT_AT}
    return replace(
        first, facts=facts, before=before, after=after, findings=verify(facts, before, after, built_at=built)
    )


def refused() -> Outcome:
    """Nothing is built: one name is taken, the other index is being built by somebody else."""
    taken = replace(
        observed(MESSAGES, IndexState.CONFLICT, "the index of that name has another definition"),
        found_definition="CREATE INDEX idx_messages_sender_created ON public.messages USING btree (id)",
    )
    building = observed(POSTS, IndexState.BUILDING_FOREIGN, "being built by pid 4711, user dba, psql")
    return outcome_of(replace(plan_of(), refused=(taken, building)))


def rolled_back() -> Outcome:
    steps = (
        drop_step(MESSAGES, StepKind.DROP),
        analyze_step(MESSAGES.table),
    )
    settled = (observed(POSTS, IndexState.PRESENT, "present as declared"),)
    plan = replace(plan_of(), steps=steps, settled=settled)
    return replace(outcome_of(plan, "rollback"), results=tuple(map(result_of, steps)))


def degraded() -> Outcome:
    """A drop that was cancelled while it waited for a reader: a valid index is INVALID now."""
    first = rolled_back()
    drop, _ = first.results
    wait = Wait(
        "waiting for readers",
        41.5,
        4711,
        "reporting",
        "nightly | <report>",
        "SELECT count(*) FROM messages WHERE note = $1",
    )
    stopped = replace(
        drop,
        status=StepStatus.DEGRADED,
        seconds=42.1,
        waits=(replace(wait, seconds=0.6, pid=None, usename=None, application_name=None, query=None), wait),
        sqlstate="57014",
        message="the drop stopped half-way, public.idx_messages_sender_created is INVALID now: no query may "
        "use it; canceling statement due to user request",
        hint="end what blocks it, then run rollback again: it finishes the drop; or init: it builds it anew",
    )
    return replace(first, results=(stopped,))
