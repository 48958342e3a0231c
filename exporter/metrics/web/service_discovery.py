"""What Prometheus' http_sd_configs is told: where each target is scraped, and the exporter itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

CONTENT_TYPE = "application/json"
PROBE_PATH = "/probe"

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


def requested_url(scheme: str, authority: str) -> str | None:
    """The URL that a request was sent to, None where its Host header names no host and port."""
    match = _AUTHORITY.fullmatch(authority)
    return f"{scheme}://{authority}" if match is not None and int(match[1] or 0) <= 65535 else None


def target_groups(names: Sequence[str], url: str, telemetry_path: str) -> bytes:
    """JSON of the target groups of an exporter that is reached under `url`, whose path is a prefix.

    `instance` differs between the targets of one exporter and between exporters: the alert rules join and
    count by it. Of several targets each is probed, and the exporter's own page is one more; an only target
    stands on that page already, and asking twice would count its server twice.
    """
    at = urlsplit(url)
    address = at.netloc if at.port is not None else f"{at.netloc}:{_PORTS[at.scheme]}"
    instance = f"{address}{at.path}"

    def group(path: str, labels: dict[str, str]) -> dict[str, object]:
        where = {"__scheme__": at.scheme, "__metrics_path__": f"{at.path}{path}"}
        return {"targets": [address], "labels": {**where, **labels}}

    def named(name: str) -> dict[str, str]:
        return {"instance": f"{instance}/{name}", "target": name}

    if len(names) == 1:
        groups = [group(telemetry_path, named(names[0]))]
    else:
        groups = [group(PROBE_PATH, {"__param_target": name, **named(name)}) for name in names]
        groups.append(group(telemetry_path, {"instance": instance}))
    return f"{json.dumps(groups, indent=2)}\n".encode()
