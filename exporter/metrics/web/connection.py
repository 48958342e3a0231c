"""One client's connection as a stream of bytes: secured or not, every wait for the client with a deadline.

The socket is used directly. asyncio's transports read up to 256 KiB at a time from every client, and keep a
buffer of that size for each TLS connection: 128 MiB for 512 of them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from exporter.metrics.web.tls import TlsServer

logger = logging.getLogger(__name__)

DISCARD_BYTES = 16 * 1024
# On close, drop what the client has not read: sent as SO_LINGER.
RESET = struct.pack("ii", 1, 0)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may use. Units: connections, bytes, seconds."""

    # At most half of the file descriptors that the process may open.
    max_connections: int = 512
    # Clients that do not read: each holds parts of its page in memory.
    max_unread_answers: int = 64
    head_bytes: int = 16 * 1024
    handshake_seconds: float = 5.0
    # From the connection, or the previous answer, to the complete head of a request.
    idle_seconds: float = 5.0
    # For the client to take a chunk of an answer, and to close the connection after the last one.
    write_seconds: float = 10.0


class ClientGone(OSError):
    """The client closed the connection, or did not read within the deadline."""


class UnreadAnswers:
    """The deadlines of the connections whose client does not read, the longest waiting first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._deadlines: dict[asyncio.Timeout, None] = {}

    @contextmanager
    def added(self, deadline: asyncio.Timeout) -> Iterator[None]:
        """Add a connection while the block runs; beyond the limit, the longest waiting one expires."""
        if len(self._deadlines) >= self._limit:
            longest = next(iter(self._deadlines))
            del self._deadlines[longest]
            if not longest.expired():
                longest.reschedule(0.0)
        self._deadlines[deadline] = None
        try:
            yield
        finally:
            self._deadlines.pop(deadline, None)


class _Readiness:
    """Waiting until a socket is readable, or writable, by the loop's functions for either."""

    def __init__(
        self,
        descriptor: int,
        add: Callable[[int, Callable[[], None]], None],
        remove: Callable[[int], bool],
    ) -> None:
        self._descriptor = descriptor
        self._add, self._remove = add, remove
        self._ready: asyncio.Event | None = None

    async def wait(self) -> None:
        """Return when the socket is ready. A later call takes over from an earlier one."""
        self._ready = ready = asyncio.Event()
        self._add(self._descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            if self._ready is ready:
                self.forget()

    def forget(self) -> None:
        """Stop watching the socket."""
        if self._ready is not None:
            self._ready = None
            self._remove(self._descriptor)


class Connection:
    """The connection of one client."""

    def __init__(self, client: socket.socket, limits: Limits, unread: UnreadAnswers) -> None:
        """Take over `client`, which is closed by `close`."""
        client.setblocking(False)
        # Else the end of an answer that is written in parts waits 40 ms for the client's acknowledgement.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.is_sending = False
        # True once something could not be sent.
        self.is_gone = False
        # When the connection began to wait for its client.
        self.quiet_since = time.monotonic()
        self._socket = client
        self._limits = limits
        self._unread = unread
        loop = asyncio.get_running_loop()
        self._readable = _Readiness(client.fileno(), loop.add_reader, loop.remove_reader)
        self._writable = _Readiness(client.fileno(), loop.add_writer, loop.remove_writer)

    @property
    def is_secured(self) -> bool:
        """Return True if the connection uses TLS."""
        return isinstance(self._socket, ssl.SSLSocket)

    @property
    def local_address(self) -> tuple[str, int]:
        """Return the host and port that the client connected to."""
        host, port, *_ = self._socket.getsockname()
        return str(host), int(port)

    async def secure(self, tls: TlsServer) -> None:
        """Perform the TLS handshake.

        Raises: OSError if it fails, takes too long, or the client's certificate has no allowed name.
        """
        # Raises if the client left: wrap_socket of Python 3.11 would not close its socket then.
        self._socket.getpeername()
        secured = tls.context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = secured
        try:
            async with asyncio.timeout(self._limits.handshake_seconds):
                await self._until_done(secured.do_handshake, self._readable)
        except ssl.SSLError:
            # The alert that says why was sent.
            await self.finish()
            raise
        if not tls.admits(secured.getpeercert()):
            raise ClientGone("the client certificate has no allowed name")

    async def receive(self, max_bytes: int) -> bytes:
        """Return what the client sent next, at most `max_bytes`; b"" if it closed the connection."""
        try:
            return await self._until_done(partial(self._socket.recv, max_bytes), self._readable)
        except OSError as error:
            logger.debug("connection broken", extra={"reason": str(error)})
            return b""

    async def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises: ClientGone if the client left or does not read.
        """
        self.quiet_since = time.monotonic()
        self.is_sending = True
        unsent = memoryview(data)
        try:
            async with asyncio.timeout(self._limits.write_seconds) as deadline:
                with self._unread.added(deadline):
                    while unsent:
                        sent = await self._until_done(partial(self._socket.send, unsent), self._writable)
                        unsent = unsent[sent:]
        except TimeoutError:
            # The kernel would keep the unread part for the client.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.is_gone = True
            raise ClientGone("the client does not read") from None
        except OSError as error:
            self.is_gone = True
            raise ClientGone(str(error)) from error
        finally:
            self.is_sending = False

    async def finish(self) -> None:
        """Announce the end of the connection and wait until the client closes it.

        Closing it here with something unread in it, such as a refused body, would be a reset, which can
        overtake the answer.
        """
        self.quiet_since = time.monotonic()
        with suppress(OSError):
            async with asyncio.timeout(self._limits.write_seconds):
                self._shut_down()
                while await self.receive(DISCARD_BYTES):
                    await asyncio.sleep(0)

    def close(self) -> None:
        """Close the connection at once."""
        # Before the descriptor is free for another connection.
        self._readable.forget()
        self._writable.forget()
        self._socket.close()

    def _shut_down(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            # Sends close_notify. It then waits for the client's, which need not come.
            with suppress(OSError):
                self._socket.unwrap()
        self._socket.shutdown(socket.SHUT_WR)

    async def _until_done(self, operation: Callable[[], Result], blocked: _Readiness) -> Result:
        """Return the result of a socket operation, repeated until it does not block."""
        while True:
            try:
                return operation()
            except BlockingIOError:
                await blocked.wait()
            except ssl.SSLWantReadError:
                await self._readable.wait()
            except ssl.SSLWantWriteError:
                await self._writable.wait()
