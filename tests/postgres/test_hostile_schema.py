"""What others define in the database, and what they set for the role, changes no page."""

from collections.abc import Iterator

import httpx
import pytest
from psycopg import sql

from exporter.metrics.collect.context import CollectOptions
from exporter.metrics.collect.database import DatabaseCollector
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.service import ServiceOptions, serving
from exporter.model import Database, DeclaredIndex, RelationName, Target
from exporter.postgres.relations.tables import compile_index
from exporter.postgres.target import connect
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import collected, collector_of, described, failures, page_of
from tests.postgres.metrics.test_collect import write_journal
from tests.support.hostile_names import NAMES, index_name
from tests.support.statistics import wait_for_statistics
from tests.unit.metrics.exposition.test_render import Labels, samples

PASSWORD = "throw-away"
# Its canonical form shows constants of types whose look depends on settings.
DECLARED = DeclaredIndex(
    "Recent",
    RelationName("public", "messages"),
    ("created_at",),
    where="created_at > '2024-01-02 03:04:05+00' AND weight > 0.1::float8 "
    r"AND age < '1 day 2 hours'::interval AND raw <> '\x00ff'::bytea AND note <> 'a\b'",
)
EPOCH = "pg_index_observed_since_timestamp_seconds"
VOLATILE = (
    "pg_index_exporter_scrape_duration_seconds",
    "pg_index_exporter_collector_duration_seconds",
    "pg_index_exporter_collector_last_success_timestamp_seconds",
)
FAKES = (
    "CREATE FUNCTION {schema}.pg_stat_get_numscans(oid) RETURNS bigint LANGUAGE sql AS 'SELECT 42::bigint'",
    "CREATE FUNCTION {schema}.pg_relation_size(oid) RETURNS bigint LANGUAGE sql AS 'SELECT 42::bigint'",
    "CREATE FUNCTION {schema}.pg_get_indexdef(oid) RETURNS text LANGUAGE sql AS 'SELECT ''fake''::text'",
    "CREATE FUNCTION {schema}.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''99''::text'",
    "CREATE FUNCTION {schema}.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION {schema}.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE FUNCTION {schema}.date_part(text, timestamptz) RETURNS float8 LANGUAGE sql AS 'SELECT 1::float8'",
    "CREATE FUNCTION {schema}.pg_stat_statements(boolean) "
    "RETURNS TABLE (userid oid, dbid oid, queryid bigint, query text) LANGUAGE sql "
    "AS 'SELECT 1::oid, 1::oid, 1::bigint, ''canary''::text'",
    "CREATE VIEW {schema}.pg_stat_statements AS SELECT 'canary' AS query",
    "CREATE VIEW {schema}.pg_class AS SELECT 1 AS oid",
    "CREATE VIEW {schema}.pg_index AS SELECT 1 AS indexrelid",
    "CREATE VIEW {schema}.pg_locks AS SELECT 1 AS relation",
    "CREATE VIEW {schema}.pg_database AS SELECT 1 AS oid",
    "CREATE VIEW {schema}.pg_extension AS SELECT 1 AS oid",
    "CREATE VIEW {schema}.pg_stat_user_indexes AS SELECT 1 AS indexrelid",
    "CREATE DOMAIN {schema}.text AS pg_catalog.text CHECK (VALUE = 'never')",
    "CREATE DOMAIN {schema}.oid AS pg_catalog.oid CHECK (VALUE = 0)",
    "CREATE DOMAIN {schema}.int8 AS pg_catalog.int8 CHECK (VALUE = 0)",
    "CREATE FUNCTION {schema}.never(pg_catalog.oid, pg_catalog.oid) RETURNS boolean LANGUAGE sql "
    "AS 'SELECT false'",
    "CREATE FUNCTION {schema}.never(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    "CREATE FUNCTION {schema}.never(name, pg_catalog.text) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    "CREATE OPERATOR {schema}.= "
    "(LEFTARG = pg_catalog.oid, RIGHTARG = pg_catalog.oid, FUNCTION = {schema}.never)",
    "CREATE OPERATOR {schema}.= (LEFTARG = name, RIGHTARG = name, FUNCTION = {schema}.never)",
    "CREATE OPERATOR {schema}.~ (LEFTARG = name, RIGHTARG = pg_catalog.text, FUNCTION = {schema}.never)",
    "CREATE AGGREGATE {schema}.sum(bigint) (SFUNC = int8larger, STYPE = bigint)",
    "CREATE AGGREGATE {schema}.count(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '1000')",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO PUBLIC",
)
SETTINGS = {
    "DateStyle": "German, DMY",
    "TimeZone": "Asia/Kathmandu",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "client_encoding": "LATIN1",
    "lock_timeout": "1ms",
    # Kept long enough for the test itself to look at the setting.
    "statement_timeout": "2s",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "500ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "off",
    "enable_indexscan": "off",
    "work_mem": "64kB",
    "jit": "on",
    "jit_above_cost": "0",
    "plan_cache_mode": "force_generic_plan",
}

