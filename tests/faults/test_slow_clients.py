"""Clients that say nothing, half a request or too much, or that do not read: every scrape is answered."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from exporter.metrics.exposition.page import Page, PageFormat
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.web.acceptor import Acceptor
from exporter.metrics.web.app import CHUNK_BYTES, make_app
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.metrics.web.connection import Limits
from tests.support.certificates import Authority
from tests.support.waiting import wait_for
from tests.support.web_server import serving_pages
from tests.unit.metrics.web.test_app import FixedPages

# More than the kernel's buffers of both ends take.
BIG = b"x" * 30_000_000
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
# Long enough to stay while the scrapes come.
PATIENT = Limits(handshake_seconds=600, idle_seconds=600, write_seconds=600)
HASTY = Limits(handshake_seconds=0.2, idle_seconds=0.2, write_seconds=0.2)


class BigPages(FixedPages):
    """Pages that cost the server nothing but to send them."""

    page = Page(PageFormat.TEXT.value, (Segment.of(BIG),))

    async def metrics_page(self, page_format: PageFormat, scrape_timeout_seconds: float | None) -> Page:
        return self.page


def connect(url: str, sent: bytes = b"", receive_buffer_bytes: int | None = None) -> socket.socket:
    """A client that has sent this and reads nothing."""
    address = urlsplit(url)
    client = socket.socket()
    if receive_buffer_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    client.connect((address.hostname, address.port))
    client.sendall(sent)
    return client


def read_to_the_end(client: socket.socket) -> bytes:
    """All that comes before the server ends the connection; a reset is an end too."""
    client.settimeout(60)
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1_000_000):
            received += data
    return bytes(received)


def scrape(url: str) -> bytes:
    answer = httpx.get(
        f"{url}/metrics", headers={"Accept-Encoding": "identity"}, timeout=60, verify=unverified()
    )
    assert answer.status_code == 200
    return answer.content


def unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def secured_config(folder: Path, more: str = "") -> LiveWebConfig:
    Authority(folder).issue("server", "localhost")
    path = folder / "web.yml"
    path.write_text(f"tls_server_config: {{cert_file: server.pem, key_file: server.key}}\n{more}")
    return LiveWebConfig(path)


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """The clients of a test, which hang until its end."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("is_secured", [False, True])
def test_scrapes_are_answered_while_others_hang(
    clients: ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_secured: bool
) -> None:
    caplog.set_level(logging.INFO)
    web = secured_config(tmp_path) if is_secured else None
    with serving_pages(BigPages("default"), web=web, limits=PATIENT) as url:
        for number in range(300):
            clients.enter_context(connect(url, (b"", b"GET /met", b"\x16\x03\x01")[number % 3]))
        for _ in range(50):
            client = connect(url, b"" if is_secured else REQUEST, receive_buffer_bytes=4096)
            if is_secured:
                client = unverified().wrap_socket(client)
                client.sendall(REQUEST)
            clients.enter_context(client)

        pages = [scrape(url) for _ in range(10)]

        assert all(page == BIG for page in pages)
        clients.close()
    assert [record.getMessage() for record in caplog.records if record.name != "httpx"] == [
        "listening",
        "stopping",
    ]


def test_beyond_the_limit_the_quietest_connection_goes(clients: ExitStack) -> None:
    limits = Limits(max_connections=20, idle_seconds=600)
    with serving_pages(FixedPages("default", body=b"page\n"), limits=limits) as url:
        first = clients.enter_context(connect(url))
        others = [clients.enter_context(connect(url)) for _ in range(19)]

        assert scrape(url) == b"page\n"

        assert read_to_the_end(first) == b""
        others[-1].sendall(REQUEST)
        assert others[-1].recv(100).startswith(b"HTTP/1.1 200")
        # However many come, the next is answered.
        for _ in range(100):
            clients.enter_context(connect(url))
        assert scrape(url) == b"page\n"


class SlowPages(FixedPages):
    """Pages that wait until `may_come` is true."""

    def __init__(self) -> None:
        super().__init__("default", body=b"page\n")
        self.may_come = False

    async def metrics_page(self, page_format: PageFormat, scrape_timeout_seconds: float | None) -> Page:
        page = await super().metrics_page(page_format, scrape_timeout_seconds)
        while not self.may_come:
            await asyncio.sleep(0.01)
        return page


