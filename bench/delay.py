"""A proxy in front of the server that delays what clients send, as a network between them would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bench.database import BenchServer
from exporter.demo.processes import LOOPBACK

CHUNK_BYTES = 1 << 18


class DelayingProxy:
    """Passes bytes both ways; a round trip takes `delay_seconds` longer.

    `round_trips` counts how often a client sent something after it had received an answer.
    """

    def __init__(self, port: int, delay_seconds: float) -> None:
        self._upstream_port = port
        self._delay_seconds = delay_seconds
        self.round_trips = 0
        self.port = 0

    async def serve(self, is_listening: threading.Event, stop: asyncio.Event) -> None:
        """Serve until `stop` is set."""
        server = await asyncio.start_server(self._connect, LOOPBACK, 0, limit=CHUNK_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        is_listening.set()
        await stop.wait()
        server.close()

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        loop = asyncio.get_running_loop()
        client_sent_last = False

        async def ask() -> None:
            nonlocal client_sent_last
            while received := await client.read(CHUNK_BYTES):
                self.round_trips += not client_sent_last
                client_sent_last = True
                # In the order in which it came, each piece after the same time.
                loop.call_later(self._delay_seconds, to_upstream.write, received)
            loop.call_later(self._delay_seconds, to_upstream.close)

        async def answer() -> None:
            nonlocal client_sent_last
            while received := await upstream.read(CHUNK_BYTES):
                client_sent_last = False
                to_client.write(received)
            to_client.close()

        with suppress(OSError):
            await asyncio.gather(ask(), answer())


class DelayedServer:
    """The addresses of a server by way of the proxy."""

    def __init__(self, server: BenchServer, proxy: DelayingProxy) -> None:
        self._server = server
        self._proxy = proxy

    def dsn(self, role: str, dbname: str) -> str:
        """The conninfo of a database."""
        return self._server.dsn(role, dbname, self._proxy.port)

    def url(self, role: str, dbname: str) -> str:
        """The same as a URL."""
        return self._server.url(role, dbname, self._proxy.port)


@contextmanager
def delaying_proxy(port: int, delay_seconds: float) -> Iterator[DelayingProxy]:
    """A proxy to that port of this machine, in a thread of its own."""
    proxy = DelayingProxy(port, delay_seconds)
    is_listening, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(proxy.serve(is_listening, stop)))
    thread.start()
    is_listening.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
