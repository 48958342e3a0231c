"""Listening, and running the web application until told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from starlette.types import ASGIApp

from exporter.errors import SettingsError
from exporter.metrics.web.acceptor import Acceptor
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.metrics.web.connection import Limits
from exporter.metrics.web.middleware import Protection

logger = logging.getLogger(__name__)

BACKLOG = 512
# A client that does not read its page keeps its connection for this long.
UNREAD_MILLISECONDS = 20_000
# What runs when the stop comes may go on for this long, then it is cut, then it is dropped.
GRACE_SECONDS = 3.0
DROP_SECONDS = 2.0


class Stop:
    """Tells a running server to stop, from any thread."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def set(self) -> None:
        """Asks for the stop."""
        self._requested.set()
        if self._loop is not None and self._event is not None:
            with suppress(RuntimeError):  # the loop ended already
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Returns when the stop was asked for."""
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if not self._requested.is_set():
            await self._event.wait()


class Hangup:
    """SIGHUP as a request, which does not end the process; one that comes too early is kept."""

    def __init__(self) -> None:
        self._ask: Callable[[], None] | None = None
        self._came = False
        signal.signal(signal.SIGHUP, self._on_signal)

    def connect(self, request: Callable[[], object]) -> None:
        """From now on each one is such a request to the running event loop."""
        loop = asyncio.get_running_loop()

        def ask() -> None:
            with suppress(RuntimeError):  # the loop ended already
                loop.call_soon_threadsafe(request)

        self._ask = ask
        if self._came:
            request()

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._came = True
        if self._ask is not None:
            self._ask()


def listen(address: str) -> socket.socket:
    """A listening socket on `HOST:PORT`; without a host on every address, IPv6 too where there is any.

    Raises: SettingsError when that cannot be.
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
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Accepted connections inherit it: the kernel ends those whose client does not read.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
    return listener


def base_url(listener: socket.socket, scheme: str = "http") -> str:
    """The URL under which this machine reaches the server."""
    host, port = str(listener.getsockname()[0]), listener.getsockname()[1]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def serve_until_signal(
    app: ASGIApp, listener: socket.socket, *, on_stop: Callable[[], None], web: LiveWebConfig | None = None
) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = Stop()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
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
    """Serves until `stop`, then closes the listener; `on_stop` cuts what takes longer than a grace period."""
    asyncio.get_running_loop().set_exception_handler(_handle_stray_error)
    config = web or LiveWebConfig()
    acceptor = Acceptor(Protection(app, config.current), lambda: config.current().tls, limits)
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


def _handle_stray_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no task caught: a connection that broke while it was closed is no news."""
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
