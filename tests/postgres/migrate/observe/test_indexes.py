"""Where declared indexes stand, decided by the server's catalogue and its parser."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from exporter.errors import ManifestError
from exporter.migrate.observe.index_catalog import IndexCatalog, observe_in_catalog
from exporter.migrate.observe.indexes import observe
from exporter.model import DeclaredIndex, IndexState, ObservedIndex, RelationName
from exporter.postgres import ddl
from exporter.postgres.relations.tables import compile_index
from tests.conftest import TestDatabase
from tests.support.builds import held_build, indexes_of, leave_invalid, look_at
from tests.support.declared import declare, manifest_of

INDEX = declare("idx_sender", "messages", "sender_id", "created_at DESC", where="deleted_at IS NULL")
CREATE = "CREATE INDEX {} ON messages (sender_id, created_at DESC) WHERE deleted_at IS NULL"
CONCURRENTLY = CREATE.replace("INDEX", "INDEX CONCURRENTLY", 1).format("idx_sender")
# Whatever a name may hold that means something to SQL, to psycopg, to HTML or to a terminal.
ODD_NAMES = [
    'say "please"',
    "two\nlines and\ta tab",
    "<b>&amp;</b>",
    "it's",
    "100% of %(them)s",
    "back\\slash",
    "select",
    "user",
    "CamelCase",
    "dollar$1",
    "; DROP TABLE messages; --",
    "ä" * 31 + "x",
    "日本語" * 7,
    " ",
]


def observe_one(database: TestDatabase, index: DeclaredIndex, *ours: str) -> ObservedIndex:
    (observed,) = look_at(database, manifest_of(index), *ours)
    return observed


def oid_of(database: TestDatabase, name: str) -> int:
    oid: int = database.execute("SELECT %s::regclass::oid::int8", [name])[0][0]
    return oid


def faults_of(database: TestDatabase, *indexes: DeclaredIndex) -> list[str]:
    """What `observe` says of each fault, after seeing that it touched nothing."""
    with pytest.raises(ManifestError) as caught:
        look_at(database, manifest_of(*indexes))
    assert indexes_of(database) == {}
    return [f"{fault.what}; {fault.hint}" for fault in caught.value.faults]


# Each state


def test_absent(shop: TestDatabase) -> None:
    observed = observe_one(shop, INDEX)

    assert observed.state is IndexState.ABSENT
    assert observed.indexrelid is None
    assert observed.relid == oid_of(shop, "messages")
    assert observed.definition == (
        "CREATE INDEX idx_sender ON public.messages USING btree (sender_id, created_at DESC)"
        " WHERE (deleted_at IS NULL)"
    )


def test_present(shop: TestDatabase) -> None:
    shop.execute(CREATE.format("idx_sender"))

    observed = observe_one(shop, INDEX)

    assert observed.state is IndexState.PRESENT
    assert observed.found_definition == observed.definition
    assert observed.indexrelid == oid_of(shop, "idx_sender")


def test_present_where_it_was_built_after_the_tables_indexes_were_read(shop: TestDatabase) -> None:
    with shop.connect() as connection:
        compiled = compile_index(connection, INDEX)
        catalog = IndexCatalog.read(connection, oid_of(shop, "messages"), {})
        shop.execute(CREATE.format("idx_sender"))
        observed = observe_in_catalog(catalog, INDEX, compiled)

    assert observed.state is IndexState.PRESENT


def test_covered_by_an_equal_index_under_another_name(shop: TestDatabase) -> None:
    shop.execute(CREATE.format("by_hand"))

    observed = observe_one(shop, INDEX)

    assert (observed.state, observed.covered_by) == (IndexState.COVERED, "by_hand")
    assert observed.indexrelid == oid_of(shop, "by_hand")


def test_an_equal_but_invalid_index_under_another_name_covers_nothing(shop: TestDatabase) -> None:
    leave_invalid(shop, CONCURRENTLY.replace("idx_sender", "by_hand"))

    assert indexes_of(shop) == {"by_hand": False}
    assert observe_one(shop, INDEX).state is IndexState.ABSENT


def test_an_equal_index_of_another_table_covers_nothing(shop: TestDatabase) -> None:
    shop.execute(CREATE.format("by_hand").replace("messages", "posts"))

    assert observe_one(shop, INDEX).state is IndexState.ABSENT


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX idx_sender ON messages (sender_id, created_at DESC)",
        "CREATE INDEX idx_sender ON messages (sender_id, created_at) WHERE deleted_at IS NULL",
        "CREATE INDEX idx_sender ON messages (created_at DESC, sender_id) WHERE deleted_at IS NULL",
        "CREATE INDEX idx_sender ON messages (sender_id, created_at DESC) WHERE deleted_at IS NOT NULL",
        "CREATE INDEX idx_sender ON messages (sender_id, created_at DESC) INCLUDE (id) "
        "WHERE deleted_at IS NULL",
        "CREATE INDEX idx_sender ON messages (sender_id, created_at DESC) WITH (fillfactor = 70) "
        "WHERE deleted_at IS NULL",
        "CREATE UNIQUE INDEX idx_sender ON messages (sender_id, created_at DESC) WHERE deleted_at IS NULL",
    ],
)
def test_conflict_with_another_definition(shop: TestDatabase, statement: str) -> None:
    shop.execute(statement)

    observed = observe_one(shop, INDEX)

    assert observed.state is IndexState.CONFLICT
    assert observed.found_definition is not None
    assert observed.found_definition != observed.definition


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (CREATE.format("idx_sender").replace("messages", "posts"), "an index of public.posts"),
        ("CREATE TABLE idx_sender (id int)", "a table"),
        ("CREATE SEQUENCE idx_sender", "a sequence"),
        ("CREATE VIEW idx_sender AS SELECT 1 AS one", "a view"),
        ("CREATE MATERIALIZED VIEW idx_sender AS SELECT 1 AS one", "a materialized view"),
        ("CREATE TYPE idx_sender AS (id int)", "a composite type"),
    ],
)
def test_conflict_with_another_relation_of_that_name(shop: TestDatabase, statement: str, what: str) -> None:
    shop.execute(statement)

    observed = observe_one(shop, INDEX)

    assert observed.state is IndexState.CONFLICT
    assert observed.detail == f"public.idx_sender is {what}"


def test_a_relation_of_that_name_in_another_schema_is_no_conflict(shop: TestDatabase) -> None:
    shop.execute("CREATE SCHEMA app")
    shop.execute("CREATE TABLE app.idx_sender (id int)")

    assert observe_one(shop, INDEX).state is IndexState.ABSENT


def test_invalid_is_ours_when_the_journal_knows_it(shop: TestDatabase) -> None:
    leave_invalid(shop, CONCURRENTLY)

    assert indexes_of(shop) == {"idx_sender": False}
    assert observe_one(shop, INDEX, "idx_sender").state is IndexState.INVALID_OURS
    assert observe_one(shop, INDEX, "idx_other").state is IndexState.INVALID_FOREIGN


def test_invalid_with_another_definition_is_a_conflict_even_if_the_journal_knows_the_name(
    shop: TestDatabase,
) -> None:
    leave_invalid(shop, "CREATE INDEX CONCURRENTLY idx_sender ON messages (id)")

    assert observe_one(shop, INDEX, "idx_sender").state is IndexState.CONFLICT


@pytest.mark.parametrize(
    ("application_name", "state"),
    [
        ("pg-index-exporter/0badcafe/idx_sender", IndexState.BUILDING_OURS),
        ("psql", IndexState.BUILDING_FOREIGN),
        ("", IndexState.BUILDING_FOREIGN),
        ("pg-index-exporter-look/0badcafe", IndexState.BUILDING_FOREIGN),
    ],
)
def test_building_is_told_from_invalid_and_ours_from_a_strangers(
    shop: TestDatabase, application_name: str, state: IndexState
) -> None:
    with held_build(shop, CONCURRENTLY, application_name) as pid:
        observed = observe_one(shop, INDEX, "idx_sender")

    assert (observed.state, observed.builder_pid) == (state, pid)
    assert f"pid {pid}, user postgres" in observed.detail


def test_a_build_of_another_index_on_the_table_does_not_make_a_leftover_look_alive(
    shop: TestDatabase,
) -> None:
    leave_invalid(shop, CONCURRENTLY)

    with held_build(shop, "CREATE INDEX CONCURRENTLY other ON messages (id)", "psql"):
        observed = observe_one(shop, INDEX, "idx_sender")

    # Not INVALID_OURS: dropping it now would wait for the other build, and the two would deadlock.
    assert observed.state is IndexState.BUILDING_FOREIGN


# The same index, written differently


@pytest.mark.parametrize(
    ("declared", "statement"),
    [
        (
            {"where": "status IN ('open', 'new')"},
            "CREATE INDEX idx ON messages (id) WHERE status = ANY (ARRAY['open', 'new'])",
        ),
        (
            {"where": "(((created_at > '2020-01-01 00:00:00+00')))"},
            "CREATE INDEX idx ON messages (id) "
            "WHERE created_at > CAST('2020-01-01 00:00:00+00' AS timestamptz)",
        ),
        ({"where": "NOT deleted_at IS NOT NULL"}, None),
        (
            {"columns": ("LOWER( content )", "id ASC NULLS LAST")},
            "CREATE INDEX idx ON messages USING btree (lower(content), id)",
        ),
        (
            {"columns": ("CONTENT text_pattern_ops",)},
            "CREATE INDEX idx ON messages (content text_pattern_ops)",
        ),
        ({"columns": ("(id + 0)",)}, "CREATE INDEX idx ON messages ((id+0))"),
        (
            {"options": ("FILLFACTOR = 70",), "include": ('"content"',), "unique": True},
            "CREATE UNIQUE INDEX idx ON messages (id) INCLUDE (content) WITH (fillfactor = '70')",
        ),
        (
            {"method": "gin", "columns": ("to_tsvector('english', content)",)},
            "CREATE INDEX idx ON messages USING gin (to_tsvector('english'::regconfig, content))",
        ),
        (
            {"where": "messages.sender_id % 2 = 0"},
            "CREATE INDEX idx ON messages (id) WHERE (sender_id % 2) = 0",
        ),
        ({"tablespace": "pg_default"}, "CREATE INDEX idx ON messages (id)"),
    ],
)
def test_equal_definitions_written_differently_are_present(
    shop: TestDatabase, declared: dict[str, Any], statement: str | None
) -> None:
    index = declare("idx", "messages", **declared)

    assert observe_one(shop, index).state is IndexState.ABSENT
    shop.execute(statement or ddl.as_text(ddl.create_index(index)))
    assert observe_one(shop, index).state is IndexState.PRESENT


def test_canonical_definitions_are_what_every_version_shows(every_database: TestDatabase) -> None:
    every_database.execute("CREATE TABLE messages (id int, body text, at timestamptz)")
    indexes = [
        declare("idx_1", "messages", "id", "at DESC", where="body IS NOT NULL"),
        declare("idx_2", "messages", "lower(body)", unique=True, include=("id",)),
        declare('odd "one"', "messages", "body text_pattern_ops", options=("fillfactor = 70",)),
        declare("idx_4", "messages", "to_tsvector('english', body)", method="gin"),
    ]
    for index in indexes:
        every_database.execute(ddl.create_index(index, concurrently=False))

    observed = look_at(every_database, manifest_of(*indexes))

    assert [one.state for one in observed] == [IndexState.PRESENT] * len(indexes)
    assert [one.definition for one in observed] == [one.found_definition for one in observed]


@pytest.mark.pg(">= 15")
def test_nulls_not_distinct_is_part_of_the_definition(shop: TestDatabase) -> None:
    shop.execute("CREATE UNIQUE INDEX idx ON messages (id)")
    index = declare("idx", "messages", "id", unique=True)

    assert observe_one(shop, index).state is IndexState.PRESENT
    assert observe_one(shop, replace(index, nulls_not_distinct=True)).state is IndexState.CONFLICT


def test_functions_and_operator_classes_of_other_schemas_are_found_by_their_full_name(
    shop: TestDatabase,
) -> None:
    shop.execute("CREATE EXTENSION pg_trgm")
    shop.execute("CREATE INDEX idx ON messages USING gin (content gin_trgm_ops)")
    index = declare("idx", "messages", "content public.gin_trgm_ops", method="gin")

    assert observe_one(shop, index).state is IndexState.PRESENT


def test_a_materialized_view_can_have_an_index(shop: TestDatabase) -> None:
    shop.execute("CREATE MATERIALIZED VIEW recent AS SELECT * FROM messages")

    assert observe_one(shop, declare("idx", "recent")).state is IndexState.ABSENT
    shop.execute("CREATE INDEX idx ON recent (id)")
    assert observe_one(shop, declare("idx", "recent")).state is IndexState.PRESENT


def test_generated_columns_can_be_indexed(shop: TestDatabase) -> None:
    shop.execute("ALTER TABLE messages ADD double_id bigint GENERATED ALWAYS AS (id * 2) STORED")

    assert observe_one(shop, declare("idx", "messages", "double_id")).state is IndexState.ABSENT


# Names


@pytest.mark.pg(">= 15")
def test_another_tablespace_is_another_definition(shop: TestDatabase, tablespace: str) -> None:
    shop.execute("CREATE INDEX idx ON messages (id)")
    index = declare("idx", "messages", "id", tablespace=tablespace)

    assert observe_one(shop, index).state is IndexState.CONFLICT
    shop.execute(sql.SQL("ALTER INDEX idx SET TABLESPACE {}").format(sql.Identifier(tablespace)))
    assert observe_one(shop, index).state is IndexState.PRESENT


@pytest.mark.parametrize("name", ODD_NAMES)
def test_strange_names_of_index_and_table(database: TestDatabase, name: str) -> None:
    table = RelationName(f"s {name}"[:20], name)
    index = declare(f"{name[:20]}!", table, "id")
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(table.schemaname)))
    database.execute(sql.SQL("CREATE TABLE {} (id int)").format(ddl.qualified(table)))

    assert observe_one(database, index).state is IndexState.ABSENT
    database.execute(ddl.create_index(index, concurrently=False))
    observed = observe_one(database, index)

    assert observed.state is IndexState.PRESENT
    assert observed.found_definition == observed.definition


def test_a_name_of_63_bytes_is_kept_whole(shop: TestDatabase) -> None:
    index = declare("ü" * 31 + "x", "messages", "id")
    shop.execute(ddl.create_index(index, concurrently=False))

    assert len(index.name.encode()) == 63
    assert observe_one(shop, index).state is IndexState.PRESENT


# Faults, before anything is touched


def test_every_fault_is_reported_at_once_with_its_hint(shop: TestDatabase) -> None:
    shop.execute("CREATE VIEW looking AS SELECT * FROM messages")
    shop.execute("CREATE EXTENSION postgres_fdw")
    shop.execute("CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw")
    shop.execute("CREATE FOREIGN TABLE remote (id int) SERVER elsewhere")
    shop.execute("CREATE SEQUENCE counting")

    faults = faults_of(
        shop,
        declare("idx_1", "messages", "sender"),
        declare("idx_2", "messages", "content gin_trgm_ops"),
        declare("idx_3", "messages", "id", where="created_at > now()"),
        declare("idx_4", "messages", "id", where="created_at::date = '2020-01-01'"),
        declare("idx_5", "looking"),
        declare("idx_6", "remote"),
        declare("idx_7", "nowhere"),
        declare("idx_8", "app.messages"),
        declare("idx_10", "counting"),
        declare("idx_11", "messages", "count(*)"),
        declare("idx_12", "messages", "id", method="quantum"),
        declare("idx_13", "messages", "id", options=("fillfactor = 5",)),
        declare("idx_14", "messages", "id", tablespace="elsewhere"),
        declare("messages", "messages", "id"),
    )

    expected = [
        'column "sender" does not exist',
        'operator class "gin_trgm_ops" does not exist',
        "must be marked IMMUTABLE",
        "must be marked IMMUTABLE",
        "public.looking is a view",
        "public.remote is a foreign table",
        "there is no table public.nowhere",
        "there is no table app.messages",
        "public.counting is a sequence",
        "aggregate functions are not allowed",
        'access method "quantum" does not exist',
        "value 5 out of bounds",
        'tablespace "elsewhere" does not exist',
        'relation "messages" already exists',
    ]
    assert len(faults) == len(expected)
    for fault, what in zip(faults, expected, strict=True):
        assert what in fault
        assert fault.partition("; ")[2]


def test_what_cannot_be_analyzed_is_a_fault(shop: TestDatabase) -> None:
    shop.execute("CREATE VIEW looking AS SELECT * FROM messages")
    manifest = manifest_of(INDEX, analyze=("messages", "posts", "nowhere", "looking"))

    with pytest.raises(ManifestError) as caught:
        look_at(shop, manifest)

    assert [fault.what for fault in caught.value.faults] == [
        "there is no table public.nowhere",
        "public.looking is a view",
    ]


@pytest.mark.parametrize(
    "planted",
    [
        "id; commit; drop table posts; --",
        "id); commit; drop table posts; create index on messages (id",
        "id) ; DROP TABLE posts",
        "(SELECT pg_catalog.set_config('x.y', 'z', false))",
    ],
)
@pytest.mark.parametrize("place", ["columns", "include", "where", "options", "method", "name", "table"])
def test_planted_statements_are_only_an_error(shop: TestDatabase, place: str, planted: str) -> None:
    texts: dict[str, Any] = {
        "columns": {"columns": (planted,)},
        "include": {"include": (planted,)},
        "where": {"where": f"{planted} IS NULL"},
        "options": {"options": (f"fillfactor = 70, {planted}",)},
        "method": {"method": planted},
        "name": {"name": planted[:63]},
        "table": {"table": RelationName("public", planted)},
    }
    index = replace(declare("idx", "messages", "id"), **texts[place])

    if place == "name":
        assert observe_one(shop, index).state is IndexState.ABSENT
    else:
        faults_of(shop, index)

    assert shop.execute("SELECT count(*) FROM posts") == [(500,)]
    assert indexes_of(shop) == {}


def test_a_locked_table_is_not_waited_for_and_no_fault_of_the_manifest(
    shop: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.postgres.relations.tables.LOCK_TIMEOUT_MILLISECONDS", "100")
    with shop.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            faults_of(shop, INDEX)


def test_a_role_without_the_right_to_temporary_tables_is_told_so(shop: TestDatabase) -> None:
    shop.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(shop.name)))
    shop.execute("CREATE ROLE plain LOGIN PASSWORD 'throw-away'")
    try:
        with (
            psycopg.connect(shop.server.dsn(shop.name, "plain", "throw-away"), autocommit=True) as connection,
            pytest.raises(ManifestError, match="grant TEMPORARY"),
        ):
            observe(connection, manifest_of(INDEX), {})
    finally:
        shop.execute("DROP ROLE plain")


def test_the_order_is_that_of_the_manifest(shop: TestDatabase) -> None:
    manifest = manifest_of(declare("b"), declare("a", "posts"), declare("c", "messages", "sender_id"))
    shop.execute("CREATE INDEX a ON posts (id)")

    observed = look_at(shop, manifest)

    assert [(index.declared.name, index.state) for index in observed] == [
        ("b", IndexState.ABSENT),
        ("a", IndexState.PRESENT),
        ("c", IndexState.ABSENT),
    ]
