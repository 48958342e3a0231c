"""What to do about an error of the server, by its SQLSTATE and how far the statement had come. Pure.

The client's error never says where an index stands: the catalogue is asked, and what an attempt left is
removed before anything else. Classified here is only whether to try again, to give up, or to stop the
whole run because its other steps would meet the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """How far a step had come when the error came."""

    LOOKING = "looking"  # connecting, reading the catalogue, taking the lock: nothing was begun
    STARTING = "starting"  # the statement was sent, the catalogue shows nothing of it
    SCANNING = "scanning"  # an index that never was ready: little work is lost, writes were not slowed
    VALIDATING = "validating"  # an index that was ready: nearly all work is lost
    CLEANING = "cleaning"  # dropping what an attempt left
    DROPPING = "dropping"  # dropping a valid index
    ANALYZING = "analyzing"


class Reaction(StrEnum):
    """What to do next, once what was left is removed."""

    RETRY = "retry"
    FAIL = "fail"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Classification:
    """What to do about one error, and what a person can do about its cause.

    `is_shared`: other steps would meet the same, so none is started. `connection_lost`: nobody knows yet what
    the server made of the statement.
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


_AGAIN = "run init again: it goes on from what stands"
_AFTER_FIXING = ", then run init again"
_DECLARATION = "correct the declaration in the manifest" + _AFTER_FIXING
_LOG = "see the server's log for the statement" + _AFTER_FIXING
_DISK = "free space on the server's volume" + _AFTER_FIXING

_LOST = _Rule(Reaction.RETRY, "see why the server or the network went away; " + _AGAIN, connection_lost=True)
_BUSY = _Rule(Reaction.RETRY, "see who holds the lock; " + _AGAIN)
_WRONG = _Rule(Reaction.FAIL, _DECLARATION)
# A program that speaks wrongly to the server: no second try makes it right.
_MISUSED = _Rule(Reaction.FAIL, _LOG)
# Code of the database's own: expressions of an index, event triggers, foreign tables.
_OWN_CODE = _Rule(Reaction.FAIL, "fix what the index's expression or an event trigger did" + _AFTER_FIXING)
_BROKEN = _Rule(Reaction.HALT, "have the server looked after: " + _LOG)

_CLASSES: Mapping[str, _Rule] = {
    "02": _MISUSED,
    "03": _MISUSED,
    "08": _LOST,
    "09": _OWN_CODE,
    "0A": _WRONG,
    "0B": _MISUSED,
    "0F": _MISUSED,
    "0L": _Rule(Reaction.FAIL, "grant what is missing" + _AFTER_FIXING),
    "0P": _Rule(Reaction.FAIL, "correct the role" + _AFTER_FIXING),
    "0Z": _OWN_CODE,
    "10": _OWN_CODE,
    "20": _OWN_CODE,
    "21": _OWN_CODE,
    # An expression of the index refuses a row that the table holds.
    "22": _Rule(Reaction.FAIL, "fix the rows that the index's expression refuses, or the expression"),
    "23": _Rule(Reaction.FAIL, "fix the rows that contradict the index" + _AFTER_FIXING),
    "24": _MISUSED,
    "25": _MISUSED,
    "26": _MISUSED,
    "27": _OWN_CODE,
    "28": _Rule(Reaction.HALT, "check user, password and pg_hba.conf; " + _AGAIN),
    "2B": _WRONG,
    "2D": _OWN_CODE,
    "2F": _OWN_CODE,
    "34": _MISUSED,
    "38": _OWN_CODE,
    "39": _OWN_CODE,
    "3B": _MISUSED,
    "3D": _Rule(Reaction.HALT, "see what became of the database"),
    "3F": _WRONG,
    "40": _Rule(Reaction.RETRY, "see what else changes the table; " + _AGAIN),
    "42": _WRONG,
    "44": _OWN_CODE,
    "53": _Rule(Reaction.HALT, "give the server more of what it lacks" + _AFTER_FIXING),
    "54": _Rule(Reaction.FAIL, "index less of the column: an expression such as md5(…), or a hash index"),
    "55": _Rule(Reaction.FAIL, _LOG),
    "57": _Rule(Reaction.FAIL, "see in the server's log who stopped it; " + _AGAIN),
    "58": _BROKEN,
    "72": _Rule(Reaction.RETRY, _AGAIN),
    "F0": _BROKEN,
    "HV": _OWN_CODE,
    "P0": _OWN_CODE,
    "XX": _BROKEN,
}

