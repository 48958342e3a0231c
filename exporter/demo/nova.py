"""Nova, the sample app that lacks two indexes: its schema and its rows, generated on the server.

Row N of a table always has the same id, and setseed draws the rest: two loads of the same size on the
same server version differ only in the time of the newest row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from exporter.demo.statements import statement

Connection = psycopg.Connection[Any]
Progress = Callable[[int, int], None]

# Posts per message, and messages per user, of the default size.
POSTS_PER_MESSAGE = 2 / 5
MESSAGES_PER_USER = 25
FEWEST_USERS = 20
AUTHORS_PER_USER = 5
BATCH_ROWS = 10_000
SEED = 0.42


@dataclass(frozen=True, slots=True)
class NovaSize:
    """The number of rows of each table. A few preferences are duplicates and count once."""

    users: int
    messages: int
    posts: int

    @property
    def preferences(self) -> int:
        """Rows of user_feed_preferences, duplicates included."""
        return self.users * AUTHORS_PER_USER

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return self.users + self.preferences + self.messages + self.posts


def nova_size(*, messages: int, posts: int | None = None, users: int | None = None) -> NovaSize:
    """Return the size for so many messages, in the proportions of the default size."""
    return NovaSize(
        users=max(FEWEST_USERS, messages // MESSAGES_PER_USER) if users is None else users,
        messages=messages,
        posts=round(messages * POSTS_PER_MESSAGE) if posts is None else posts,
    )


def create_schema(connection: Connection) -> None:
    """Create the four tables with their primary keys in the first schema of the search path."""
    connection.execute(statement("schema"))


def load(
    connection: Connection,
    *,
    messages: int,
    posts: int,
    users: int | None = None,
    on_progress: Progress | None = None,
) -> NovaSize:
    """Fill the tables, add the foreign keys and ANALYZE; `on_progress` gets done rows and all rows.

    The connection is in autocommit: each batch commits, so that a load can stop soon.
    """
    size = nova_size(messages=messages, posts=posts, users=users)
    report = on_progress or (lambda _done, _total: None)
    report(0, size.rows)
    connection.execute("SELECT setseed(%s)", (SEED,))
    connection.execute(statement("texts"))
    done = 0
    try:
        for table, rows, parameters in _batches(size):
            connection.execute(statement(table), parameters)
            done += rows
            report(done, size.rows)
    finally:
        if not connection.closed and not connection.broken:
            connection.execute("DROP TABLE nova_text")
    connection.execute(statement("foreign_keys"))
    # VACUUM sets the hint bits, which would make the first reader slow.
    connection.execute("VACUUM (ANALYZE) users, messages, posts, user_feed_preferences")
    return size


def user_id(rank: int) -> UUID:
    """Return the id of the user of that rank; rank 0 is the heaviest sender and author."""
    return _id(f"nova user {rank}")


def message_id(number: int) -> UUID:
    """Return the id of message N; 0 is the oldest."""
    return _id(f"nova message {number}")


def skewed_rank(users: int, uniform: float) -> int:
    """Return the user rank for a uniform draw from [0, 1), skewed like the senders of the load."""
    return int(users * uniform**3)


def _batches(size: NovaSize) -> Iterator[tuple[str, int, dict[str, int]]]:
    """Yield SQL file, rows and parameters of each statement of the load."""
    tables = (
        ("users", size.users, 1),
        ("user_feed_preferences", size.users, AUTHORS_PER_USER),
        ("messages", size.messages, 1),
        ("posts", size.posts, 1),
    )
    for table, total, rows_each in tables:
        batch = BATCH_ROWS // rows_each
        for first in range(0, total, batch):
            last = min(first + batch, total) - 1
            parameters = {
                "first": first,
                "last": last,
                "total": total,
                "users": size.users,
                "authors": AUTHORS_PER_USER,
            }
            yield table, (last - first + 1) * rows_each, parameters


def _id(text: str) -> UUID:
    return UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
