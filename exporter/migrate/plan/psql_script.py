"""A migration as a psql script, for sites where SQL is run by hand: same statements, same journal. Pure.

The server compiles each declaration first, so that an injected command is an error before anything is built.
Text of the manifest is in dollar quotes only, where psql neither expands its own commands and variables nor
ends a statement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from psycopg import sql

from exporter import __version__
from exporter.errors import SettingsError
from exporter.model import DeclaredIndex, Manifest, RelationName
from exporter.postgres import ddl
from exporter.postgres.queries import query_text, script_text
from exporter.postgres.sessions.locks import TOOL_KEY
from exporter.postgres.target import SESSION

# The script runs on every supported version; what differs is decided by the server inside the queries.
_OLDEST = 140000
_BUILD_SESSION = {
    "default_transaction_read_only": "off",
    "lock_timeout": "0",
    "statement_timeout": "24h",
    "transaction_timeout": "0",
}


def as_script(manifest: Manifest, journal_schema: str) -> str:
    """The psql script that creates the declared indexes, analyzes and keeps the journal."""
    parts = [_header(manifest), _begin(journal_schema)]
    parts += [_index(index, manifest, journal_schema) for index in manifest.indexes]
    parts.append(_end(manifest, journal_schema))
    return "\n".join(parts)


def only_manifest(manifests: Sequence[Manifest], migration: str | None) -> Manifest:
    """The manifest to write a script of: the only one, or the one of that migration.

    Raises: SettingsError when that is not exactly one.
    """
    matching = [manifest for manifest in manifests if migration in (None, manifest.migration)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(manifest.migration for manifest in manifests) or "none"
    raise SettingsError(
        f"which migration? bound to this database: {names}",
        hint="bind one with --manifest FILE, or name one with --migration NAME",
    )


def _header(manifest: Manifest) -> str:
    lines = [
        f"{manifest.migration}, written by pg-index-exporter {__version__} (plan --sql)",
        "",
        "Run it as the tables' owner on the primary, outside any transaction:",
        "",
        "  psql -X -d DATABASE -f THIS_FILE",
        "",
        "It builds missing indexes with CREATE INDEX CONCURRENTLY, one at a time. It can be rerun: an index",
        "that is present as declared is kept. It stops at an INVALID index of a declared name, or one with",
        "another definition, and does not change it. It does not build on partitioned tables: only",
        "`pg-index-exporter init` builds on their partitions. To follow it from another session:",
        "",
        "  SELECT phase, blocks_done, blocks_total FROM pg_stat_progress_create_index;",
        "  SELECT index_name, phase, status FROM migration_log;",
        "",
        "An interrupted build leaves an INVALID index: drop it with DROP INDEX CONCURRENTLY and rerun this,",
        "or run `pg-index-exporter init`, which cleans up and finishes.",
    ]
    return "".join(f"-- {line}".rstrip() + "\n" for line in lines)


def _begin(journal_schema: str) -> str:
    create = sql.SQL(query_text("journal_create", server_version_num=_OLDEST)).format(
        schema=sql.Identifier(journal_schema)
    )
    settings = {**SESSION, **_BUILD_SESSION}
    return _filled(
        "begin",
        settings=",\n".join(
            f"        ({_literal(name)}, {_literal(value)})" for name, value in settings.items()
        ),
        schemaname=_literal(journal_schema),
        journal_create=create.as_string(None).strip(),
    )


def _index(index: DeclaredIndex, manifest: Manifest, journal_schema: str) -> str:
    clone = RelationName("pg_temp", index.table.relname)
    compile_it = ddl.as_text(ddl.create_index(index, concurrently=False, table=ddl.qualified(clone)))
    schemaname, relname = _literal(index.table.schemaname), _literal(index.table.relname)
    relid = _dollar(index.table.quoted) + "::pg_catalog.regclass"
    quoted = index.relation.quoted
    return _filled(
        "index",
        title=_echoed(f"{quoted} on {index.table.quoted}"),
        create_clone=ddl.as_text(ddl.create_clone(index.table, index.table.relname)),
        # plpgsql's EXECUTE refuses COMMIT, with which a planted command would leave this transaction.
        compile=_dollar(f"BEGIN EXECUTE {_dollar(compile_it)}; END"),
        compiled_index=_bound("compiled_index", schemaname=schemaname, relname=relname),
        table_indexes=_bound("table_indexes", relid=relid),
        schemaname=schemaname,
        relname=relname,
        partitioned=_dollar(
            _raise(
                f"{quoted} is not built: {index.table.quoted} is partitioned",
                "pg-index-exporter init builds it partition by partition.",
            )
        ),
        index_name=_literal(index.name),
        in_place="true" if index.tablespace is None else f"t.tablespace = {_literal(index.tablespace)}",
        advisory_lock=_bound("advisory_lock", tool=str(TOOL_KEY), relid=relid),
        busy=_dollar(_raise(f"{quoted} is not built", "Wait until the other run ends, then rerun this.")),
        migration=_literal(manifest.migration),
        journal=_relation(journal_schema, "migration_events"),
        create=_dollar(ddl.as_text(ddl.create_index(index))),
        check=_dollar(_check(index)),
        stop=_dollar(_raise(f"{quoted} is not built", _hint(index))),
    )


def _check(index: DeclaredIndex) -> str:
    """The body of a block that fails unless the index is valid: CREATE INDEX succeeding is not enough."""
    missing = f"{index.relation.quoted} is not valid after its build"
    return (
        "BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_index"
        f" WHERE indexrelid = {_dollar(index.relation.quoted)}::pg_catalog.regclass"
        " AND indisvalid AND indisready AND indislive)"
        f" THEN RAISE EXCEPTION USING MESSAGE = {_dollar(missing)}; END IF; END"
    )


def _raise(message: str, hint: str) -> str:
    """The body of a block that fails with the message."""
    return f"BEGIN RAISE EXCEPTION USING MESSAGE = {_dollar(message)}, HINT = {_dollar(hint)}; END"


def _hint(index: DeclaredIndex) -> str:
    drop = ddl.as_text(ddl.drop_index(index.relation))
    return f"If it is INVALID and not being built: {drop}; if its definition differs: rename one of the two."


def _end(manifest: Manifest, journal_schema: str) -> str:
    tables = dict.fromkeys((*(index.table for index in manifest.indexes), *manifest.analyze))
    names = ", ".join(_literal(index.name) for index in manifest.indexes)
    migration = _literal(manifest.migration)
    unfinished = (
        f"l.name = {migration} AND l.index_name = ANY (ARRAY[{names}]::pg_catalog.text[])",
        "l.phase IN ('building', 'detached', 'catalog_ok', 'analyzed') AND l.status <> 'failed'",
    )
    return _filled(
        "end",
        journal=_relation(journal_schema, "migration_events"),
        log=_relation(journal_schema, "migration_log"),
        migration=migration,
        unfinished="\n    AND ".join(unfinished),
        analyze="\n".join(f"{ddl.as_text(ddl.analyze(table))};" for table in tables),
    )


def _filled(name: str, **parts: str) -> str:
    """The template with its parts; keys inside a part are not replaced."""
    return re.sub(r"\{([a-z_]+)\}", lambda match: parts[match[1]], script_text(name))


def _bound(what: str, **literals: str) -> str:
    """A query file with SQL text in place of its parameters, without its comments and last blank line."""
    text: str = query_text(what, server_version_num=_OLDEST)
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    bound = "\n".join(kept).strip()
    for key, value in literals.items():
        bound = bound.replace(f"%({key})s", value)
    return bound


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None).strip()


def _relation(schemaname: str, relname: str) -> str:
    return sql.Identifier(schemaname, relname).as_string(None)


def _dollar(text: str) -> str:
    """The text in dollar quotes whose tag it does not hold."""
    number = 0
    while f"$sql{number or ''}$" in f"{text}$":
        number += 1
    tag = f"$sql{number or ''}$"
    return f"{tag}{text}{tag}"


def _echoed(text: str) -> str:
    r"""The text as an argument of psql's \echo, which knows escapes of its own."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return "'" + printable.replace("\\", "\\\\").replace("'", "\\'") + "'"
