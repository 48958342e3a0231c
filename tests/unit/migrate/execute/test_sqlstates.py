"""Every error that a server can give has a reaction, and the dangerous ones the right one."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.migrate.execute.sqlstates import (
    Reaction,
    Stage,
    attempts_allowed,
    classify,
    delay_seconds,
    is_classified,
)

KNOWN = sorted(
    {
        error.sqlstate
        for error in vars(psycopg.errors).values()
        if isinstance(error, type) and issubclass(error, psycopg.Error) and error.sqlstate
    }
)
STAGES = tuple(Stage)


def test_psycopg_knows_the_whole_table() -> None:
    assert len(KNOWN) > 250


def test_every_error_is_classified_and_says_what_to_do_at_every_stage() -> None:
    assert [sqlstate for sqlstate in KNOWN if not is_classified(sqlstate)] == []
    assert all(classify(sqlstate, stage).hint for sqlstate in KNOWN for stage in STAGES)


def test_an_error_of_a_server_to_come_fails_without_a_retry() -> None:
    assert not is_classified("ZZ123")
    assert {classify("ZZ123", stage).reaction for stage in STAGES} == {Reaction.FAIL}


@pytest.mark.parametrize(
    ("sqlstate", "reaction"),
    [
        # What the server or the network did; the same statement may succeed a moment later.
        (None, Reaction.RETRY),
        ("08006", Reaction.RETRY),
        ("40001", Reaction.RETRY),
        ("40P01", Reaction.RETRY),
        ("53300", Reaction.RETRY),
        ("55006", Reaction.RETRY),
        ("55P03", Reaction.RETRY),
        ("57P01", Reaction.RETRY),
        ("57P02", Reaction.RETRY),
        ("57P03", Reaction.RETRY),
        # What no second try changes.
        ("0A000", Reaction.FAIL),
        ("22012", Reaction.FAIL),
        ("23505", Reaction.FAIL),
        ("42501", Reaction.FAIL),
        ("42703", Reaction.FAIL),
        ("42P07", Reaction.FAIL),
        ("42P17", Reaction.FAIL),
        ("54000", Reaction.FAIL),
        ("57014", Reaction.FAIL),
        ("P0001", Reaction.FAIL),
        # What the other steps would meet too.
        ("25006", Reaction.HALT),
        ("28P01", Reaction.HALT),
        ("3D000", Reaction.HALT),
        ("53100", Reaction.HALT),
        ("53200", Reaction.HALT),
        ("53400", Reaction.HALT),
        ("57P04", Reaction.HALT),
        ("58030", Reaction.HALT),
        ("58P01", Reaction.HALT),
        ("XX001", Reaction.HALT),
        ("XX002", Reaction.HALT),
    ],
)
def test_reactions_to_a_failed_build(sqlstate: str | None, reaction: Reaction) -> None:
    building = (Stage.STARTING, Stage.SCANNING, Stage.VALIDATING)

    assert {classify(sqlstate, stage).reaction for stage in building} == {reaction}


def test_a_cancel_before_anything_was_begun_is_tried_again_and_no_other() -> None:
    again = {stage for stage in STAGES if classify("57014", stage).reaction is Reaction.RETRY}

    assert again == {Stage.PREPARING}


def test_an_internal_error_never_costs_a_second_build() -> None:
    again = {stage for stage in STAGES if classify("XX000", stage).reaction is Reaction.RETRY}

    assert not again & {Stage.SCANNING, Stage.VALIDATING, Stage.DROPPING}


def test_what_halts_is_shared_and_what_is_lost_is_never_just_failed() -> None:
    for sqlstate in KNOWN:
        for stage in STAGES:
            classification = classify(sqlstate, stage)
            assert classification.is_shared or classification.reaction is not Reaction.HALT
            assert not (classification.connection_lost and classification.reaction is Reaction.FAIL)


def test_a_build_that_lost_all_its_work_has_one_more_try() -> None:
    assert attempts_allowed(Stage.VALIDATING, 5) == 2
    assert attempts_allowed(Stage.SCANNING, 5) == 5
    assert attempts_allowed(Stage.VALIDATING, 1) == 1


@given(attempt=st.integers(1, 60), jitter=st.floats(0, 1), base=st.floats(0.001, 10))
def test_delays_grow_and_are_bounded(attempt: int, jitter: float, base: float) -> None:
    delay = delay_seconds(attempt, base_seconds=base, jitter=jitter)

    assert 0 <= delay <= 30
    assert delay <= delay_seconds(attempt + 1, base_seconds=base, jitter=jitter)
    assert (
        delay
        <= delay_seconds(attempt, base_seconds=base, jitter=1)
        <= 2 * delay_seconds(attempt, base_seconds=base, jitter=0)
    )
