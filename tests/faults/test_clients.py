"""Clients that do not read, or leave in mid-page, cost the others nothing and hold no stop."""

import logging
import socket
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.web_server import serving_pages
from tests.unit.metrics.web.test_app import FixedPages

# More than the kernel's buffers of both ends take.
BIG = b"x" * 30_000_000
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"


def big_pages() -> AbstractContextManager[str]:
    """The URL of a server of big pages, which is stopped at the end."""
    return serving_pages(FixedPages("default", body=BIG))


def asking(url: str) -> socket.socket:
    """A client that has sent its request and read the first bytes of the answer."""
    address = urlsplit(url)
    client = socket.create_connection((address.hostname, address.port or 0))
    client.sendall(REQUEST)
    assert client.recv(4096).startswith(b"HTTP/1.1 200")
    return client


def test_clients_that_do_not_read_hold_neither_others_nor_the_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with big_pages() as url:
        clients = [asking(url) for _ in range(5)]
        body = httpx.get(f"{url}/metrics", headers={"Accept-Encoding": "identity"}, timeout=60).content

    for client in clients:
        client.close()
    assert body == BIG
    assert [record.getMessage() for record in caplog.records if record.name.startswith("exporter")] == [
        "listening",
        "stopping",
    ]
    assert "raised exception" not in caplog.text


def test_a_client_that_leaves_in_mid_page_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with big_pages() as url:
        for _ in range(3):
            asking(url).close()
        assert httpx.get(f"{url}/-/healthy", timeout=60).status_code == 200

    assert caplog.text == ""
