"""What the server says of itself: identity, standbys, and since when its counters count."""

from __future__ import annotations

from exporter.model import ServerFacts
from exporter.postgres.requests import Request
from exporter.postgres.server.statistics import CountersEpoch, Walsenders

SERVER_FACTS = Request("server_facts", ServerFacts)
WALSENDERS = Request("walsenders", Walsenders)
COUNTERS_EPOCH = Request("epoch", CountersEpoch)
