"""HTTP/1.1 of one connection: h11's events to ASGI and back.

Requests with a body are refused before the application sees them: no page needs one. Of what a client sends
before it has read its answer, as much is kept as the head of one request may be long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote

import h11
from starlette.types import ASGIApp, Message, Scope

from exporter.metrics.web.connection import ClientGone, Connection, Limits

logger = logging.getLogger(__name__)

# As long as the client takes what it is sent, nothing waits: then other connections run after this time.
TURN_SECONDS = 0.005
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Http1:
    """The requests of one client, answered one after the other by `app`."""

    def __init__(self, app: ASGIApp, connection: Connection, client: tuple[str, int], limits: Limits) -> None:
        self._app = app
        self._connection = connection
        self._client = client
        self._limits = limits
        self._protocol = h11.Connection(h11.SERVER, limits.head_bytes)
        self._is_answering = False
        self._is_last = False
        self._is_head_request = False
        self._is_request_received = False
        self._response: h11.Response | None = None
        self._turn_began = 0.0

    @property
    def quiet_since(self) -> float:
        """Return when it began to wait for its client, in seconds of the monotonic clock."""
        return self._connection.quiet_since

    @property
    def is_idle(self) -> bool:
        """Return True if no answer is due."""
        return not self._is_answering

    @property
    def is_working(self) -> bool:
        """Return True while an answer is made, as opposed to waiting for the client."""
        return self._is_answering and not self._connection.is_sending

    def end_after_answer(self) -> None:
        """Close the connection after the answer under way."""
        self._is_last = True

    async def serve(self) -> None:
        """Answer requests until either side ends the connection."""
        while (request := await self._next_request()) is not None:
            self._is_answering = True
            await self._answer(request)
            self._is_answering = False
            if self._connection.is_gone:
                return
            if self._is_last or {self._protocol.our_state, self._protocol.their_state} != {h11.DONE}:
                await self._connection.finish()
                return
            self._protocol.start_next_cycle()

    # ------------------------------------------------------------------ the request

    async def _next_request(self) -> h11.Request | None:
        """Return the next request; None if there is none to answer."""
        self._connection.quiet_since = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                request = await self._read_head()
        except TimeoutError:
            if self._free_bytes < self._limits.head_bytes:
                await self._refuse(408, "the request is incomplete")
            return None
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, str(error))
            return None
        if request is None:
            return None
        if not request.http_version.startswith(b"1."):
            await self._refuse(505, "this server speaks HTTP/1.1")
            return None
        if _has_body(request):
            await self._refuse(413, "requests must not have a body")
            return None
        return request

    async def _read_head(self) -> h11.Request | None:
        """Return the next request; None if the client left.

        Raises: h11.RemoteProtocolError if it is invalid or too long.
        """
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            if not self._free_bytes:
                raise h11.RemoteProtocolError("the head of the request is too long", error_status_hint=431)
            if not await self._receive_more():
                return None
        return event if isinstance(event, h11.Request) else None

    @property
    def _free_bytes(self) -> int:
        """Return how much more is kept of what the client sends."""
        return self._limits.head_bytes - len(self._protocol.trailing_data[0])

    async def _receive_more(self) -> bool:
        """Wait for more from the client; return False if it left."""
        data = await self._connection.receive(self._free_bytes)
        if data:
            self._protocol.receive_data(data)
        return bool(data)

    async def _refuse(self, status: int, text: str) -> None:
        """Answer what is no request for a page, and end the connection."""
        body = f"{text}\n".encode()
        lines = (
            b"HTTP/1.1 %d %s" % (status, REASONS[status]),
            b"Date: " + _date(),
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Length: %d" % len(body),
            b"Connection: close",
        )
        try:
            await self._connection.send(b"\r\n".join((*lines, b"", body)))
        except ClientGone:
            return
        await self._connection.finish()

    # ------------------------------------------------------------------ the answer

    async def _answer(self, request: h11.Request) -> None:
        """Have the application answer the request."""
        # The end of the request, which follows at once where there is no body.
        self._protocol.next_event()
        self._is_head_request = request.method == b"HEAD"
        self._is_request_received = False
        self._response = None
        scope = self._scope(request)
        try:
            await self._app(scope, self._receive, self._send)
        except ClientGone as error:
            logger.debug("the client did not read its answer", extra={"reason": str(error)})
        except Exception:
            logger.exception("a request failed", extra={"path": scope["path"]})

    def _scope(self, request: h11.Request) -> Scope:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "https" if self._connection.is_secured else "http",
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": self._client,
            "server": self._connection.local_address,
        }

    async def _receive(self) -> Message:
        """Return the request's end, then wait until the client leaves."""
        if not self._is_request_received:
            self._is_request_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while self._free_bytes:
            if not await self._receive_more():
                return {"type": "http.disconnect"}
        # Its next requests fill what is kept of them. Whether it is still there shows when it is answered.
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    async def _send(self, message: Message) -> None:
        """Send a part of the answer; its head goes with the first part of the body.

        Raises: ClientGone if the client left or does not read.
        """
        if message["type"] == "http.response.start":
            self._response = self._head(message)
            # Before the body is made: those that wait for their turn hold nothing of it.
            await self._yield_turn()
            return
        data = b""
        if self._response is not None:
            data = self._protocol.send(self._response)
            self._response = None
        body = message.get("body", b"")
        if body and not self._is_head_request:
            data += self._protocol.send(h11.Data(body))
        if not message.get("more_body", False):
            data += self._protocol.send(h11.EndOfMessage())
        if time.monotonic() - self._turn_began >= TURN_SECONDS:
            await self._yield_turn()
        await self._connection.send(data)

    async def _yield_turn(self) -> None:
        """Let other connections run."""
        await asyncio.sleep(0)
        self._turn_began = time.monotonic()

    def _head(self, message: Message) -> h11.Response:
        status: int = message["status"]
        headers = [*message.get("headers", ()), (b"date", _date())]
        if self._is_last:
            headers.append((b"connection", b"close"))
        return h11.Response(status_code=status, headers=headers, reason=REASONS.get(status, b""))


def _has_body(request: h11.Request) -> bool:
    """Return True if the head announces a body, even an empty one in chunks."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and int(value) > 0)
        for name, value in request.headers
    )


def _date() -> bytes:
    return formatdate(usegmt=True).encode()
