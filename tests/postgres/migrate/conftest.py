"""A small database to build on."""

import pytest

from tests.conftest import TestDatabase


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    """A database with the tables messages (1,000 rows, 10 senders) and posts (500 rows)."""
    database.execute(
        """
        CREATE TABLE messages AS
        SELECT g AS id, g % 10 AS sender_id, md5(g::text) AS content, 'open'::text AS status,
            now() - g * interval '1 minute' AS created_at, NULL::timestamptz AS deleted_at
        FROM generate_series(1, 1000) g
        """
    )
    database.execute("CREATE TABLE posts AS SELECT * FROM messages WHERE id <= 500")
    database.execute("ANALYZE")
    return database
