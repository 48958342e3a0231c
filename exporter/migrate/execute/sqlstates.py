"""The reaction to an error of the server, by its SQLSTATE and how far the statement had come. Pure.

The client's error never decides the state of an index: the catalogue does, and what an attempt left is
removed first. Decided here is only whether to try again, to fail the step, or to halt the run, because its
other steps would meet the same error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """How far a step had come when the error occurred."""

    PREPARING = "preparing"  # connecting, reading the catalogue, locking: nothing was started
    STARTING = "starting"  # the statement was sent, the catalogue shows nothing of it
    SCANNING = "scanning"  # an index that was never ready: little work is lost, writes were not slowed
    VALIDATING = "validating"  # an index that was ready: nearly all work is lost
    CLEANING = "cleaning"  # dropping what an attempt left
    DROPPING = "dropping"  # dropping a valid index
    ANALYZING = "analyzing"


class Reaction(StrEnum):
    """What to do after an error, once what the attempt left is removed."""

    RETRY = "retry"
    FAIL = "fail"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Classification:
    """The reaction to one error, and a hint that says how to remove its cause.

    `is_shared`: other steps would meet the same error, so none is started. `connection_lost`: it is unknown
    whether the server finished the statement.
    """

    reaction: Reaction
    hint: str
    is_shared: bool = False
    connection_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    reaction: Reaction
    hint: str
    by_stage: Mapping[Stage, Reaction] = field(default_factory=dict)
    connection_lost: bool = False


_RERUN = "run the same command again: finished steps are skipped"
_THEN_RERUN = ", then run the same command again"
_CHECK_DATABASE = "check whether the database was dropped, renamed or closed to connections" + _THEN_RERUN

_LOST = _Rule(
    Reaction.RETRY,
    "find out why the server or the network went away" + _THEN_RERUN,
    connection_lost=True,
)
_BUSY = _Rule(Reaction.RETRY, "find the session that holds the lock and let it end" + _THEN_RERUN)
_WRONG = _Rule(Reaction.FAIL, "correct the declaration in the manifest" + _THEN_RERUN)
# An error in this program's use of the server: another attempt would meet it again.
_MISUSED = _Rule(Reaction.FAIL, "look for the statement in the server's log" + _THEN_RERUN)
# Code in the database: expressions of an index, event triggers, foreign tables.
_OWN_CODE = _Rule(
    Reaction.FAIL, "correct the index expression or the event trigger that failed" + _THEN_RERUN
)
_BROKEN = _Rule(Reaction.HALT, "check the server, its disks and its log for damage" + _THEN_RERUN)

_CLASSES: Mapping[str, _Rule] = {
    "02": _MISUSED,
    "03": _MISUSED,
    "08": _LOST,
    "09": _OWN_CODE,
    "0A": _WRONG,
    "0B": _MISUSED,
    "0F": _MISUSED,
    "0L": _Rule(Reaction.FAIL, "grant the missing right" + _THEN_RERUN),
    "0P": _Rule(Reaction.FAIL, "correct the role" + _THEN_RERUN),
    "0Z": _OWN_CODE,
    "10": _OWN_CODE,
    "20": _OWN_CODE,
    "21": _OWN_CODE,
    # An expression of the index fails for a row of the table.
    "22": _Rule(
        Reaction.FAIL,
        "correct the rows for which the index expression fails, or the expression" + _THEN_RERUN,
    ),
    "23": _Rule(Reaction.FAIL, "correct the rows that violate the index" + _THEN_RERUN),
    "24": _MISUSED,
    "25": _MISUSED,
    "26": _MISUSED,
    "27": _OWN_CODE,
    "28": _Rule(Reaction.HALT, "check user, password and pg_hba.conf" + _THEN_RERUN),
    "2B": _WRONG,
    "2D": _OWN_CODE,
    "2F": _OWN_CODE,
    "34": _MISUSED,
    "38": _OWN_CODE,
    "39": _OWN_CODE,
    "3B": _MISUSED,
    "3D": _Rule(Reaction.HALT, _CHECK_DATABASE),
    "3F": _WRONG,
    "40": _Rule(Reaction.RETRY, "find out what else changes the table" + _THEN_RERUN),
    "42": _WRONG,
    "44": _OWN_CODE,
    "53": _Rule(Reaction.HALT, "give the server more of the resource that it lacks" + _THEN_RERUN),
    "54": _Rule(
        Reaction.FAIL,
        "index less of the column, by an expression such as md5(column) or a hash index" + _THEN_RERUN,
    ),
    "55": _MISUSED,
    "57": _Rule(Reaction.FAIL, "look in the server's log for what stopped the statement" + _THEN_RERUN),
    "58": _BROKEN,
    "72": _Rule(Reaction.RETRY, _RERUN),
    "F0": _BROKEN,
    "HV": _OWN_CODE,
    "P0": _OWN_CODE,
    "XX": _BROKEN,
}

_CODES: Mapping[str, _Rule] = {
    # The error of a pooler or proxy that does not pass on the whole protocol.
    "08P01": _Rule(
        Reaction.HALT,
        "connect to PostgreSQL itself, not through a pooler" + _THEN_RERUN,
        connection_lost=True,
    ),
    "23505": _Rule(
        Reaction.FAIL,
        "delete or merge the duplicate rows: those with the same values in all columns of the index"
        + _THEN_RERUN,
    ),
    "25006": _Rule(
        Reaction.HALT, "connect to the primary, with a role whose sessions may write" + _THEN_RERUN
    ),
    "25P03": _LOST,
    "25P04": _LOST,
    "40002": _WRONG,
    "42501": _Rule(Reaction.FAIL, "grant the missing right (deploy/sql has the roles)" + _THEN_RERUN),
    "42P07": _Rule(
        Reaction.FAIL,
        "run `status` to see which relation has the name, rename it or the declared index" + _THEN_RERUN,
    ),
    "53100": _Rule(Reaction.HALT, "free space on the server's volume" + _THEN_RERUN),
    "53300": _Rule(Reaction.RETRY, "close unused connections or raise max_connections" + _THEN_RERUN),
    "53400": _Rule(Reaction.HALT, "raise the limit for this role, such as temp_file_limit" + _THEN_RERUN),
    "55006": _BUSY,
    "55P03": _BUSY,
    # The deadline would pass again, and a cancel was a person's decision. Before anything was started it was
    # neither, but for instance a short timeout of the role.
    "57014": _Rule(
        Reaction.FAIL,
        "find out who cancelled it, or raise --deadline-seconds" + _THEN_RERUN,
        {Stage.PREPARING: Reaction.RETRY},
    ),
    "57P01": _LOST,
    "57P02": _LOST,
    "57P03": _LOST,
    "57P04": _Rule(Reaction.HALT, _CHECK_DATABASE, connection_lost=True),
    "57P05": _LOST,
    # "cache lookup failed" and "tuple concurrently updated" are temporary, but a whole build may not be lost
    # to another kind of internal error twice.
    "XX000": _Rule(
        Reaction.FAIL,
        "look for the error in the server's log" + _THEN_RERUN,
        {
            Stage.PREPARING: Reaction.RETRY,
            Stage.STARTING: Reaction.RETRY,
            Stage.CLEANING: Reaction.RETRY,
            Stage.ANALYZING: Reaction.RETRY,
        },
    ),
}

# A build that lost nearly all its work has one more attempt, also if more are allowed.
_MOST_ATTEMPTS = {Stage.VALIDATING: 2}
_LONGEST_DELAY_SECONDS = 30.0


def classify(sqlstate: str | None, stage: Stage) -> Classification:
    """Return the reaction to an error of this SQLSTATE at this stage; None for a broken connection."""
    rule = _LOST if sqlstate is None else _CODES.get(sqlstate) or _CLASSES.get(sqlstate[:2], _MISUSED)
    reaction = rule.by_stage.get(stage, rule.reaction)
    return Classification(
        reaction,
        rule.hint,
        is_shared=reaction is Reaction.HALT or rule.connection_lost,
        connection_lost=rule.connection_lost,
    )


def is_classified(sqlstate: str) -> bool:
    """Return True if there is a rule for the SQLSTATE or its class."""
    return sqlstate in _CODES or sqlstate[:2] in _CLASSES


def attempts_allowed(stage: Stage, max_attempts: int) -> int:
    """Return how many attempts a step has in all after one failed at this stage."""
    return min(max_attempts, _MOST_ATTEMPTS.get(stage, max_attempts))


def delay_seconds(attempt: int, *, base_seconds: float, jitter: float) -> float:
    """Return how long to wait after that attempt: doubled each time, bounded, and reduced by up to half.

    `jitter` from 0 to 1 reduces less: runs that failed at the same time do not try again at the same time.
    """
    return min(_LONGEST_DELAY_SECONDS, base_seconds * 2.0 ** (attempt - 1)) * (0.5 + jitter / 2)