def test_scrapes_that_wait_for_the_database_are_not_dropped_for_others(clients: ExitStack) -> None:
    pages = SlowPages()
    with serving_pages(pages, limits=Limits(max_connections=5)) as url:
        scrapers = [clients.enter_context(connect(url, REQUEST)) for _ in range(5)]
        wait_for("the requests", lambda: len(pages.asked) == 5 or None)

        refused = clients.enter_context(connect(url, REQUEST))
        assert read_to_the_end(refused) == b""
        pages.may_come = True

        for scraper in scrapers:
            assert scraper.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        REQUEST[:-2],
        b"\x16\x03\x01",
        b"POST /-/healthy HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\n\r\nab",
    ],
)
def test_half_requests_are_dropped(sent: bytes) -> None:
    with serving_pages(FixedPages("default"), limits=HASTY) as url, connect(url, sent) as client:
        assert b" 200 " not in read_to_the_end(client)


def test_half_handshakes_are_dropped(tmp_path: Path) -> None:
    web = secured_config(tmp_path)
    with (
        serving_pages(FixedPages("default"), web=web, limits=HASTY) as url,
        connect(url, b"\x16\x03\x01") as half,
        connect(url) as silent,
    ):
        assert read_to_the_end(half) == read_to_the_end(silent) == b""


def test_a_client_that_answers_in_drops_is_dropped() -> None:
    """What it sends must not count as a sign of life before it has asked for something."""
    with serving_pages(FixedPages("default"), limits=HASTY) as url, connect(url) as client:
        client.settimeout(60)

        def dropped() -> bool | None:
            try:
                client.sendall(b"G")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return None

        assert wait_for("the end of the connection", dropped)


@pytest.mark.parametrize("is_secured", [False, True])
def test_clients_that_do_not_read_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_secured: bool
) -> None:
    web = secured_config(tmp_path) if is_secured else None
    with serving_pages(BigPages("default"), web=web, limits=HASTY) as url:
        client = connect(url, receive_buffer_bytes=4096)
        if is_secured:
            client = unverified().wrap_socket(client)
        client.sendall(REQUEST)

        # The answer has begun; the server's end is gone while this one reads no more of it.
        assert client.recv(1) == b"H"
        wait_for("the end of the connection", lambda: not established(url) or None)
        with client:
            assert len(received(client)) < len(BIG)
    assert caplog.text == ""


def test_of_many_clients_that_do_not_read_the_longest_waiting_are_dropped(clients: ExitStack) -> None:
    limits = Limits(max_unread_answers=5, idle_seconds=600, write_seconds=600)
    with serving_pages(BigPages("default"), limits=limits) as url:
        first = [clients.enter_context(connect(url, REQUEST, 4096)) for _ in range(5)]
        wait_for("the answers", lambda: all(client.recv(1, socket.MSG_PEEK) for client in first) or None)
        others = [clients.enter_context(connect(url, REQUEST, 4096)) for _ in range(5)]
        wait_for("the end of the first", lambda: established(url) == 5 or None)

        assert all(len(read_to_the_end(client)) < len(BIG) for client in first)
        # A client that reads is never the one that waits longest.
        assert scrape(url) == BIG
        assert others[-1].recv(1) == b"H"


def test_clients_that_do_not_read_keep_little_of_their_page_in_memory(clients: ExitStack) -> None:
    pages = BigPages("default")
    # Half of it is left when it is compressed.
    pages.page = Page(PageFormat.TEXT.value, (Segment.of(os.urandom(2_000_000).hex().encode()),))
    with serving_pages(pages, limits=PATIENT) as url:
        scrape(url)
        tracemalloc.start()
        clients.callback(tracemalloc.stop)
        for _ in range(20):
            clients.enter_context(connect(url, REQUEST, 4096)).recv(1, socket.MSG_PEEK)
        assert httpx.get(f"{url}/-/healthy").status_code == 200
        kept, _ = tracemalloc.get_traced_memory()

    assert kept / 20 < 6 * CHUNK_BYTES


def received(client: socket.socket) -> bytes:
    with contextlib.suppress(ssl.SSLError):
        return read_to_the_end(client)
    return b""


