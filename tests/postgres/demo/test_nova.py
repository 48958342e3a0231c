"""The shape of Nova's data: what the demo, the probes and other tests rely on."""

from exporter.demo import nova
from tests.conftest import TestDatabase

TABLES = ("users", "messages", "posts", "user_feed_preferences")
COUNT = "SELECT count(*) FROM "
SHAPE = """
    SELECT md5(string_agg(r.id::text || r.sender_id || r.content || (r.deleted_at IS NULL), '' ORDER BY id))
    FROM messages AS r
"""


def _count(database: TestDatabase, table: str) -> int:
    return int(database.execute(COUNT + table)[0][0])


def test_every_table_has_the_rows_of_its_size(nova_database: TestDatabase) -> None:
    size = nova.nova_size(messages=20_000, posts=8_000)

    assert _count(nova_database, "users") == size.users == 800
    assert _count(nova_database, "messages") == 20_000
    assert _count(nova_database, "posts") == 8_000
    # A user may draw one author twice.
    assert size.preferences * 0.9 < _count(nova_database, "user_feed_preferences") <= size.preferences


def test_texts_are_200_bytes_and_more_on_average(nova_database: TestDatabase) -> None:
    for table in ("messages", "posts"):
        ((average,),) = nova_database.execute(f"SELECT avg(octet_length(content)) FROM {table}")
        assert average >= 200


def test_one_row_in_twenty_is_deleted_after_it_was_written(nova_database: TestDatabase) -> None:
    for table in ("messages", "posts"):
        ((share, early),) = nova_database.execute(
            f"""SELECT avg((deleted_at IS NOT NULL)::int), count(*) FILTER (WHERE deleted_at < created_at)
            FROM {table}"""
        )
        assert 0.04 < share < 0.06
        assert early == 0


def test_few_users_write_much_and_most_little(nova_database: TestDatabase) -> None:
    for table, column in (("messages", "sender_id"), ("posts", "user_id")):
        counts = [
            count
            for _, count in nova_database.execute(
                f"SELECT {column}, count(*) FROM {table} GROUP BY {column} ORDER BY count(*) DESC"
            )
        ]
        heaviest_hundredth = sum(counts[:8]) / sum(counts)
        assert 0.15 < heaviest_hundredth < 0.30
        # Most users, those who wrote nothing included, stay far below the average.
        median = (counts + [0] * (800 - len(counts)))[400]
        assert median < sum(counts) / 800 * 0.8


def test_rank_0_is_the_heaviest_and_message_0_the_oldest(nova_database: TestDatabase) -> None:
    ((heaviest,),) = nova_database.execute(
        "SELECT sender_id FROM messages GROUP BY sender_id ORDER BY count(*) DESC LIMIT 1"
    )
    ((oldest,),) = nova_database.execute("SELECT id FROM messages ORDER BY created_at LIMIT 1")

    assert heaviest == nova.user_id(0)
    assert oldest == nova.message_id(0)


def test_rows_lie_in_the_order_of_their_time(nova_database: TestDatabase) -> None:
    for table in ("messages", "posts"):
        ((correlation,),) = nova_database.execute(
            "SELECT correlation FROM pg_stats WHERE tablename = %s AND attname = 'created_at'", (table,)
        )
        assert correlation > 0.99


def test_there_is_no_index_beyond_the_primary_keys(nova_database: TestDatabase) -> None:
    indexes = nova_database.execute(
        """SELECT relname, indisprimary FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
        ORDER BY relname"""
    )

    assert indexes == [(table, True) for table in sorted(TABLES)]


def test_foreign_keys_to_users_are_there_and_hold(nova_database: TestDatabase) -> None:
    keys = nova_database.execute(
        """SELECT conrelid::regclass::text, count(*) FROM pg_constraint
        WHERE contype = 'f' AND convalidated AND confrelid = 'users'::regclass GROUP BY 1 ORDER BY 1"""
    )

    assert keys == [("messages", 2), ("posts", 1), ("user_feed_preferences", 2)]


def test_every_table_has_been_analyzed(nova_database: TestDatabase) -> None:
    for table in TABLES:
        ((reltuples,),) = nova_database.execute(
            "SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (table,)
        )
        assert reltuples == _count(nova_database, table)


def test_two_loads_write_the_same_and_leave_nothing_of_their_own(database: TestDatabase) -> None:
    shapes = set()
    for schema in ("first", "second"):
        database.execute(f"CREATE SCHEMA {schema}")
        with database.connect() as connection:
            connection.execute(f"SET search_path = {schema}")
            nova.create_schema(connection)
            nova.load(connection, messages=2_000, posts=100)
            shapes.add(connection.execute(SHAPE).fetchone())
    relations = database.execute(
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace >= 16384 AND relname <> ALL (%s)",
        (list(TABLES),),
    )

    assert len(shapes) == 1
    assert relations == [(0,)]


def test_progress_goes_from_nothing_to_all(database: TestDatabase) -> None:
    told: list[tuple[int, int]] = []
    with database.connect() as connection:
        nova.create_schema(connection)
        size = nova.load(
            connection,
            messages=25_000,
            posts=10,
            users=30,
            on_progress=lambda done, total: told.append((done, total)),
        )

    done = [rows for rows, _ in told]
    assert size == nova.NovaSize(users=30, messages=25_000, posts=10)
    assert {total for _, total in told} == {size.rows}
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (0, size.rows)