Samples = dict[tuple[str, Labels], float]


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    database.execute("CREATE EXTENSION pg_stat_statements")
    # Autovacuum would change what the page says of them.
    database.execute(
        "CREATE TABLE messages "
        "(id int, created_at timestamptz, weight float8, age interval, raw bytea, note text) "
        "WITH (autovacuum_enabled = off)"
    )
    database.execute("INSERT INTO messages SELECT g, now() FROM generate_series(1, 100) AS g")
    with database.connect() as connection:
        for number, name in enumerate(NAMES):
            table, index = sql.Identifier("public", name), sql.Identifier(index_name(number, name))
            for statement in (
                "CREATE TABLE {table} (id int) WITH (autovacuum_enabled = off)",
                "INSERT INTO {table} VALUES (1)",
                "CREATE INDEX {index} ON {table} (id)",
                "ANALYZE {table}",
                "SELECT id FROM {table}",
            ):
                connection.execute(sql.SQL(statement).format(table=table, index=index))
    with connect(described(database), read_only=False) as connection:
        compiled = compile_index(connection, DECLARED)
        connection.execute(compiled.definition.encode())
    write_journal(database, compiled.definition, DECLARED.name)
    database.execute("ANALYZE messages")
    database.execute("SELECT id FROM messages WHERE created_at > now()")
    wait_for_statistics(database)
    return database


@pytest.fixture
def role(shop: TestDatabase) -> Iterator[str]:
    """A role as deploy/sql/monitor.sql makes it, with a schema of its own name."""
    name = f"{shop.name}_role"
    for statement in (
        f"CREATE ROLE {{}} LOGIN PASSWORD '{PASSWORD}'",
        "GRANT pg_monitor TO {}",
        "ALTER ROLE {} SET track_counts = off",
        "ALTER ROLE {} SET pg_stat_statements.track = none",
        "CREATE SCHEMA {}",
        "GRANT USAGE ON SCHEMA {} TO PUBLIC",
    ):
        shop.execute(sql.SQL(statement).format(sql.Identifier(name)))
    yield name
    shop.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    shop.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def page_samples(collector: DatabaseCollector, page_format: PageFormat = PageFormat.TEXT) -> Samples:
    """Everything that the reference parser reads from a page, without times of the exporter itself."""
    snapshot = collected(collector)
    assert failures(snapshot) == {}
    text = page_of([snapshot], page_format)
    if page_format is PageFormat.OPENMETRICS:
        text += "# EOF\n"
    return {key: value for key, value in samples(text, page_format).items() if key[0] not in VOLATILE}


