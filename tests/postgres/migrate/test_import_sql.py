"""A manifest from CREATE INDEX statements: every kind comes back as it was, what is no index is refused."""

from pathlib import Path

import pytest

from exporter.cli import main
from exporter.errors import ManifestError
from exporter.manifest.loader import load_manifest
from exporter.migrate.import_sql import as_yaml, import_indexes
from exporter.model import DeclaredIndex, IndexState, Manifest
from exporter.postgres import ddl
from tests.conftest import TestDatabase
from tests.postgres.migrate.test_kinds import TABLE, kinds_of
from tests.support.builds import indexes_of, look_at, session


def imported(
    database: TestDatabase, text: str, search_path: tuple[str, ...] = ("public",)
) -> list[DeclaredIndex]:
    with session(database) as connection:
        return list(import_indexes(connection, text, "given.sql", search_path))


def written(folder: Path, indexes: list[DeclaredIndex]) -> Manifest:
    """The manifest as its file gives it."""
    file = folder / "imported.yaml"
    file.write_text(as_yaml("001_imported", indexes), encoding="utf-8")
    return load_manifest(file)


def test_every_kind_comes_back_as_it_was(every_database: TestDatabase, tmp_path: Path) -> None:
    every_database.execute(TABLE)
    kinds = kinds_of(every_database).values()
    text = ";\n".join(ddl.as_text(ddl.create_index(index)) for index in kinds)

    manifest = written(tmp_path, imported(every_database, text))

    assert [index.name for index in manifest.indexes] == [index.name for index in kinds]
    assert indexes_of(every_database) == {}
    with every_database.connect() as connection:
        for index in kinds:
            connection.execute(ddl.create_index(index, concurrently=False))
    observed = look_at(every_database, manifest)
    assert {one.state for one in observed} == {IndexState.PRESENT}
    assert [one.definition for one in observed] == [one.found_definition for one in observed]


def test_statements_may_be_written_in_any_way(database: TestDatabase, tmp_path: Path) -> None:
    database.execute("CREATE SCHEMA app")
    database.execute('CREATE TABLE app."Odd ""1" (id int, name text)')
    database.execute("CREATE TABLE events (id int, at date) PARTITION BY RANGE (at)")
    database.execute("CREATE EXTENSION pg_trgm SCHEMA app")
    text = """
        -- a comment; with a semicolon
        create index concurrently if not exists "Ix;1" on app."Odd ""1" /* nested /* ; */ */ (id desc);;
        CREATE INDEX ON "Odd ""1" USING gin (name gin_trgm_ops) WHERE name <> $x$;--$x$ AND name <> E'\\';';
        CREATE UNIQUE INDEX ev ON ONLY events (at, id) WITH (fillfactor = 70)
    """

    found = imported(database, text, ("public", "app"))
    manifest = written(tmp_path, found)

    assert [(index.name, index.table.quoted) for index in manifest.indexes] == [
        ("Ix;1", 'app."Odd ""1"'),
        ('Odd "1_name_idx', 'app."Odd ""1"'),
        ("ev", "public.events"),
    ]
    assert manifest.indexes[1].columns == ("name app.gin_trgm_ops",)
    assert manifest.indexes[2].options == ("fillfactor='70'",)
    assert {one.state for one in look_at(database, manifest)} == {IndexState.ABSENT}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("\n\\timing on\n", 2, "a command of psql: \\timing"),
        ("CREATE INDEX i ON t (:column)", 1, "a variable of psql"),
        ("CREATE INDEX i ON t (id);\nDROP TABLE t", 2, "DROP TABLE t is not CREATE INDEX"),
        ("BEGIN;\nCREATE INDEX i ON t (id)", 1, "BEGIN is not CREATE INDEX"),
        ("CREATE INDEX i ON t (id\n", 1, "the server refuses"),
        ("CREATE INDEX i ON t (id) /* open", 1, "has no end"),
        ("CREATE INDEX i ON t (id) WHERE 'open", 1, "has no end"),
        ("CREATE INDEX i ON nowhere (id)", 1, "there is no table nowhere"),
        ("CREATE INDEX i ON t (nothing)", 1, 'column "nothing" does not exist'),
        ("CREATE INDEX i ON t (id);\nCREATE INDEX i ON t (id DESC)", 2, "is used twice"),
        ("CREATE INDEX i ON t", 1, "without a table and columns"),
        ("CREATE INDEX i", 1, "without ON"),
        ("-- nothing", 0, "there is no CREATE INDEX"),
        ("CREATE INDEX i ON t (id) \\; DROP TABLE t", 1, "a command of psql"),
    ],
)
def test_what_cannot_be_taken_is_named_by_its_line(
    database: TestDatabase, text: str, line: int, what: str
) -> None:
    database.execute("CREATE TABLE t (id int)")

    with pytest.raises(ManifestError) as caught:
        imported(database, text)

    fault = caught.value.faults[0]
    assert fault.place == ("given.sql" if line == 0 else f"given.sql:{line}")
    assert what in fault.what
    assert database.execute("SELECT count(*) FROM t") == [(0,)]
    assert indexes_of(database) == {}


