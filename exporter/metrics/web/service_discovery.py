"""The answer to Prometheus' http_sd_configs: where each target is scraped, and the exporter itself."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

CONTENT_TYPE = "application/json"
PROBE_PATH = "/probe"

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


def requested_url(scheme: str, authority: str) -> str | None:
    """Return the URL that a request was sent to; None if its Host header is no host, or no port."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match["port"] or 0) > 65535:
        return None
    if match["ipv6"] is not None:
        try:
            ipaddress.IPv6Address(match["ipv6"])
        except ValueError:
            return None
    return f"{scheme}://{authority}"


def target_groups(names: Sequence[str], url: str, telemetry_path: str) -> bytes:
    """Return the target groups of an exporter under `url`, whose path is a prefix, as JSON.

    `instance` differs between the targets of one exporter and between exporters: the alert rules join and
    count by it. Each of several targets is probed, and the exporter's own page is one more group. A single
    target is part of that page: another group would count its server twice.
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