def established(url: str) -> int:
    """How many connections this process has accepted on the server's port and not ended."""
    port = f":{urlsplit(url).port:04X}"
    lines = Path(f"/proc/{os.getpid()}/net/tcp").read_text().splitlines()[1:]
    rows = (line.split() for line in lines)
    # One that waits in the kernel to be accepted has no inode yet.
    return sum(row[1].endswith(port) and row[3] == "01" and row[9] != "0" for row in rows)


def test_what_is_left_of_a_page_has_its_time_too(caplog: pytest.LogCaptureFixture) -> None:
    """The last chunk fits into the server's own buffer, so nothing waits for the client to take it."""
    with serving_pages(FixedPages("default", body=b"x" * 100_000), limits=HASTY) as url:
        with connect(url, REQUEST, receive_buffer_bytes=1024) as client:
            wait_for("the end of the connection", lambda: not established(url) or None)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert caplog.text == ""


def test_heads_beyond_the_limit_are_refused() -> None:
    head = b"GET /metrics HTTP/1.1\r\nHost: e\r\nX: " + b"x" * 100_000
    with serving_pages(FixedPages("default")) as url, connect(url, head) as client:
        assert read_to_the_end(client).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 9999999999\r\n\r\nx",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2000,
        b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_bodies_are_refused_and_not_waited_for(body: bytes) -> None:
    with (
        serving_pages(FixedPages("default"), limits=PATIENT) as url,
        connect(url, b"POST /metrics HTTP/1.1\r\nHost: e\r\n" + body) as client,
    ):
        assert b"HTTP/1.1 413" in read_to_the_end(client)


@pytest.mark.parametrize(
    "offer",
    [
        b"GET /-/healthy HTTP/1.1\r\nHost: e\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: e\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ],
)
def test_an_offer_of_another_protocol_is_ignored(offer: bytes) -> None:
    with serving_pages(FixedPages("default")) as url, connect(url, offer) as client:
        client.settimeout(60)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: e\r\n\r\n",
        b"CONNECT e:443 HTTP/1.1\r\nHost: e\r\n\r\n",
        bytes(range(256)),
    ],
)
def test_other_protocols_are_no_scrape_and_no_error(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with serving_pages(FixedPages("default"), limits=HASTY) as url:
        with connect(url, sent) as client:
            answer = read_to_the_end(client)
        assert httpx.get(f"{url}/-/healthy").status_code == 200

    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert b" 101 " not in answer.partition(b"\r\n")[0]
    assert caplog.text == ""


def test_requests_one_after_the_other_in_one_connection() -> None:
    with serving_pages(FixedPages("default", body=b"page\n")) as url, connect(url, REQUEST * 3) as client:
        client.settimeout(60)
        answers = b""
        while answers.count(b"page\n") < 3:
            answers += client.recv(10_000)

    assert answers.count(b"HTTP/1.1 200") == 3


def test_the_end_of_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    async def is_sent_at_once() -> bool:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        client.sendall(REQUEST)
        connections = Acceptor(make_app(FixedPages("default")))
        connections.begin(accepted, ("127.0.0.1", 0))
        client.setblocking(False)
        with client:
            assert await asyncio.get_running_loop().sock_recv(client, 100)
            is_sent_at_once = bool(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await connections.drop()
        return is_sent_at_once

    assert asyncio.run(is_sent_at_once())


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    """Lowers how many files may be open, in all, for the rest of the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_descriptors_the_quietest_connection_makes_room(
    clients: ExitStack, few_descriptors: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    with serving_pages(FixedPages("default", body=b"page\n"), limits=PATIENT) as url:
        for _ in range(20):
            clients.enter_context(connect(url))
        wait_for("the connections", lambda: established(url) >= 20 or None)
        scraper = clients.enter_context(socket.socket())
        few_descriptors(highest_descriptor() + 1)
        clients.callback(close_all, occupy_the_rest())

        # The kernel takes the connection, the server has no descriptor for it.
        address = urlsplit(url)
        scraper.connect((address.hostname, address.port))
        scraper.sendall(REQUEST)
        scraper.settimeout(60)

        assert scraper.recv(1000).startswith(b"HTTP/1.1 200")
        clients.close()
    assert [record.getMessage() for record in caplog.records] == ["cannot accept connections"]


def highest_descriptor() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd"))


def occupy_the_rest() -> list[int]:
    """The descriptors that were still to be had."""
    occupied: list[int] = []
    while True:
        try:
            occupied.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return occupied


def close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
