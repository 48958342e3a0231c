"""Builds that stop in a phase of PostgreSQL's own until they are let on.

A gated index calls a function for every value it reads and for every two it compares; in a phase whose gate
is closed the function waits for an advisory lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import TestDatabase
from tests.support.waiting import wait_for

SCANNING = "building index: scanning table"
SORTING = "building index: sorting live tuples"
LOADING = "building index: loading tuples in tree"
WRITERS_AGAIN = "waiting for writers before validation"
VALIDATING = "index validation: scanning table"
# What a gated index is declared on.
COLUMN = "public.gated(id) public.gated_ops"
_FUNCTIONS = """
    CREATE FUNCTION public.gate() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_stat_clear_snapshot();
        PERFORM pg_advisory_xact_lock_shared(hashtext(phase))
        FROM pg_stat_progress_create_index WHERE pid = pg_backend_pid();
    END $$;
    CREATE FUNCTION public.gated(value int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        PERFORM public.gate();
        RETURN value;
    END $$;
    CREATE FUNCTION public.gated_compare(one int, other int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        PERFORM public.gate();
        RETURN btint4cmp(one, other);
    END $$;
    CREATE OPERATOR CLASS public.gated_ops FOR TYPE int USING btree AS
        OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
        FUNCTION 1 public.gated_compare(int, int);
"""


def make_gates(database: TestDatabase) -> None:
    """Makes what a gated index is declared on; every gate is open."""
    database.execute(_FUNCTIONS)


@contextmanager
def closed_gate(database: TestDatabase, phase: str) -> Iterator[None]:
    """Builds of gated indexes wait in that phase until the block is left."""
    with database.connect() as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [phase])
        yield


def wait_for_phase(database: TestDatabase, phase: str) -> int:
    """The process of a build that waits for a lock in that phase, once there is one; '' before it has any."""

    def look() -> int | None:
        rows = database.execute(
            """
            SELECT a.pid
            FROM pg_stat_activity a
            LEFT JOIN pg_stat_progress_create_index p ON p.pid = a.pid
            WHERE a.datname = current_database() AND a.query LIKE 'CREATE INDEX CONCURRENTLY%%'
                AND a.wait_event_type = 'Lock' AND coalesce(p.phase, '') = %s
            """,
            [phase],
        )
        return rows[0][0] if rows else None

    return wait_for(f"a build in the phase {phase!r}", look)
