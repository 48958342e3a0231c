"""All connections of one listening socket: accepted up to a limit, the quietest dropped beyond it."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import select
import socket
import time
from collections.abc import Callable

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from starlette.types import ASGIApp

from exporter.metrics.web.connection import Connection, Limits
from exporter.metrics.web.tls import TlsServer

logger = logging.getLogger(__name__)

ACCEPT_RETRY_SECONDS = 0.1
TELL_AGAIN_SECONDS = 60.0
# Of what accept can say, only these speak of the listening socket and not of the client or the moment.
FATAL = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK))
OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def _plain() -> None:
    return None


class Connections:
    """The clients of a listening socket, whom `app` answers; `tls` says, for each, how it is secured."""

    def __init__(
        self,
        app: ASGIApp,
        tls: Callable[[], TlsServer | None] = _plain,
        limits: Limits | None = None,
    ) -> None:
        self._app = app
        self._tls = tls
        self._limits = limits or Limits()
        self._config = _hypercorn_config(self._limits)
        self._context = WorkerContext(None)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = self._limits.max_connections
        if descriptors != resource.RLIM_INFINITY:
            self._most = min(self._most, descriptors // 2)
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._told = -TELL_AGAIN_SECONDS

    async def accept(self, listener: socket.socket) -> None:
        """Accepts clients until it is cancelled."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(listener)
            except OSError as error:
                await self._wait_after(error, listener)
                continue
            if len(self._open) >= self._most:
                self._drop_quietest()
            if len(self._open) < self._most:
                self.begin(client, str(address[0]))
            else:
                # All wait for an answer of ours: they were first.
                client.close()
            # A queue of clients must not keep the accepted ones from being served.
            await asyncio.sleep(0)

    async def finish(self, seconds: float) -> bool:
        """True when every answer under way was given within that time; who asked for nothing is dropped."""
        await self._context.terminated.set()
        for connection in list(self._open):
            if connection.is_idle:
                self._drop(connection)
        if self._open:
            await asyncio.wait(self._open.values(), timeout=seconds)
        return not self._open

    async def drop(self) -> None:
        """Ends all connections at once."""
        for connection in list(self._open):
            self._drop(connection)
        if self._ending:
            await asyncio.wait(self._ending)

    def begin(self, client: socket.socket, host: str) -> None:
        """Takes a client that was accepted."""
        client.setblocking(False)
        connection = Connection(self._app, self._config, self._context, self._limits)
        task = asyncio.create_task(_serve(connection, client, host, self._tls()))
        self._open[connection] = task
        task.add_done_callback(lambda _: self._open.pop(connection, None))
        # A task that is cancelled before it began leaves it open.
        task.add_done_callback(lambda _: client.close())

    def _drop(self, connection: Connection) -> None:
        task = self._open.pop(connection)
        connection.drop()
        # Whatever it waits for, an ended transport may not wake it.
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _drop_quietest(self) -> None:
        """Drops, of the connections that wait for their clients, the one that has done so for longest."""
        quiet = [connection for connection in self._open if not connection.is_working]
        if quiet:
            self._drop(min(quiet, key=lambda connection: connection.quiet_since))

    async def _wait_after(self, error: OSError, listener: socket.socket) -> None:
        """Returns when accepting may be tried again.

        Raises: OSError, when it never will succeed.
        """
        if error.errno in FATAL:
            raise error
        # The kernel looks for a descriptor before it looks whether anybody is there to be accepted.
        if error.errno in OUT_OF_RESOURCES and _is_waited_at(listener):
            self._drop_quietest()
            if time.monotonic() - self._told >= TELL_AGAIN_SECONDS:
                self._told = time.monotonic()
                logger.warning("cannot accept connections", extra={"reason": error.strerror})
        await asyncio.sleep(ACCEPT_RETRY_SECONDS)


def _is_waited_at(listener: socket.socket) -> bool:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


async def _serve(connection: Connection, client: socket.socket, host: str, tls: TlsServer | None) -> None:
    try:
        await connection.serve(client, tls)
    except OSError as error:
        # No answer tells a client of a failed handshake why: asyncio hangs up without a word.
        reason = str(error) or type(error).__name__
        logger.debug("a connection did not come about", extra={"client": host, "reason": reason})
    except Exception:
        # A client found a way to upset the protocol; the others go on.
        logger.debug("a connection failed", exc_info=True, extra={"client": host})


def _hypercorn_config(limits: Limits) -> Config:
    config = Config()
    config.accesslog = None
    # What it has to say is worth a warning at least.
    config.errorlog = logging.getLogger("exporter.metrics.hypercorn")
    config.errorlog.setLevel(logging.WARNING)
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.head_bytes
    config.h2_max_header_list_size = limits.head_bytes
    config.h2_max_concurrent_streams = limits.max_streams
    # Requests with a body are refused at once; a bounded queue would hold their connections for ever.
    config.max_app_queue_size = 0
    return config