class Watcher:
    """An exporter that looks with a new session each time, and one that was started just before."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._old = DatabaseCollector(database, CollectOptions())

    def look(self) -> Samples:
        self._old.close()
        # Only the old one knows since when an index was seen; only a new one reads every definition.
        old = {key: value for key, value in page_samples(self._old).items() if key[0] == EPOCH}
        with collector_of(self._database) as collector:
            new = {key: value for key, value in page_samples(collector).items() if key[0] != EPOCH}
        return old | new

    def close(self) -> None:
        self._old.close()


@pytest.fixture
def watcher(shop: TestDatabase, role: str) -> Iterator[Watcher]:
    watcher = Watcher(described(shop, DECLARED, watch="all", user=role, password=PASSWORD))
    yield watcher
    watcher.close()


def as_role(shop: TestDatabase, role: str, query: str) -> tuple[object, ...] | None:
    with shop.connect(role, PASSWORD) as connection:
        return connection.execute(query).fetchone()


def test_names_may_hold_anything(shop: TestDatabase) -> None:
    with collector_of(described(shop, DECLARED, watch="all")) as collector:
        text = page_samples(collector)
        openmetrics = page_samples(collector, PageFormat.OPENMETRICS)

    for found in (text, openmetrics):
        assert values(found, "pg_table_size_bytes", "relname").keys() == {
            "messages",
            "migration_events",
            *NAMES,
        }
        assert values(found, "pg_index_valid", "indexname").keys() == {
            DECLARED.name,
            "migration_events_pkey",
            *(index_name(number, name) for number, name in enumerate(NAMES)),
        }
        assert values(found, "pg_index_definition_matches", "indexname") == {DECLARED.name: 1}
    texts = values(text, "pg_stat_statements_query_info", "query")
    assert 'SELECT id FROM "public"."<script>alert(\'x\')</script>&amp;"' in texts
    # Whatever stands between the quotes of a name is no literal, no comment and no line.
    assert 'SELECT id FROM "public"."\'); DROP TABLE messages; --"' in texts


def test_objects_named_like_the_catalogues_change_nothing(
    shop: TestDatabase, role: str, watcher: Watcher
) -> None:
    honest = watcher.look()
    # Else one of its own name would be in the way.
    shop.execute("CREATE SCHEMA extensions")
    shop.execute("GRANT USAGE ON SCHEMA extensions TO PUBLIC")
    shop.execute("ALTER EXTENSION pg_stat_statements SET SCHEMA extensions")
    for schema in ("public", role):
        for statement in FAKES:
            shop.execute(sql.SQL(statement).format(schema=sql.Identifier(schema)))
    path = sql.SQL("SET search_path = {}, public, pg_catalog").format(sql.Identifier(role))
    for owner in (sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(shop.name)), alter(role)):
        shop.execute(owner + path)

    fooled = as_role(
        shop, role, "SELECT pg_relation_size(1::oid), 1::oid = 1::oid, (SELECT oid FROM pg_class)"
    )
    found = watcher.look()

    assert fooled == (42, False, 1)
    assert found == honest


@pytest.mark.parametrize("owner", ["role", "database"])
def test_settings_of_role_and_database_change_nothing(
    shop: TestDatabase, role: str, watcher: Watcher, owner: str
) -> None:
    honest = watcher.look()
    target = (
        alter(role) if owner == "role" else sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(shop.name))
    )
    for name, value in SETTINGS.items():
        shop.execute(target + sql.SQL("SET {} = {}").format(sql.Identifier(name), value))
    if shop.server.version_num >= 170000:
        shop.execute(target + sql.SQL("SET transaction_timeout = '2s'"))

    changed = as_role(shop, role, "SELECT current_setting('datestyle'), current_setting('statement_timeout')")
    found = watcher.look()

    assert changed == ("German, DMY", "2s")
    assert values(honest, "pg_index_definition_matches", "indexname") == {DECLARED.name: 1}
    assert found == honest


@pytest.mark.pg(">= 17")
def test_a_trigger_at_login_changes_nothing(shop: TestDatabase, role: str, watcher: Watcher) -> None:
    honest = watcher.look()
    shop.execute(
        """CREATE FUNCTION public.at_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF session_user LIKE '%_role' THEN
                SET transaction_read_only = off;
                CREATE TEMPORARY TABLE pg_class AS SELECT 1 AS oid;
                CREATE TEMPORARY TABLE pg_index AS SELECT 1 AS indexrelid;
                SET search_path = pg_temp, public, pg_catalog;
                SET "TimeZone" = 'Asia/Kathmandu';
                PERFORM set_config('statement_timeout', '1h', false);
            END IF;
        END $$"""
    )
    shop.execute("CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION public.at_login()")
    shop.execute("ALTER EVENT TRIGGER at_login ENABLE ALWAYS")
    shop.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(sql.Identifier(shop.name)))

    fooled = as_role(shop, role, "SELECT oid FROM pg_class")
    found = watcher.look()

    assert fooled == (1,)
    assert found == honest


def test_the_landing_page_shows_hostile_names_as_text(shop: TestDatabase) -> None:
    """The settings allow no such name for a target; the page does not lean on that."""
    targets = [Target(name, (described(shop),)) for name in NAMES]
    with serving(targets, ServiceOptions(listen_address="127.0.0.1:0")) as url:
        page = httpx.get(f"{url}/").text
        probes = [httpx.get(f"{url}/probe", params={"target": name}).status_code for name in NAMES]
        unknown = httpx.get(f"{url}/probe", params={"target": "<script>nobody</script>"})

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert 'quo"ted' not in page
    assert probes == [200] * len(NAMES)
    assert unknown.status_code == 404
    assert "script" not in unknown.text


def values(found: Samples, name: str, label: str) -> dict[str, float]:
    """The values of one family by one of its labels."""
    return {dict(labels)[label]: value for (sample, labels), value in found.items() if sample == name}


def alter(role: str) -> sql.Composed:
    return sql.SQL("ALTER ROLE {} ").format(sql.Identifier(role))
