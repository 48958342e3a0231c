"""The exporter as a whole: its options, its pages, and running it until it is stopped."""

from __future__ import annotations

import asyncio
import gc
import logging
import platform
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from exporter import __version__
from exporter.metrics.collect.context import CollectOptions
from exporter.metrics.collect.target import TargetCollector
from exporter.metrics.exposition.page import Page, PageFormat
from exporter.metrics.exposition.render import render_exporter
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.logs import configure_logging
from exporter.metrics.reload import Reloader
from exporter.metrics.snapshot import ExporterFacts
from exporter.metrics.web import server
from exporter.metrics.web.app import make_app
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.metrics.web.service_discovery import CONTENT_TYPE, target_groups
from exporter.model import Target
from exporter.settings.model import DEFAULTS, Settings
from exporter.settings.source import Configuration, Reading

logger = logging.getLogger(__name__)

OPENMETRICS_END = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """The options of `serve`. Units: seconds, characters."""

    listen_address: str = DEFAULTS.web_listen_address
    telemetry_path: str = DEFAULTS.web_telemetry_path
    web_config_file: Path | None = None
    external_url: str | None = None
    scrape_timeout_seconds: float = DEFAULTS.scrape_timeout_seconds
    connect_timeout_seconds: float = DEFAULTS.connect_timeout_seconds
    max_databases: int = DEFAULTS.max_databases
    max_indexes: int = DEFAULTS.max_indexes
    max_statements: int = DEFAULTS.max_statements
    query_text: bool = DEFAULTS.query_text
    query_text_length: int = DEFAULTS.query_text_length
    journal_schema: str = DEFAULTS.journal_schema
    log_level: str = DEFAULTS.log_level
    log_format: Literal["logfmt", "json"] = DEFAULTS.log_format

    @classmethod
    def of(cls, settings: Settings) -> ServiceOptions:
        """The options that the settings hold."""
        return cls(
            listen_address=settings.web_listen_address,
            telemetry_path=settings.web_telemetry_path,
            web_config_file=Path(settings.web_config_file) if settings.web_config_file else None,
            external_url=settings.web_external_url,
            scrape_timeout_seconds=settings.scrape_timeout_seconds,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            max_databases=settings.max_databases,
            max_indexes=settings.max_indexes,
            max_statements=settings.max_statements,
            query_text=settings.query_text,
            query_text_length=settings.query_text_length,
            journal_schema=settings.journal_schema,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )

    @property
    def collect(self) -> CollectOptions:
        """The subset of options that limits one collection."""
        return CollectOptions(
            connect_timeout_seconds=min(self.connect_timeout_seconds, self.scrape_timeout_seconds),
            # The server's own limit, in case this process can no longer cancel.
            statement_timeout_seconds=self.scrape_timeout_seconds,
            max_indexes=self.max_indexes,
            max_statements=self.max_statements,
            query_text=self.query_text,
            query_text_length=self.query_text_length,
            journal_schema=self.journal_schema,
        )


class ConfigStatus(Protocol):
    """A source of whether the settings in use are those of their files."""

    @property
    def is_current(self) -> bool:
        """True when they are."""
        ...

    @property
    def last_success(self) -> float:
        """When the files were last read and valid, in Unix time."""
        ...


class _Constant:
    """The status of settings that are read once."""

    is_current = True

    def __init__(self) -> None:
        self.last_success = time.time()


