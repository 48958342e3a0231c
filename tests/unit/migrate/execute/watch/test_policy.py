"""Who may be ended, and when: decided without a server."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.migrate.events import Estimate
from exporter.migrate.execute.watch.policy import (
    Action,
    consequence,
    decide,
    why_cancel_is_useless,
    why_protected,
)
from exporter.migrate.options import BlockerPolicy, Patterns, WaiterPolicy, WatchOptions
from exporter.postgres.builds.progress import BuildProgress
from exporter.postgres.sessions.other_sessions import OtherSession
from tests.support.watched import ALTERING, PREPARED, SCANNING, SESSION, WAITING, observation

EVERYBODY = Patterns(applications=("*",))
TERMINATE = WatchOptions(on_blocker=BlockerPolicy.TERMINATE, patterns=EVERYBODY)
WRAPAROUND = replace(
    SESSION,
    backend_type="autovacuum worker",
    application_name="",
    usename=None,
    prevents_wraparound=True,
    query="autovacuum: VACUUM public.messages (to prevent wraparound)",
)


def actions(
    build: BuildProgress, options: WatchOptions, stalled_seconds: float = 0.0, share: float = 0.1
) -> list[Action]:
    now = observation(build, Estimate(share), stalled_seconds=stalled_seconds)
    return list(decide(now, options, "nova"))


# ------------------------------------------------------------------ who may be ended


@pytest.mark.parametrize(
    ("session", "why"),
    [
        (WRAPAROUND, "process of the server"),
        (replace(WRAPAROUND, prevents_wraparound=False), "process of the server"),
        (replace(SESSION, backend_type="walsender"), "process of the server"),
        (replace(SESSION, backend_type="parallel worker"), "process of the server"),
        (replace(SESSION, backend_type="logical replication worker"), "process of the server"),
        (replace(SESSION, application_name="pg-index-exporter/0badcafe/idx_b"), "of this tool"),
        (replace(SESSION, application_name="pg-index-exporter-control/0badcafe"), "of this tool"),
        (replace(SESSION, application_name="pg-index-exporter"), "of this tool"),
        (replace(SESSION, backend_type=None, backend_start=None), "pg_read_all_stats"),
        (PREPARED, "ROLLBACK PREPARED"),
    ],
)
def test_some_are_never_ended_whatever_matches(session: OtherSession, why: str) -> None:
    assert why in (why_protected(session, EVERYBODY, "nova") or "")
    build = replace(WAITING, blockers=(session,), waiters=(replace(session, mode="AccessExclusiveLock"),))
    options = replace(TERMINATE, on_waiter=WaiterPolicy.CANCEL, waiter_limit_seconds=0.0)
    assert actions(build, options, stalled_seconds=500.0) == []


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_without_a_pattern_nobody_is_ended(application: str, user: str, datname: str) -> None:
    session = replace(SESSION, application_name=application, usename=user)

    assert why_protected(session, Patterns(), datname) is not None


@pytest.mark.parametrize(
    ("patterns", "may_end"),
    [
        (Patterns(applications=("check*",)), True),
        (Patterns(applications=("other", "checkout")), True),
        (Patterns(applications=("CHECKOUT",)), False),
        (Patterns(users=("app",)), True),
        (Patterns(databases=("nov?",)), True),
        (Patterns(applications=("check*",), users=("app",), databases=("nova",)), True),
        (Patterns(applications=("check*",), users=("dba",)), False),
        (Patterns(applications=("check*",), databases=("other",)), False),
    ],
)
def test_every_kind_of_pattern_that_is_given_must_match(patterns: Patterns, may_end: bool) -> None:
    assert (why_protected(SESSION, patterns, "nova") is None) is may_end


def test_a_session_without_a_name_matches_what_matches_everything_only() -> None:
    nameless = replace(SESSION, application_name="")

    assert why_protected(nameless, Patterns(applications=("*",)), "nova") is None
    assert why_protected(nameless, Patterns(applications=("?*",)), "nova") is not None


# ------------------------------------------------------------------ blockers


def test_by_default_everybody_is_waited_for() -> None:
    assert actions(WAITING, WatchOptions(patterns=EVERYBODY), stalled_seconds=599.0) == []


@pytest.mark.parametrize("policy", [BlockerPolicy.CANCEL, BlockerPolicy.TERMINATE])
def test_a_blocker_is_ended_after_the_limit(policy: BlockerPolicy) -> None:
    options = replace(TERMINATE, on_blocker=policy, blocker_limit_seconds=60.0)

    assert actions(WAITING, options, stalled_seconds=59.0) == []
    (action,) = actions(WAITING, options, stalled_seconds=60.0)
    assert (action.session, action.signal) == (SESSION, policy.value)
    assert action.reason == "it has blocked the build for 1 min"


def test_only_those_that_match_are_ended() -> None:
    other = replace(SESSION, pid=98, application_name="report")
    options = replace(TERMINATE, patterns=Patterns(applications=("report",)))

    found = actions(replace(WAITING, blockers=(SESSION, other)), options, stalled_seconds=400.0)
    assert [action.session for action in found] == [other]


def test_a_cancel_does_not_end_an_idle_transaction() -> None:
    assert "only terminate" in (why_cancel_is_useless(SESSION) or "")
    assert why_cancel_is_useless(replace(SESSION, state="active")) is None


# ------------------------------------------------------------------ budgets


@pytest.mark.parametrize(
    ("phase", "budget"),
    [
        ("waiting for the table", "table_budget_seconds"),
        ("waiting for writers before build", "writers_budget_seconds"),
        ("waiting for writers before validation", "writers_budget_seconds"),
        ("waiting for old snapshots", "snapshots_budget_seconds"),
    ],
)
def test_a_build_is_abandoned_when_the_budget_of_its_phase_is_spent(phase: str, budget: str) -> None:
    build = replace(WAITING, phase=phase)
    options = replace(WatchOptions(), **{budget: 90.0})  # type: ignore[arg-type]  # the name is a number of seconds

    assert actions(build, options, stalled_seconds=89.0) == []
    (action,) = actions(build, options, stalled_seconds=90.0)
    assert (action.session, action.is_yield) == (None, False)
    assert action.reason.startswith(f"{phase} for more than 1 min 30 s, last for pid 99, user app, checkout")
    endless = replace(options, **{budget: 0.0})  # type: ignore[arg-type]  # as above
    assert actions(build, endless, stalled_seconds=1e9) == []


def test_work_has_no_budget() -> None:
    assert actions(SCANNING, WatchOptions(), stalled_seconds=1e9) == []


# ------------------------------------------------------------------ waiters


@pytest.mark.parametrize("waiting_seconds", [None, 2.9])
def test_a_waiter_of_a_moment_is_let_wait(waiting_seconds: float | None) -> None:
    build = replace(SCANNING, waiters=(replace(ALTERING, waiting_seconds=waiting_seconds),))

    assert actions(build, WatchOptions(on_waiter=WaiterPolicy.YIELD)) == []


def test_by_default_waiters_are_only_told_of() -> None:
    assert actions(replace(SCANNING, waiters=(ALTERING,)), WatchOptions(patterns=EVERYBODY)) == []


def test_a_build_yields_while_it_has_most_of_its_work_before_it() -> None:
    build = replace(SCANNING, waiters=(ALTERING, replace(ALTERING, pid=101)))
    options = WatchOptions(on_waiter=WaiterPolicy.YIELD)

    (action,) = actions(build, options, share=0.79)
    assert (action.session, action.is_yield) == (None, True)
    assert action.reason.startswith("yielded to pid 100, user dba, psql")
    assert actions(build, options, share=0.8) == []


def test_waiters_that_match_are_cancelled() -> None:
    build = replace(SCANNING, waiters=(ALTERING, replace(ALTERING, pid=101, application_name="other")))
    options = WatchOptions(on_waiter=WaiterPolicy.CANCEL, patterns=Patterns(applications=("psql",)))

    (action,) = actions(build, options)
    assert (action.session, action.signal) == (ALTERING, "cancel")
    assert "readers too" in action.reason


def test_readers_behind_a_waiter_are_never_touched() -> None:
    reader = replace(ALTERING, mode="AccessShareLock")

    for policy in WaiterPolicy:
        options = WatchOptions(on_waiter=policy, patterns=EVERYBODY)
        assert actions(replace(SCANNING, waiters=(reader,)), options) == []


@pytest.mark.parametrize(
    ("session", "told"),
    [
        (ALTERING, "readers too; the build will wait for it at the end, and fail by deadlock"),
        (
            replace(ALTERING, mode="ShareUpdateExclusiveLock"),
            "the build will wait for it at the end, and fail by deadlock",
        ),
        (replace(ALTERING, has_snapshot=False), "readers too"),
        (
            replace(ALTERING, mode="ShareUpdateExclusiveLock", has_snapshot=False),
            "it waits until the build ends",
        ),
    ],
)
def test_what_comes_of_a_waiter_is_told(session: OtherSession, told: str) -> None:
    assert told in consequence(session)
