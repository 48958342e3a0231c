"""Identity of the server, and how many standbys stream from it."""

from __future__ import annotations

from dataclasses import replace

from exporter.metrics.collect.context import Collected, DatabaseContext, Steps
from exporter.postgres.fetching import SERVER_FACTS
from exporter.postgres.server.statistics import WALSENDERS


class ServerCollector:
    """Collects the server's facts."""

    name = "server"

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        answers = yield (SERVER_FACTS, WALSENDERS)
        (facts,), (senders,) = answers.of(SERVER_FACTS), answers.of(WALSENDERS)
        gap = f"{senders.hidden} WAL senders are hidden; grant pg_monitor" if senders.hidden else None
        return Collected(replace(context.snapshot, facts=facts, walsenders=senders.walsenders), gap)
