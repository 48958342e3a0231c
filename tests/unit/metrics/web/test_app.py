"""The HTTP surface over pages that need no database."""

import asyncio
import json
from collections.abc import Awaitable

import httpx
import pytest

from exporter.errors import Fault
from exporter.metrics.exposition.page import Page, PageFormat
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.web.app import CHUNK_BYTES, make_app
from exporter.metrics.web.lifecycle import Reload
from exporter.metrics.web.service_discovery import target_groups

BIG = b"x" * (2 * CHUNK_BYTES + 17)


class FixedPages:
    """Pages as they come from the exporter, with what it was asked for."""

    telemetry_path = "/metrics"

    def __init__(self, *target_names: str, body: bytes = BIG) -> None:
        self.target_names = target_names
        self.body = body
        self.asked: list[tuple[str, PageFormat, float | None]] = []

    async def metrics_page(self, page_format: PageFormat, scrape_timeout_seconds: float | None) -> Page:
        return self._page("", page_format, scrape_timeout_seconds)

    def probe_page(
        self, name: str, page_format: PageFormat, scrape_timeout_seconds: float | None
    ) -> Awaitable[Page] | None:
        if name not in self.target_names:
            return None
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        page.set_result(self._page(name, page_format, scrape_timeout_seconds))
        return page

    def targets_page(self, requested_url: str | None) -> Page | None:
        if requested_url is None:
            return None
        body = target_groups(self.target_names, requested_url, self.telemetry_path)
        return Page("application/json", (Segment.of(body),))

    def _page(self, name: str, page_format: PageFormat, seconds: float | None) -> Page:
        self.asked.append((name, page_format, seconds))
        return Page(page_format.value, (Segment.of(self.body),))


class FixedReload:
    """A reload with a fixed result."""

    def __init__(self, ended: Reload, *, is_enabled: bool = True) -> None:
        self.is_enabled = is_enabled
        self.requests = 0
        self._ended = ended

    async def request(self) -> Reload:
        self.requests += 1
        return self._ended


def request(
    pages: FixedPages,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    lifecycle: FixedReload | None = None,
) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(pages, lifecycle))
        async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:
            client.headers.pop("accept-encoding")
            return await client.request(method, path, headers=headers)

    return asyncio.run(send())


def test_metrics_in_text_without_opinions() -> None:
    pages = FixedPages("default")

    answer = request(pages, "/metrics")

    assert answer.status_code == 200
    assert answer.content == BIG
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["content-length"] == str(len(BIG))
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert pages.asked == [("", PageFormat.TEXT, None)]


def test_metrics_as_prometheus_asks() -> None:
    pages = FixedPages("default")
    headers = {
        "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
        "Accept-Encoding": "gzip",
        "X-Prometheus-Scrape-Timeout-Seconds": "7.5",
    }

    answer = request(pages, "/metrics", headers=headers)

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert int(answer.headers["content-length"]) < len(BIG)
    assert answer.content == BIG
    assert pages.asked == [("", PageFormat.OPENMETRICS, 7.5)]


def test_a_small_page_is_not_compressed() -> None:
    answer = request(FixedPages(body=b"up 1\n"), "/metrics", headers={"Accept-Encoding": "gzip"})

    assert "content-encoding" not in answer.headers
    assert answer.content == b"up 1\n"


@pytest.mark.parametrize("patience", ["", "soon", "-1", "0", "nan", "inf", "1e999"])
def test_a_patience_that_makes_no_sense_is_none(patience: str) -> None:
    pages = FixedPages()

    request(pages, "/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": patience})

    assert pages.asked[0][2] is None


def test_head_has_the_headers_and_no_body() -> None:
    answer = request(FixedPages(), "/metrics", "HEAD")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(BIG))


def test_probe_takes_names_of_targets_only() -> None:
    pages = FixedPages("primary", "replica")

    assert request(pages, "/probe?target=replica").status_code == 200
    assert request(pages, "/probe").status_code == 400
    refused = request(pages, "/probe?target=host%3Dother%20password%3Dhunter2")

    assert refused.status_code == 404
    assert "hunter2" not in refused.text
    assert [name for name, _, _ in pages.asked] == ["replica"]


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_health_needs_no_page(path: str) -> None:
    pages = FixedPages("default")

    assert request(pages, path).status_code == 200
    assert pages.asked == []


@pytest.mark.parametrize("path", ["/metrics/", "/favicon.ico", "/-/quit", "/metrics%00"])
def test_other_paths_are_not_found(path: str) -> None:
    assert request(FixedPages(), path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/probe?target=x", "/sd", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_not_allowed(path: str, method: str) -> None:
    answer = request(FixedPages("x"), path, method)

    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_landing_page_links_escaped() -> None:
    answer = request(FixedPages("a", "<script>&"), "/")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert 'href="/metrics"' in answer.text
    assert 'href="/probe?target=%3Cscript%3E%26"' in answer.text
    assert "<script>" not in answer.text


def test_targets_are_those_of_the_url_that_was_asked() -> None:
    answer = request(FixedPages("primary", "replica"), "/sd", headers={"Host": "10.1.2.3:10187"})

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert {address for group in answer.json() for address in group["targets"]} == {"10.1.2.3:10187"}


def test_targets_are_compressed_and_have_a_head_as_other_pages() -> None:
    pages = FixedPages(*(f"server_{number}" for number in range(20)))

    plain = request(pages, "/sd")
    compressed = request(pages, "/sd", headers={"Accept-Encoding": "gzip"})
    head = request(pages, "/sd", "HEAD")

    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < len(plain.content)
    assert compressed.json() == plain.json()
    assert (head.content, head.headers["content-length"]) == (b"", str(len(plain.content)))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "x/y",
        'x"',
        "user:secret@host",
        "host:port",
        "host:65536",
        "[::1",
        "[::::]",
        "[::1]:99999",
        "[1.2.3.4]",
    ],
)
def test_a_host_that_is_none_is_not_handed_on(host: str) -> None:
    answer = request(FixedPages("primary"), "/sd", headers={"Host": host})

    assert answer.status_code == 400
    assert "--web.external-url" in answer.text
    assert json.dumps(host) not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_reload_says_how_it_ended(method: str) -> None:
    good = FixedReload(Reload(fixed=("web_listen_address",)))
    bad = FixedReload(Reload((Fault("s.yaml:3", "unknown key 'hots'", "did you mean 'host'?"),)))

    done = request(FixedPages(), "/-/reload", method, lifecycle=good)
    refused = request(FixedPages(), "/-/reload", method, lifecycle=bad)

    assert (done.status_code, refused.status_code) == (200, 500)
    assert done.text == "settings reloaded\nweb_listen_address takes effect after a restart\n"
    assert "s.yaml:3: unknown key 'hots'; did you mean 'host'?\n" in refused.text
    assert (good.requests, bad.requests) == (1, 1)


@pytest.mark.parametrize("lifecycle", [None, FixedReload(Reload(), is_enabled=False)])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_reload_that_is_not_allowed_says_what_would_allow_it(
    method: str, lifecycle: FixedReload | None
) -> None:
    answer = request(FixedPages(), "/-/reload", method, lifecycle=lifecycle)

    assert answer.status_code == 403
    assert "--web.enable-lifecycle" in answer.text
    assert lifecycle is None or lifecycle.requests == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_reload_is_never_asked_for_by_another_method(method: str) -> None:
    lifecycle = FixedReload(Reload())

    answer = request(FixedPages(), "/-/reload", method, lifecycle=lifecycle)

    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"POST", "PUT"}
    assert lifecycle.requests == 0
