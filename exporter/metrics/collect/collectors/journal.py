"""What the journal says of the declared indexes: canonical definitions and when they were built."""

from __future__ import annotations

from dataclasses import replace

from exporter.metrics.collect.context import Collected, DatabaseContext, Steps
from exporter.metrics.snapshot import JournalFacts
from exporter.model import RelationName
from exporter.postgres.counters.journal import journal_births, journal_definitions, journal_relations


class JournalCollector:
    """Collects from the table of events, after a check that reading it runs no code of its owner."""

    name = "journal"

    def __init__(self, journal_schema: str) -> None:
        self._schema = journal_schema

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        schema = self._schema
        request = journal_relations(schema)
        answers = yield (request,)
        relations = {relation.relname: relation for relation in answers.of(request)}
        events = relations.get("migration_events")
        if events is None or not context.database.declared:
            return Collected(context.snapshot)
        if not events.is_readable_journal:
            return Collected(context.snapshot, f"{schema}.migration_events exists and is not this tool's")
        if not events.may_select:
            return Collected(context.snapshot, f"no SELECT on {schema}.migration_events")
        migrations = {manifest.migration: manifest for manifest in context.database.manifests}
        definitions, births = journal_definitions(schema, migrations), journal_births(schema, migrations)
        answers = yield (definitions, births)
        canonical: dict[RelationName, str] = {}
        for row in answers.of(definitions):
            for index in migrations[row.name].indexes:
                if index.name == row.index_name:
                    canonical[index.relation] = row.definition
        facts = JournalFacts(canonical, {row.indexrelid: row.built_at for row in answers.of(births)})
        return Collected(replace(context.snapshot, journal=facts))