_CODES: Mapping[str, _Rule] = {
    # A pooler or a proxy speaks so when it is not PostgreSQL's protocol that it was given.
    "08P01": _Rule(Reaction.HALT, "connect to PostgreSQL itself, not through a pooler", connection_lost=True),
    "23505": _Rule(
        Reaction.FAIL,
        "find the duplicates: SELECT <columns>, count(*) … GROUP BY <columns> HAVING count(*) > 1"
        + _AFTER_FIXING,
    ),
    "25006": _Rule(Reaction.HALT, "connect to the primary, in a session that may write"),
    "25P03": _LOST,
    "25P04": _LOST,
    "40002": _WRONG,
    "42501": _Rule(Reaction.FAIL, "grant what is missing, deploy/sql has the roles" + _AFTER_FIXING),
    "42P07": _Rule(Reaction.FAIL, "see what took the name: `status`"),
    "53100": _Rule(Reaction.HALT, _DISK),
    "53300": _Rule(Reaction.RETRY, "end connections that nobody needs; " + _AGAIN),
    "53400": _Rule(Reaction.HALT, "raise the limit for this role, such as temp_file_limit" + _AFTER_FIXING),
    "55006": _BUSY,
    "55P03": _BUSY,
    # A deadline would pass again, and a cancel was somebody's decision. Before anything is begun it was
    # neither: a role's own short timeout, for instance.
    "57014": _Rule(
        Reaction.FAIL,
        "see who cancelled it, or give it longer: --deadline-seconds; " + _AGAIN,
        {Stage.LOOKING: Reaction.RETRY},
    ),
    "57P01": _LOST,
    "57P02": _LOST,
    "57P03": _LOST,
    "57P04": _Rule(Reaction.HALT, "see what became of the database", connection_lost=True),
    "57P05": _LOST,
    # "cache lookup failed" and "tuple concurrently updated" pass; a whole build is not worth the hope.
    "XX000": _Rule(
        Reaction.FAIL,
        _LOG,
        {
            Stage.LOOKING: Reaction.RETRY,
            Stage.STARTING: Reaction.RETRY,
            Stage.CLEANING: Reaction.RETRY,
            Stage.ANALYZING: Reaction.RETRY,
        },
    ),
}

# The second try of a build that lost nearly all its work is the last, whoever asks for more.
_MOST_ATTEMPTS = {Stage.VALIDATING: 2}
_LONGEST_DELAY_SECONDS = 30.0


def classify(sqlstate: str | None, stage: Stage) -> Classification:
    """What to do about an error of this SQLSTATE at this stage; None where a connection broke without one."""
    rule = _LOST if sqlstate is None else _CODES.get(sqlstate) or _CLASSES.get(sqlstate[:2], _MISUSED)
    reaction = rule.by_stage.get(stage, rule.reaction)
    return Classification(
        reaction,
        rule.hint,
        is_shared=reaction is Reaction.HALT or rule.connection_lost,
        connection_lost=rule.connection_lost,
    )


def is_classified(sqlstate: str) -> bool:
    """True when the SQLSTATE or its class has a rule of its own."""
    return sqlstate in _CODES or sqlstate[:2] in _CLASSES


def attempts_allowed(stage: Stage, max_attempts: int) -> int:
    """How many attempts a step has in all when one failed at this stage."""
    return min(max_attempts, _MOST_ATTEMPTS.get(stage, max_attempts))


def delay_seconds(attempt: int, *, base_seconds: float, jitter: float) -> float:
    """How long to wait after that attempt: doubling, bounded, and between half and all of it by the jitter.

    `jitter` is from 0 to 1, so that runs that failed together do not come back together.
    """
    return min(_LONGEST_DELAY_SECONDS, base_seconds * 2.0 ** (attempt - 1)) * (0.5 + jitter / 2)
