"""Listening, and running the web application on hypercorn until told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette

from exporter.errors import SettingsError

logger = logging.getLogger(__name__)

BACKLOG = 512
# Silent and half-sent connections are closed after this time.
KEEP_ALIVE_SECONDS = 5.0
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
        raise SettingsError(f"cannot listen on {address}: {_reason(error)}", mend=_mend(error)) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Accepted connections inherit it: the kernel ends those whose client does not read.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
    return listener


def base_url(listener: socket.socket) -> str:
    """The URL under which this machine reaches the server."""
    host, port = str(listener.getsockname()[0]), listener.getsockname()[1]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_until_signal(app: Starlette, listener: socket.socket, *, on_stop: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = Stop()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await serve(app, listener, stop, on_stop=on_stop)


async def serve(app: Starlette, listener: socket.socket, stop: Stop, *, on_stop: Callable[[], None]) -> None:
    """Serves until `stop`; `on_stop` cuts what is still under way after a grace period."""
    asyncio.get_running_loop().set_exception_handler(_handle_stray_error)
    stopping = asyncio.create_task(stop.wait())

    async def stopped() -> None:
        await asyncio.shield(stopping)

    running = asyncio.create_task(
        hypercorn_serve(cast(ASGIFramework, app), _config(listener), shutdown_trigger=stopped)
    )
    logger.info("listening", extra={"url": base_url(listener)})
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        logger.info("stopping")
        await asyncio.wait({running}, timeout=GRACE_SECONDS)
        on_stop()
        await asyncio.wait({running}, timeout=DROP_SECONDS)
    stopping.cancel()
    if running.done():
        await running
    else:
        await _drop(running)


async def _drop(running: asyncio.Task[None]) -> None:
    """Ends hypercorn while clients that do not read hold connections: it takes being cancelled badly."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_ignore_error)
    # hypercorn keeps its connections to itself, and asyncio has no public list of them either. Without
    # this a client that does not read would hold the exit for UNREAD_MILLISECONDS.
    for transport in list(getattr(loop, "_transports", {}).values()):
        transport.abort()
    await asyncio.wait({running}, timeout=DROP_SECONDS)
    running.cancel()
    await asyncio.wait({running}, timeout=DROP_SECONDS)
    if running.done() and not running.cancelled():
        logger.debug("dropped connections", extra={"reason": repr(running.exception())})


def _ignore_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logger.debug("dropped a connection", extra={"reason": str(context.get("message"))})


def _handle_stray_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no task caught: a connection that broke while it was closed is no news."""
    error = context.get("exception")
    if isinstance(error, OSError):
        logger.debug("a connection broke", extra={"reason": str(error)})
    else:
        loop.default_exception_handler(context)


def _config(listener: socket.socket) -> Config:
    config = Config()
    # hypercorn closes the descriptor that it is given.
    config.bind = [f"fd://{listener.dup().detach()}"]
    config.accesslog = None
    # Its lines about starting are ours to write; what is left is worth a warning at least.
    config.errorlog = logging.getLogger("exporter.metrics.hypercorn")
    config.errorlog.setLevel(logging.WARNING)
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    # Longer than we wait: what is left then is dropped by us.
    config.graceful_timeout = 2 * (GRACE_SECONDS + DROP_SECONDS)
    config.include_server_header = False
    return config


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


def _mend(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "stop that program or choose another port: --web.listen-address :10188"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return "ports below 1024 need a privilege; choose a higher one: --web.listen-address :10187"
    return "give an address of this machine: --web.listen-address 127.0.0.1:10187"
