"""Every kind of index that a manifest can say: built for real, known again, told from all others, dropped."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from psycopg import sql

from exporter.errors import ManifestError
from exporter.manifest.loader import load_manifest
from exporter.migrate.init import initialise
from exporter.migrate.observe.indexes import observe
from exporter.migrate.options import RunOptions
from exporter.migrate.rollback.run import roll_back
from exporter.model import DeclaredIndex, IndexState, Outcome, RelationName, StepKind, StepStatus
from exporter.postgres import ddl
from tests.conftest import TestDatabase
from tests.support.builds import as_declared, indexes_of, look_at, session
from tests.support.declared import declare, manifest_of

TABLE = """
    CREATE TABLE things (
        id int, name text, plain text COLLATE "C", tags text[], doc jsonb, span int4range, spot point,
        at timestamptz, words tsvector, "select" int, twice int GENERATED ALWAYS AS (id * 2) STORED
    )
"""
ROWS = """
    INSERT INTO things
    SELECT g, 'name ' || g, g::text, ARRAY[g::text], jsonb_build_object('g', g), int4range(g, g + 1),
        point(g, g), now(), to_tsvector('simple', g::text), g
    FROM generate_series(1, 200) g
"""
# One of each, by a name that says what it is; no two are the same index.
KINDS = {
    "plain": {"columns": ("id",)},
    "descending": {"columns": ("id DESC",)},
    "nulls first": {"columns": ("id NULLS FIRST",)},
    "descending, nulls last": {"columns": ("id DESC NULLS LAST",)},
    "two columns": {"columns": ("id", "name")},
    "the other way round": {"columns": ("name", "id")},
    "unique": {"columns": ("id",), "unique": True},
    "unique expression": {"columns": ("lower(name)",), "unique": True},
    "expression": {"columns": ("lower(name)",)},
    "expression in parentheses": {"columns": ("(id + 1)", "(doc ->> 'g')")},
    "include": {"columns": ("id",), "include": ("name", "at")},
    "partial": {"columns": ("id",), "where": "name IS NOT NULL AND id > 3"},
    "another predicate": {"columns": ("id",), "where": "name IS NOT NULL"},
    "operator class": {"columns": ("name text_pattern_ops",)},
    "collation": {"columns": ('name COLLATE "C"',)},
    "collation and order": {"columns": ('name COLLATE "C" DESC NULLS LAST', 'plain COLLATE "POSIX"')},
    "column with its own collation": {"columns": ("plain",)},
    "fillfactor": {"columns": ("id",), "options": ("fillfactor = 70",)},
    "two parameters": {"columns": ("id",), "options": ("fillfactor = 70", "deduplicate_items = off")},
    "reserved column": {"columns": ('"select"',)},
    "generated column": {"columns": ("twice",)},
    "hash": {"columns": ("name",), "method": "hash"},
    "gin array": {"columns": ("tags",), "method": "gin"},
    "gin json": {"columns": ("doc",), "method": "gin"},
    "gin json paths": {"columns": ("doc jsonb_path_ops",), "method": "gin"},
    "gin without fastupdate": {"columns": ("tags",), "method": "gin", "options": ("fastupdate = off",)},
    "gin text search": {"columns": ("to_tsvector('english', name)",), "method": "gin"},
    "gist range": {"columns": ("span",), "method": "gist"},
    "gist with include": {"columns": ("spot",), "method": "gist", "include": ("id",)},
    "gist with a parameter of its class": {
        "columns": ("words tsvector_ops (siglen = 64)",),
        "method": "gist",
    },
    "gist without it": {"columns": ("words",), "method": "gist"},
    "sp-gist": {"columns": ("spot",), "method": "spgist"},
    "sp-gist kd": {"columns": ("spot kd_point_ops",), "method": "spgist"},
    "brin": {"columns": ("at",), "method": "brin"},
    "brin of few pages": {"columns": ("at",), "method": "brin", "options": ("pages_per_range = 8",)},
    "brin of many ranges": {
        "columns": ("id int4_minmax_multi_ops (values_per_range = 16)",),
        "method": "brin",
    },
}
NULLS_NOT_DISTINCT = {"columns": ("at",), "unique": True, "nulls_not_distinct": True}


def kinds_of(database: TestDatabase) -> dict[str, DeclaredIndex]:
    """Each kind that the version has, under a name of its own."""
    wanted = dict(KINDS)
    if database.server.version_num >= 150000:
        wanted["unique without distinct nulls"] = {**NULLS_NOT_DISTINCT, "columns": ("id",)}
    return {
        name: replace(declare(f"Kind {number}: {name}", "things"), **changes)  # type: ignore[arg-type]  # its fields
        for number, (name, changes) in enumerate(wanted.items())
    }


def definitions(database: TestDatabase) -> dict[str, str]:
    """Each index outside the catalogue with its definition and tablespace."""
    rows = database.execute(
        """
        SELECT indexname::text, indexdef || coalesce(' in ' || tablespace, '') FROM pg_indexes
        WHERE schemaname !~ '^pg_' AND tablename !~ '^migration_'
        """
    )
    return dict(rows)


def ended_well(outcome: Outcome) -> bool:
    assert {result.status for result in outcome.results} == {StepStatus.DONE}, outcome.results
    return outcome.plan.refused == ()


def test_every_kind_is_built_known_again_and_dropped(database: TestDatabase) -> None:
    database.execute(TABLE)
    database.execute(ROWS)
    database.execute("CREATE INDEX stood_before ON things (at, id)")
    start = definitions(database)
    manifest = manifest_of(*kinds_of(database).values())
    declared, options = as_declared(database), RunOptions(probe_budget_seconds=1)

    assert ended_well(initialise(declared, manifest, options))

    assert {index.state for index in look_at(database, manifest)} == {IndexState.PRESENT}
    again = initialise(declared, manifest, options)
    assert (again.plan.steps, again.results) == ((), ())
    assert len(again.plan.settled) == len(manifest.indexes)
    assert ended_well(roll_back(declared, manifest, options))
    assert definitions(database) == start


def test_every_kind_is_known_on_every_version(every_database: TestDatabase) -> None:
    every_database.execute(TABLE)
    manifest = manifest_of(*kinds_of(every_database).values())
    with every_database.connect() as connection:
        for index in manifest.indexes:
            connection.execute(ddl.create_index(index, concurrently=False))

    observed = look_at(every_database, manifest)

    assert {index.state for index in observed} == {IndexState.PRESENT}
    assert [index.definition for index in observed] == [index.found_definition for index in observed]


@pytest.mark.long
def test_every_kind_is_told_from_every_other(database: TestDatabase) -> None:
    database.execute(TABLE)
    kinds = {name: replace(index, name="idx") for name, index in kinds_of(database).items()}
    taken_for: list[tuple[str, str]] = []
    manifests = {name: manifest_of(index) for name, index in kinds.items()}
    for name, index in kinds.items():
        database.execute(ddl.create_index(index, concurrently=False))
        with session(database) as connection:
            for other, manifest in manifests.items():
                (observed,) = observe(connection, manifest, {})
                if (observed.state is IndexState.PRESENT) != (other == name):
                    taken_for.append((name, other))
        database.execute("DROP INDEX idx")

    assert taken_for == []


@pytest.mark.pg(">= 15")
def test_a_tablespace_of_its_own(database: TestDatabase, tablespace: str) -> None:
    database.execute(TABLE)
    manifest = manifest_of(declare("idx", "things", "id", tablespace=tablespace))

    assert ended_well(initialise(as_declared(database), manifest, RunOptions()))

    assert definitions(database)["idx"].endswith(f" in {tablespace}")
    assert initialise(as_declared(database), manifest, RunOptions()).plan.steps == ()
    assert ended_well(roll_back(as_declared(database), manifest, RunOptions()))
    assert indexes_of(database) == {}


NAMES = [
    'say "please"',
    "two\nlines and\ta tab",
    "<script>alert('1')</script>",
    "100% of %(them)s {and} $1 :x",
    "back\\slash",
    "select",
    "; DROP TABLE waiter; --",
    "/* $$ '",
    "ä" * 31 + "x",
    " ",
]


@pytest.mark.parametrize("name", NAMES)
def test_strange_names_of_index_table_column_and_schema(
    database: TestDatabase, tmp_path: Path, name: str
) -> None:
    """Written into a file, read back, built, known again and dropped."""
    table = RelationName(name, name)
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    columns = sql.SQL("({} int)").format(sql.Identifier(name))
    database.execute(sql.SQL("CREATE TABLE {} ").format(ddl.qualified(table)) + columns)
    quoted = '"' + name.replace('"', '""') + '"'
    # Table and index share one schema, and so may not share their name.
    index = {"name": quoted.replace(name[0], "!", 1), "table": f"{quoted}.{quoted}", "columns": [quoted]}
    file = tmp_path / "strange.yaml"
    document = {"migration": "001_strange", "indexes": [index]}
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    manifest = load_manifest(file)

    assert ended_well(initialise(as_declared(database), manifest, RunOptions()))
    assert initialise(as_declared(database), manifest, RunOptions()).plan.steps == ()
    assert ended_well(roll_back(as_declared(database), manifest, RunOptions()))
    assert definitions(database) == {}


def test_a_materialized_view_is_built_on_like_a_table(every_database: TestDatabase) -> None:
    every_database.execute("CREATE MATERIALIZED VIEW recent AS SELECT g AS id FROM generate_series(1, 100) g")
    manifest = manifest_of(declare("idx", "recent", "id", unique=True))
    database = as_declared(every_database)

    outcome = initialise(database, manifest, RunOptions())

    assert [step.kind for step in outcome.plan.steps] == [StepKind.BUILD, StepKind.ANALYZE]
    assert ended_well(outcome)
    assert initialise(database, manifest, RunOptions()).plan.steps == ()
    assert ended_well(roll_back(database, manifest, RunOptions()))
    assert indexes_of(every_database) == {}


@pytest.mark.parametrize(
    ("statements", "table", "what"),
    [
        (("CREATE VIEW looking AS SELECT 1 AS id",), "looking", "is a view and cannot have an index"),
        (("CREATE SEQUENCE counting",), "counting", "is a sequence and cannot have an index"),
        (
            (
                "CREATE EXTENSION file_fdw",
                "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
                "CREATE FOREIGN TABLE remote (id int) SERVER files OPTIONS (filename '/dev/null')",
            ),
            "remote",
            "is a foreign table and cannot have an index",
        ),
        ((), "pg_catalog.pg_class", "is a system catalog"),
        ((), "pg_toast.pg_toast_1255", "is a TOAST table"),
        ((), "pg_temp.mine", "is temporary: it belongs to one session"),
    ],
)
def test_what_can_have_no_index_is_refused_with_the_reason(
    database: TestDatabase, statements: tuple[str, ...], table: str, what: str
) -> None:
    for statement in statements:
        database.execute(statement)

    with pytest.raises(ManifestError) as caught:
        look_at(database, manifest_of(declare("idx", table), analyze=()))

    (fault,) = caught.value.faults
    assert what in fault.what
    assert fault.hint


def test_a_temporary_table_of_a_session_is_refused(database: TestDatabase) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TEMPORARY TABLE mine (id int)")
        row = connection.execute("SELECT pg_my_temp_schema()::regnamespace::text").fetchone()
        assert row is not None
        with pytest.raises(ManifestError, match="is temporary: it belongs to one session"):
            look_at(database, manifest_of(declare("idx", f"{row[0]}.mine"), analyze=()))