class Exporter:
    """The pages of all targets and of the exporter itself."""

    def __init__(self, targets: Sequence[Target], options: ServiceOptions) -> None:
        self.telemetry_path = options.telemetry_path
        self.status: ConfigStatus = _Constant()
        self._targets: Mapping[str, TargetCollector] = {}
        self._retired: list[TargetCollector] = []
        self.apply(targets, options)
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The target names that /probe accepts."""
        return tuple(self._targets)

    def apply(self, targets: Sequence[Target], options: ServiceOptions) -> None:
        """Serve these from the next request on; what is under way ends as it began.

        A target keeps its connections and what it knows, as far as they still apply.
        """
        self._external_url = options.external_url
        self._longest_seconds = options.scrape_timeout_seconds
        before, now = self._targets, dict[str, TargetCollector]()
        for target in targets:
            now[target.name] = service = before.get(target.name) or TargetCollector(
                target, options.collect, options.max_databases
            )
            service.apply(target, options.collect, options.max_databases)
        self._targets = MappingProxyType(now)
        self._retired = [service for service in self._retired if not service.is_over]
        for name in before.keys() - now.keys():
            before[name].retire()
            self._retired.append(before[name])

    async def metrics_page(self, page_format: PageFormat, scrape_timeout_seconds: float | None) -> Page:
        """The exporter itself and, when there is only one target, that target."""
        segments: tuple[Segment, ...] = (Segment.of(self._own_families(page_format)),)
        if len(self._targets) == 1:
            (target,) = self._targets.values()
            segments += await target.body(page_format, self._deadline(scrape_timeout_seconds))
        return _page(segments, page_format)

    def probe_page(
        self, name: str, page_format: PageFormat, scrape_timeout_seconds: float | None
    ) -> Awaitable[Page] | None:
        """One target, None when the settings have none of that name."""
        target = self._targets.get(name)
        if target is None:
            return None
        return self._target_page(target, page_format, scrape_timeout_seconds)

    def targets_page(self, requested_url: str | None) -> Page | None:
        """The URLs of the targets; None if neither the settings nor the request contain our URL."""
        url = self._external_url or requested_url
        if url is None:
            return None
        body = target_groups(self.target_names, url, self.telemetry_path)
        return Page(CONTENT_TYPE, (Segment.of(body),))

    def cut(self) -> None:
        """End all collections under way."""
        for target in (*self._targets.values(), *self._retired):
            target.cut()

    def close(self) -> None:
        """Close all connections."""
        for target in (*self._targets.values(), *self._retired):
            target.close()

    async def _target_page(
        self, target: TargetCollector, page_format: PageFormat, scrape_timeout_seconds: float | None
    ) -> Page:
        segments = await target.body(page_format, self._deadline(scrape_timeout_seconds))
        return _page(segments, page_format)

    def _deadline(self, scrape_timeout_seconds: float | None) -> float:
        """How long a collection may take, so that time is left to send the page."""
        if scrape_timeout_seconds is None:
            return self._longest_seconds
        margin = min(0.5, scrape_timeout_seconds / 2)
        return min(self._longest_seconds, scrape_timeout_seconds - margin)

    def _own_families(self, page_format: PageFormat) -> bytes:
        facts = ExporterFacts(
            version=__version__,
            python_version=platform.python_version(),
            config_is_current=self.status.is_current,
            config_last_success=self.status.last_success,
        )
        encode = generate_latest if page_format is PageFormat.TEXT else openmetrics.generate_latest
        process: bytes = encode(self._registry)
        return render_exporter(facts, page_format) + process.removesuffix(OPENMETRICS_END)


def _page(segments: tuple[Segment, ...], page_format: PageFormat) -> Page:
    if page_format is PageFormat.OPENMETRICS:
        segments += (Segment.of(OPENMETRICS_END),)
    return Page(page_format.value, segments)


def run(begun: Callable[[], Reading], read: Callable[[], Reading]) -> int:
    """Serve until SIGTERM or SIGINT and log to standard error; return the exit code.

    `begun` gives the first reading of the settings, `read` each one after it.

    Raises: SettingsError when the settings or the web configuration are invalid, or the address is taken.
    """
    hangup = server.Hangup()
    reading = begun()
    options = ServiceOptions.of(reading.configuration.settings)
    configure_logging(options.log_level, options.log_format)
    for note in reading.configuration.settings.origin.notes:
        logger.warning("%s is %s", note.place, note.what, extra={"hint": note.hint})
    web = LiveWebConfig(options.web_config_file)
    exporter = Exporter(reading.configuration.targets, options)

    def swap(configuration: Configuration) -> None:
        options = ServiceOptions.of(configuration.settings)
        exporter.apply(configuration.targets, options)
        configure_logging(options.log_level, options.log_format)

    async def serve(listener: socket.socket) -> None:
        exporter.status = reloader = Reloader(reading, read, swap, web)
        app = make_app(exporter, reloader)
        hangup.connect(reloader.request)
        reloading = asyncio.create_task(reloader.run())
        try:
            await server.serve_until_signal(app, listener, on_stop=exporter.cut, web=web)
        finally:
            reloading.cancel()

    with server.listen(options.listen_address) as listener:
        # What is loaded stays: no later look for garbage goes through it.
        gc.freeze()
        gc.enable()
        asyncio.run(serve(listener))
    exporter.close()
    return 0


@contextmanager
def serving(targets: Sequence[Target], options: ServiceOptions) -> Iterator[str]:
    """Serve in a thread of this process; give the base URL.

    Raises: SettingsError when the address cannot be listened on.
    """
    exporter = Exporter(targets, options)
    with server.listen(options.listen_address) as listener:
        stop = server.Stop()
        app = make_app(exporter)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(app, listener, stop, on_stop=exporter.cut)),
            name="exporter",
        )
        thread.start()
        try:
            yield server.base_url(listener)
        finally:
            stop.set()
            thread.join()
            exporter.close()
