"""Prometheus' scrapes while clients hold connections that say nothing or do not read their answer."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from bench.contenders import HttpContender
from bench.scraper import ScrapeFailed
from exporter.demo.processes import LOOPBACK

IDLE, NEVER_READING = 300, 50
SCRAPES = 10
PAUSE_SECONDS = 1.0
SETTLE_SECONDS = 2.0
# Little room on our side too, so that the server's side fills up at once.
RECEIVE_BUFFER_BYTES = 4096
REQUEST = f"GET /metrics HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class UnderSlowClients:
    """Units: seconds. `longest_seconds` counts the scrapes that were answered."""

    longest_seconds: float
    lost: int


def scrape_under_slow_clients(exporter: HttpContender) -> UnderSlowClients:
    """How scrapes fare, one a second, with all the slow clients there."""
    times: list[float] = []
    lost = 0
    with slow_clients(exporter.port):
        time.sleep(SETTLE_SECONDS)
        for _ in range(SCRAPES):
            try:
                times.append(exporter.scrape())
            except ScrapeFailed:
                lost += 1
            time.sleep(PAUSE_SECONDS)
    return UnderSlowClients(max(times, default=float("inf")), lost)


@contextmanager
def slow_clients(port: int) -> Iterator[None]:
    """Keeps the slow clients connected: one that the server closes comes again."""
    stop = threading.Event()
    thread = threading.Thread(target=_hold, args=(port, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _hold(port: int, stop: threading.Event) -> None:
    # Nothing is ever read; poll tells of ended connections only.
    ended = select.poll()
    clients: dict[int, tuple[socket.socket, bytes]] = {}
    for request in [b""] * IDLE + [REQUEST] * NEVER_READING:
        _open(port, request, clients, ended)
    while not stop.wait(0.1):
        for descriptor, _ in ended.poll(0):
            client, request = clients.pop(descriptor)
            ended.unregister(descriptor)
            client.close()
            _open(port, request, clients, ended)
    for client, _ in clients.values():
        client.close()


def _open(
    port: int, request: bytes, clients: dict[int, tuple[socket.socket, bytes]], ended: select.poll
) -> None:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    with suppress(OSError):
        client.connect((LOOPBACK, port))
        client.sendall(request)
    clients[client.fileno()] = client, request
    ended.register(client, select.POLLRDHUP)
