"""What goes over HTTP: finished pages, and which one a client wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from exporter.metrics.exposition.segment import Segment


class PageFormat(Enum):
    """An exposition format; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An immutable page, kept compressed: it is a small part of its text, and many clients may hold one."""

    content_type: str
    segments: tuple[Segment, ...]


def choose_format(accept: str) -> PageFormat:
    """The format that the Accept header prefers; text where it has no opinion or wants neither."""
    openmetrics = text = 0.0
    for media_type, parameters, quality in _choices(accept):
        version = parameters.get("version")
        if media_type == "application/openmetrics-text" and version in (None, "1.0.0"):
            openmetrics = max(openmetrics, quality)
        elif media_type in ("text/plain", "text/*") and version in (None, "0.0.4"):
            text = max(text, quality)
    return PageFormat.OPENMETRICS if openmetrics > text else PageFormat.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """True when the Accept-Encoding header allows gzip."""
    qualities = {coding: quality for coding, _, quality in _choices(accept_encoding)}
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _choices(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for choice in header.split(","):
        name, *rest = (part.strip() for part in choice.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if name and 0 <= quality <= 1:
            yield name.lower(), parameters, quality
