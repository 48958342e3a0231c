"""The web server from its listening socket to its end, every wait of which is bounded."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from starlette.types import ASGIApp

from exporter.errors import SettingsError
from exporter.metrics.web.acceptor import Acceptor
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.metrics.web.connection import Limits
from exporter.metrics.web.lifecycle import Reload
from exporter.metrics.web.middleware import SecurityMiddleware

logger = logging.getLogger(__name__)

BACKLOG = 512
# Of each connection, in the kernel: else up to 10 MB for a client that sends and never reads.
RECEIVE_BUFFER_BYTES = 16 * 1024
SEND_BUFFER_BYTES = 256 * 1024
# A client that does not read its page keeps its connection for this long.
UNREAD_MILLISECONDS = 20_000
# Answers due at the stop may take this long, then collections are cancelled, then connections dropped.
GRACE_SECONDS = 3.0
DROP_SECONDS = 2.0
# After a signal the process is gone by then, whatever hangs.
EXIT_SECONDS = 15.0


class Stop:
    """A request to stop, made from any thread."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    @property
    def is_set(self) -> bool:
        """Return True if the stop was requested."""
        return self._requested.is_set()

    def set(self) -> None:
        """Request the stop."""
        self._requested.set()
        if self._loop is not None and self._event is not None:
            with suppress(RuntimeError):  # the loop ended already
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Return when the stop is requested."""
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if not self.is_set:
            await self._event.wait()


class Hangup:
    """SIGHUP as a request to reload; a signal before `connect` is kept."""

    def __init__(self) -> None:
        self._request: Callable[[], None] | None = None
        self._is_received = False
        signal.signal(signal.SIGHUP, self._on_signal)

    def connect(self, request: Callable[[], Awaitable[Reload]]) -> None:
        """Have each signal call `request` in the running event loop."""
        loop = asyncio.get_running_loop()

        def request_soon() -> None:
            with suppress(RuntimeError):  # the loop ended already
                loop.call_soon_threadsafe(request)

        self._request = request_soon
        if self._is_received:
            request()

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_received = True
        if self._request is not None:
            self._request()


def listen(address: str) -> socket.socket:
    """Return a socket that listens on `HOST:PORT`; without a host on every address of IPv4 and IPv6.

    Raises: SettingsError if the address cannot be used.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not host:
            listener = _listen_everywhere(int(port))
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        raise SettingsError(f"cannot listen on {address}: {_reason(error)}", hint=_hint(error)) from error
    # Accepted connections inherit all of these.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # The kernel ends those whose client does not read.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
    return listener


def base_url(listener: socket.socket, scheme: str = "http") -> str:
    """Return the URL under which this machine reaches the server."""
    host, port = str(listener.getsockname()[0]), listener.getsockname()[1]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def serve_until_signal(
    app: ASGIApp, listener: socket.socket, *, on_stop: Callable[[], None], web: LiveWebConfig | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, after which the process ends within EXIT_SECONDS."""
    stop = Stop()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if not stop.is_set:
            end_process_within(EXIT_SECONDS)
        stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, end)
    await serve(app, listener, stop, on_stop=on_stop, web=web)


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: Stop,
    *,
    on_stop: Callable[[], None],
    web: LiveWebConfig | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve until `stop`, then close the listener; `on_stop` cancels what takes longer than GRACE_SECONDS."""
    asyncio.get_running_loop().set_exception_handler(_handle_stray_error)
    config = web or LiveWebConfig()
    acceptor = Acceptor(SecurityMiddleware(app, config.current), lambda: config.current().tls, limits)
    accepting = asyncio.create_task(acceptor.accept(listener))
    stopping = asyncio.create_task(stop.wait())
    logger.info("listening", extra={"url": base_url(listener, config.current().scheme)})
    await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    is_broken = accepting.done()
    logger.info("stopping")
    for task in (accepting, stopping):
        task.cancel()
    listener.close()
    if not await acceptor.finish(GRACE_SECONDS):
        on_stop()
        await acceptor.finish(DROP_SECONDS)
    await acceptor.drop()
    if is_broken:
        accepting.result()


def end_process_within(seconds: float) -> None:
    """Have the kernel end this process after that time, which nothing in the process can prevent.

    Shortly before, the stacks of its threads are written to standard error.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with suppress(AttributeError, OSError, RuntimeError, ValueError):  # standard error is closed
        faulthandler.dump_traceback_later(0.9 * seconds)


def _handle_stray_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task caught; a connection that broke while it was closed is normal."""
    error = context.get("exception")
    if isinstance(error, OSError):
        logger.debug("a connection broke", extra={"reason": str(error)})
    else:
        loop.default_exception_handler(context)


def _listen_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - asked for by leaving out the host


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "another program listens there"
    return getattr(error, "strerror", None) or str(error)


def _hint(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "stop that program or choose another port: --web.listen-address :10188"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return "ports below 1024 need a privilege; choose a higher one: --web.listen-address :10187"
    return "give an address of this machine: --web.listen-address 127.0.0.1:10187"
