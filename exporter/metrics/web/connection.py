"""One client's connection: secured, spoken to, and never waited for without end.

hypercorn's protocols speak HTTP/1.1 and HTTP/2. Its own server is not used: that closes connections politely,
so never while a client does not read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import AppWrapper, ConnectionState
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.metrics.web.tls import TlsServer

logger = logging.getLogger(__name__)

# Twice as much is kept of a client that sends on before its answer.
READ_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a client is put up with. Units: connections, bytes, seconds, HTTP/2 streams."""

    # No more than half of the descriptors that the process may have.
    max_connections: int = 512
    head_bytes: int = 16 * 1024
    max_streams: int = 32
    handshake_seconds: float = 5.0
    # From the connection, or the last answer, to the complete head of a request.
    idle_seconds: float = 5.0
    # For a chunk of an answer to leave, and for what is left of it when the connection is closed.
    write_seconds: float = 10.0


class ClientGone(OSError):
    """The client left, or was dropped because it does not read."""


class Http1Protocol(H11Protocol):
    """HTTP/1.1 that stays HTTP/1.1: the offer to go on as HTTP/2 without TLS is ignored, as is allowed."""

    async def _check_protocol(self, event: object) -> None:
        """Nothing: hypercorn would change the protocol here."""


class Connection:
    """One client, from its connection to its end."""

    def __init__(self, app: ASGIApp, config: Config, context: WorkerContext, limits: Limits) -> None:
        self.quiet_since = time.monotonic()
        self._app = app
        self._config = config
        self._context = context
        self._limits = limits
        self._working = 0
        self._is_ending = False
        self._writer: asyncio.StreamWriter | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def is_working(self) -> bool:
        """True while an answer is being made, as opposed to waiting for the client."""
        return self._working > 0

    @property
    def is_idle(self) -> bool:
        """True while no complete request came."""
        return self._writer is None or self._idle_timer is not None

    @property
    def _is_writable(self) -> bool:
        return self._writer is not None and not self._is_ending and not self._writer.is_closing()

    async def serve(self, client: socket.socket, tls: TlsServer | None) -> None:
        """Answers the client's requests until either side ends the connection."""
        # asyncio forgets it for accepted sockets; without, the end of an answer that is written in parts
        # waits for the client's acknowledgement, 40 ms.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        stream = asyncio.StreamReaderProtocol(reader)
        timeouts = {}
        if tls is not None:
            timeouts = {
                "ssl_handshake_timeout": self._limits.handshake_seconds,
                "ssl_shutdown_timeout": self._limits.write_seconds,
            }
        transport, _ = await loop.connect_accepted_socket(
            lambda: stream, client, ssl=None if tls is None else tls.context, **timeouts
        )
        self._writer = asyncio.StreamWriter(transport, stream, reader, loop)
        try:
            secured = transport.get_extra_info("ssl_object")
            if tls is not None and not tls.admits(secured.getpeercert()):
                logger.debug("a client certificate without an allowed name")
                return
            await self._speak(reader, secured)
        finally:
            self._stop_idle_timer()
            transport.abort()

    async def _speak(self, reader: asyncio.StreamReader, secured: ssl.SSLObject | None) -> None:
        writer = self._writer
        assert writer is not None  # noqa: S101 - set by serve
        speaks_http2 = secured is not None and secured.selected_alpn_protocol() == "h2"
        async with TaskGroup(asyncio.get_running_loop()) as tasks:
            protocol = (H2Protocol if speaks_http2 else Http1Protocol)(
                cast(AppWrapper, self._answer),  # hypercorn's names for ASGI's types
                self._config,
                self._context,
                tasks,
                ConnectionState({}),
                secured is not None,
                _address(writer.get_extra_info("peername")),
                _address(writer.get_extra_info("sockname")),
                self._on_event,
            )
            await protocol.initiate()
            self._start_idle_timer()
            try:
                while data := await reader.read(READ_BYTES):
                    if not self._is_ending:
                        await protocol.handle(RawData(data))
            except OSError as error:
                logger.debug("a connection broke", extra={"reason": str(error)})
            await protocol.handle(Closed())

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, *_threads: Callable[..., Any]
    ) -> None:
        """What hypercorn calls for each request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return

        async def send_or_drop(message: Message) -> None:
            # The others' turn: nothing here waits while the client reads fast.
            await asyncio.sleep(0)
            if not self._is_writable:
                raise ClientGone("the client left")
            self._working -= 1
            self.quiet_since = time.monotonic()
            try:
                async with asyncio.timeout(self._limits.write_seconds):
                    await send(message)
            except TimeoutError:
                self.drop()
                raise ClientGone("the client does not read") from None
            finally:
                self._working += 1

        self._working += 1
        try:
            await self._app(scope, receive, send_or_drop)
        except ClientGone as error:
            logger.debug("an answer was not read to its end", extra={"reason": str(error)})
        finally:
            self._working -= 1
            self.quiet_since = time.monotonic()

    async def _on_event(self, event: Event) -> None:
        """What hypercorn's protocol wants done with the connection."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._end()
        elif isinstance(event, Updated):
            if event.idle:
                self._start_idle_timer()
            else:
                self._stop_idle_timer()

    async def _write(self, data: bytes) -> None:
        # asyncio logs every write to a broken connection.
        if self._writer is None or not self._is_writable:
            return
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            logger.debug("a connection broke", extra={"reason": str(error)})

    def _end(self) -> None:
        """Ends the connection once what was written is read, which has its limit."""
        self._stop_idle_timer()
        writer = self._writer
        if writer is None or not self._is_writable:
            return
        self._is_ending = True
        if writer.can_write_eof():
            # The client ends it then. To close it with something unread in it, such as a refused body,
            # would be a reset, which can overtake the answer.
            writer.write_eof()
        else:
            writer.close()
        loop = asyncio.get_running_loop()
        loop.call_later(self._limits.write_seconds, writer.transport.abort)

    def _close(self) -> None:
        """Ends the connection of a client that asked for nothing."""
        if self._writer is not None:
            self._writer.close()
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.write_seconds, self._writer.transport.abort)

    def drop(self) -> None:
        """Ends the connection at once."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _start_idle_timer(self) -> None:
        self._stop_idle_timer()
        self.quiet_since = time.monotonic()
        loop = asyncio.get_running_loop()
        self._idle_timer = loop.call_later(self._limits.idle_seconds, self._close)

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None


def _address(address: tuple[Any, ...] | None) -> tuple[str, int] | None:
    """Host and port; IPv6 has more."""
    return None if not address else (str(address[0]), int(address[1]))