STRANGE = """\
\\set ON_ERROR_STOP on
BEGIN;
SET search_path = app;
CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON t (id);
CREATE UNIQUE INDEX b ON t (id) INCLUDE (name) WITH (fillfactor = 70) TABLESPACE pg_default;
CREATE INDEX c ON t ((lower(name))) WHERE name <> $$;$$; CREATE INDEX d ON t (nothing);
CREATE INDEX e ON
    t (:column);
CREATE INDEX f ON t (id) \\gexec
\\i more.sql
COPY t FROM stdin;
1\tit's; not 'SQL
\\.
ALTER TABLE t ADD CONSTRAINT k UNIQUE (id);
ALTER INDEX a SET (fillfactor = 50);
DO $body$ BEGIN; PERFORM 1; END $body$;
CREATE INDEX g ON a_view (id);
CREATE INDEX h ON nowhere (id);
COMMIT;
CREATE INDEX i ON t (id) WHERE 'open;
CREATE INDEX j ON t (id);
"""


def test_everything_that_cannot_be_taken_is_named_with_its_line_and_what_to_do(
    database: TestDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute("CREATE TABLE t (id int, name text)")
    database.execute("CREATE VIEW a_view AS SELECT id FROM t")
    file = tmp_path / "strange.sql"
    file.write_text(STRANGE, encoding="utf-8")

    assert main(["import", "--dsn", database.dsn, str(file)]) == 2

    told = capsys.readouterr()
    lines = told.err.splitlines()
    faults = [line.split(": ", 1) for line in lines if line.startswith(f"  {file}:")]
    assert [(place.rpartition(":")[2], what) for place, what in faults] == [
        ("1", "a command of psql: \\set"),
        ("2", "BEGIN is not CREATE INDEX"),
        ("3", "SET search_path = … is not CREATE INDEX"),
        ("6", 'the server refuses the statement: column "nothing" does not exist'),
        ("8", "a variable of psql, which only psql would fill in"),
        ("9", "a command of psql: \\gexec"),
        ("10", "a command of psql: \\i"),
        ("11", "COPY t FROM … is not CREATE INDEX"),
        ("14", "ALTER TABLE t … is not CREATE INDEX"),
        ("15", "ALTER INDEX a … is not CREATE INDEX"),
        ("16", "DO $body$ BEGIN; PERFORM 1; END $body$ is not CREATE INDEX"),
        ("17", "public.a_view is a view and cannot have an index"),
        ("18", "there is no table nowhere"),
        ("19", "COMMIT is not CREATE INDEX"),
        ("20", "a quote ' has no end"),
    ]
    assert sum(line.startswith("    -> ") for line in lines) == len(faults)
    assert told.out == ""
    assert indexes_of(database) == {}


def test_what_the_manifest_says_otherwise_is_told(
    database: TestDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute("CREATE TABLE t (id int)")
    database.execute("CREATE TABLE events (at date) PARTITION BY RANGE (at)")
    file = tmp_path / "given.sql"
    file.write_text("CREATE INDEX ON t (id);\nCREATE INDEX ev ON ONLY events (at);", encoding="utf-8")

    assert main(["import", "--dsn", database.dsn, str(file)]) == 0

    told = capsys.readouterr()
    assert f"{file}:1: the index has no name; the server would name it t_id_idx" in told.err
    assert f"{file}:2: ONLY is ignored" in told.err
    assert "t_id_idx" in told.out


def test_what_is_imported_can_be_built_verified_and_rolled_back(
    database: TestDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute('CREATE TABLE "Odd t" (id int, name text)')
    database.execute('INSERT INTO "Odd t" SELECT g, g::text FROM generate_series(1, 1000) g')
    file, manifest, twice = (tmp_path / name for name in ("given.sql", "m.yaml", "twice.yaml"))
    file.write_text(
        """
        CREATE UNIQUE INDEX IF NOT EXISTS "Ix;1" ON "Odd t" (id DESC NULLS LAST) INCLUDE (name)
            WITH (fillfactor = 70) WHERE name <> $x$;$x$ -- ;
        ;
        CREATE INDEX by_name ON ONLY "Odd t" USING hash (lower(name));
        """,
        encoding="utf-8",
    )
    dsn = ["--dsn", database.dsn]
    assert main(["import", *dsn, str(file), "--output", str(manifest), "--migration", "m"]) == 0

    assert main(["init", *dsn, "--yes", "--manifest", str(manifest)]) == 0
    assert indexes_of(database) == {"Ix;1": True, "by_name": True}
    assert main(["init", *dsn, "--manifest", str(manifest)]) == 0
    assert "Nothing to do: 2 declared indexes, all in place." in capsys.readouterr().out
    # What the server made of them imports to the same manifest.
    built = database.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'Odd t' ORDER BY indexname")
    file.write_text(";".join(definition for (definition,) in built), encoding="utf-8")
    assert main(["import", *dsn, str(file), "--output", str(twice), "--migration", "m"]) == 0
    assert twice.read_text(encoding="utf-8") == manifest.read_text(encoding="utf-8")
    assert main(["rollback", *dsn, "--yes", "--manifest", str(manifest)]) == 0
    assert indexes_of(database) == {}


def test_the_command_prints_or_writes_and_never_overwrites(
    database: TestDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute("CREATE TABLE t (id int)")
    file, output = tmp_path / "090 wins.sql", tmp_path / "out.yaml"
    file.write_text("CREATE INDEX i ON t (id);", encoding="utf-8")
    command = ["import", "--dsn", database.dsn, str(file)]

    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "migration: '090_wins'" in printed
    assert main([*command, "--output", str(output), "--migration", "091"]) == 0
    assert [index.name for index in load_manifest(output).indexes] == ["i"]
    kept = output.read_text(encoding="utf-8")
    assert main([*command, "--output", str(output)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert output.read_text(encoding="utf-8") == kept
