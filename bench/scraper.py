"""Scrapes as Prometheus does them, timed from the first byte asked to the last one received."""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass

from isal import igzip

from exporter.demo.processes import LOOPBACK

# What Prometheus 3 sends with its default settings.
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/3.0.0",
}
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

Labels = frozenset[tuple[str, str]]


class ScrapeFailed(Exception):
    """The scrape gave no whole page."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """A page as it came. Units: seconds."""

    seconds: float
    compressed: bytes

    def text(self) -> bytes:
        """The page."""
        text: bytes = igzip.decompress(self.compressed)  # type: ignore[no-untyped-call]  # isal has no types
        return text

    def families(self) -> dict[str, dict[Labels, float]]:
        """The samples of every family by their labels."""
        found: dict[str, dict[Labels, float]] = {}
        for name, labels, value in _SAMPLE.findall(self.text().decode()):
            found.setdefault(name, {})[frozenset(_LABEL.findall(labels))] = float(value)
        return found


def scrape(port: int, timeout_seconds: float, path: str = "/metrics") -> Scrape:
    """A page over a connection of its own.

    Raises: ScrapeFailed.
    """
    headers = {**HEADERS, "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_seconds:g}"}
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_seconds)
    start = time.perf_counter()
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - start
    except (OSError, http.client.HTTPException) as error:
        raise ScrapeFailed(f"port {port}: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200 or response.headers.get("Content-Encoding") != "gzip":
        raise ScrapeFailed(f"port {port} answered {response.status}: {body[:200]!r}")
    return Scrape(seconds, body)
