"""The paths of the web server and their pages. Knows nothing of databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from html import escape
from typing import Protocol, TypeVar
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from exporter import __version__
from exporter.metrics.exposition import segment
from exporter.metrics.exposition.page import Page, PageFormat, accepts_gzip, choose_format
from exporter.metrics.web.lifecycle import Lifecycle, Reload
from exporter.metrics.web.service_discovery import PROBE_PATH, requested_url

CHUNK_BYTES = 64 * 1024
SMALLEST_GZIP_BYTES = 1024
SCRAPE_TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"

Result = TypeVar("Result")


class Pages(Protocol):
    """The source of the pages."""

    telemetry_path: str

    @property
    def target_names(self) -> tuple[str, ...]:
        """Return the targets that /probe accepts."""
        ...

    async def metrics_page(self, page_format: PageFormat, scrape_timeout_seconds: float | None) -> Page:
        """Return the page of the telemetry path."""
        ...

    def probe_page(
        self, name: str, page_format: PageFormat, scrape_timeout_seconds: float | None
    ) -> Awaitable[Page] | None:
        """Return the page of one target; None if there is no target of that name."""
        ...

    def targets_page(self, requested_url: str | None) -> Page | None:
        """Return the page of /sd, by the URL of the request; None if it is needed and unknown."""
        ...


class PageResponse(Response):
    """A page sent in chunks, so that a slow reader keeps a chunk in memory and not the page."""

    def __init__(self, page: Page, *, gzipped: bool, varies_by: str) -> None:
        length = segment.gzip_length if gzipped else segment.length
        headers = {"Vary": varies_by, "Content-Length": str(length(page.segments))}
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        super().__init__(headers=headers, media_type=page.content_type)
        self._page = page
        self._gzipped = gzipped

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the page; `send` raises if the client left or does not read."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            for chunk in self._chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _chunks(self) -> Iterator[bytes]:
        segments = self._page.segments
        pieces = segment.gzip(segments) if self._gzipped else segment.text(segments, CHUNK_BYTES)
        return in_chunks(pieces, CHUNK_BYTES)


def in_chunks(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the pieces as chunks of `size` bytes; the last one may be shorter."""
    chunk = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        while view:
            free = size - len(chunk)
            chunk += view[:free]
            view = view[free:]
            if len(chunk) == size:
                yield bytes(chunk)
                chunk.clear()
    if chunk:
        yield bytes(chunk)


class ClientLeft(Exception):
    """The client closed the connection before its page was ready."""


def make_app(pages: Pages, lifecycle: Lifecycle | None = None) -> Starlette:
    """Return the application that serves these pages and passes on requests to reload."""

    async def metrics(request: Request) -> Response:
        return await _answer(request, pages.metrics_page(_format(request), _scrape_timeout_seconds(request)))

    async def probe(request: Request) -> Response:
        name = request.query_params.get("target")
        if name is None:
            return _say("no target given: use /probe?target=NAME, a name from the settings", 400)
        page = pages.probe_page(name, _format(request), _scrape_timeout_seconds(request))
        if page is None:
            return _say("no target of that name in the settings", 404)
        return await _answer(request, page)

    async def targets(request: Request) -> Response:
        page = pages.targets_page(requested_url(request.scope["scheme"], request.headers.get("host", "")))
        if page is None:
            return _say("the request has no valid Host header; send one, or set --web.external-url", 400)
        return _page_response(request, page, varies_by="Accept-Encoding")

    async def reload(request: Request) -> Response:
        if lifecycle is None or not lifecycle.is_enabled:
            return _say(
                "reloading over HTTP is disabled: enable it with --web.enable-lifecycle, or send SIGHUP", 403
            )
        try:
            return _reload_response(await _unless_left(request, lifecycle.request()))
        except ClientLeft:
            return Response(status_code=499)

    async def landing(request: Request) -> Response:
        return HTMLResponse(_landing(pages))

    async def healthy(request: Request) -> Response:
        return _say("healthy")

    async def ready(request: Request) -> Response:
        return _say("ready")

    app = Starlette(
        routes=[
            Route(pages.telemetry_path, metrics),
            Route(PROBE_PATH, probe),
            Route("/sd", targets),
            Route("/-/reload", reload, methods=["POST", "PUT"]),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/", landing),
        ]
    )
    app.router.redirect_slashes = False
    return app


async def _answer(request: Request, page: Awaitable[Page]) -> Response:
    try:
        ready_page = await _unless_left(request, page)
    except ClientLeft:
        # Never read; nginx's status for it.
        return Response(status_code=499)
    return _page_response(request, ready_page, varies_by="Accept, Accept-Encoding")


def _page_response(request: Request, page: Page, *, varies_by: str) -> Response:
    is_large = segment.length(page.segments) >= SMALLEST_GZIP_BYTES
    accepted = accepts_gzip(request.headers.get("accept-encoding", ""))
    return PageResponse(page, gzipped=is_large and accepted, varies_by=varies_by)


async def _unless_left(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of `work`, which is cancelled when the client leaves.

    Raises: ClientLeft if it does.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return await working
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _format(request: Request) -> PageFormat:
    return choose_format(",".join(request.headers.getlist("accept")))


def _scrape_timeout_seconds(request: Request) -> float | None:
    """Return the timeout that Prometheus sent; None if it sent no valid one."""
    try:
        seconds = float(request.headers.get(SCRAPE_TIMEOUT_HEADER, ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def _reload_response(result: Reload) -> Response:
    if result.faults:
        lines = ("reload failed, the last valid settings stay active", *map(str, result.faults))
        return _say("\n".join(lines), 500)
    lines = ("settings reloaded", *(f"{name} takes effect after a restart" for name in result.fixed))
    return _say("\n".join(lines))


def _say(text: str, status_code: int = 200) -> Response:
    return PlainTextResponse(f"{text}\n", status_code)


def _landing(pages: Pages) -> str:
    links = [(pages.telemetry_path, "metrics")]
    if len(pages.target_names) > 1:
        links += [(f"{PROBE_PATH}?target={quote(name)}", f"metrics of {name}") for name in pages.target_names]
    links += [("/sd", "targets for http_sd_configs"), ("/-/healthy", "health"), ("/-/ready", "readiness")]
    items = "".join(f'<li><a href="{escape(path)}">{escape(text)}</a></li>' for path, text in links)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>pg-index-exporter</title></head>'
        f"<body><h1>pg-index-exporter {escape(__version__)}</h1>"
        f"<p>Metrics of PostgreSQL indexes for Prometheus.</p><ul>{items}</ul></body></html>\n"
    )
