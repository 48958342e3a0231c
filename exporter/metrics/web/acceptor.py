"""The connections of one listening socket: accepted up to a limit, the quietest dropped beyond it."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import select
import socket
import time
from collections.abc import Callable

from starlette.types import ASGIApp

from exporter.metrics.web.connection import Connection, Limits, UnreadAnswers
from exporter.metrics.web.http1 import Http1
from exporter.metrics.web.tls import TlsServer

logger = logging.getLogger(__name__)

ACCEPT_RETRY_SECONDS = 0.1
WARN_AGAIN_SECONDS = 60.0
# A dropped connection waits for nothing, so its task ends at once.
DROP_SECONDS = 1.0
# Of the errors of accept, only these concern the listening socket and not the client or the moment.
FATAL = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK))
OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def _plain() -> None:
    return None


class Acceptor:
    """The clients of a listening socket, answered by `app`; `tls` returns how the next one is secured."""

    def __init__(
        self,
        app: ASGIApp,
        tls: Callable[[], TlsServer | None] = _plain,
        limits: Limits | None = None,
    ) -> None:
        self._app = app
        self._tls = tls
        self._limits = limits or Limits()
        self._unread = UnreadAnswers(self._limits.max_unread_answers)
        self._max_connections = self._limits.max_connections
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors != resource.RLIM_INFINITY:
            self._max_connections = min(self._max_connections, descriptors // 2)
        self._open: dict[Http1, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._warned = -WARN_AGAIN_SECONDS

    async def accept(self, listener: socket.socket) -> None:
        """Accept clients until cancelled."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(listener)
            except OSError as error:
                await self._wait_after(error, listener)
                continue
            if len(self._open) >= self._max_connections:
                self._drop_quietest()
            if len(self._open) < self._max_connections:
                self.begin(client, (str(address[0]), int(address[1])))
            else:
                # All wait for an answer: they were first.
                client.close()
            # A queue of clients must not keep the accepted ones from being served.
            await asyncio.sleep(0)

    async def finish(self, seconds: float) -> bool:
        """Drop idle clients and wait for the answers due; return True if all were given within that time."""
        for http in list(self._open):
            http.end_after_answer()
            if http.is_idle:
                self._drop(http)
        if self._open:
            await asyncio.wait(self._open.values(), timeout=seconds)
        return not self._open

    async def drop(self) -> None:
        """End all connections at once."""
        for http in list(self._open):
            self._drop(http)
        if self._ending:
            _, hanging = await asyncio.wait(self._ending, timeout=DROP_SECONDS)
            if hanging:
                logger.warning("connections do not end", extra={"connections": len(hanging)})

    def begin(self, client: socket.socket, address: tuple[str, int]) -> None:
        """Serve a client that was accepted."""
        try:
            connection = Connection(client, self._limits, self._unread)
        except OSError:
            # It left already.
            client.close()
            return
        http = Http1(self._app, connection, address, self._limits)
        task = asyncio.create_task(_serve(http, connection, address[0], self._tls()))
        self._open[http] = task
        task.add_done_callback(lambda _: self._open.pop(http, None))
        # A task that is cancelled before it began leaves it open.
        task.add_done_callback(lambda _: connection.close())

    def _drop(self, http: Http1) -> None:
        task = self._open.pop(http)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _drop_quietest(self) -> None:
        """Drop, of the connections that wait for their clients, the one that has waited longest."""
        quiet = [http for http in self._open if not http.is_working]
        if quiet:
            self._drop(min(quiet, key=lambda http: http.quiet_since))

    async def _wait_after(self, error: OSError, listener: socket.socket) -> None:
        """Return when accepting may be tried again.

        Raises: OSError if it can never succeed.
        """
        if error.errno in FATAL:
            raise error
        # The kernel looks for a free descriptor before it looks for a client.
        if error.errno in OUT_OF_RESOURCES and _has_waiting_client(listener):
            self._drop_quietest()
            if time.monotonic() - self._warned >= WARN_AGAIN_SECONDS:
                self._warned = time.monotonic()
                logger.warning("cannot accept connections", extra={"reason": error.strerror})
        await asyncio.sleep(ACCEPT_RETRY_SECONDS)


def _has_waiting_client(listener: socket.socket) -> bool:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


async def _serve(http: Http1, connection: Connection, host: str, tls: TlsServer | None) -> None:
    try:
        if tls is not None:
            await connection.secure(tls)
        await http.serve()
    except OSError as error:
        # Port scanners and clients without a certificate are normal.
        reason = str(error) or type(error).__name__
        logger.debug("a connection failed", extra={"client": host, "reason": reason})
    except Exception:
        # Whatever a client sent that upset the protocol, the others go on.
        logger.debug("a connection failed", exc_info=True, extra={"client": host})
    finally:
        connection.close()
