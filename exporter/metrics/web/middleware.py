"""What stands before every page: no request with a body, no stranger, and the headers of every answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.metrics.web.basic_auth import PasswordVerifier, TooManyPending, read_credentials
from exporter.metrics.web.config import WebConfig
from exporter.metrics.web.healthcheck import OPEN_PATHS

logger = logging.getLogger(__name__)

# Where an answer or the web configuration says nothing else.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
}
# HTTP/2 tells only by what follows whether a request has a body.
BODY_SECONDS = 5.0
CHALLENGE = {"WWW-Authenticate": 'Basic realm="pg-index-exporter", charset="UTF-8"'}


class Protection:
    """The application behind the checks that the web configuration of the moment asks for."""

    def __init__(self, app: ASGIApp, config: Callable[[], WebConfig]) -> None:
        self._app = app
        self._config = config
        self._verifier = PasswordVerifier()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        config = self._config()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message, config)
            await send(message)

        refusal = await self._refusal(scope, receive, config)
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refusal(self, scope: Scope, receive: Receive, config: WebConfig) -> PlainTextResponse | None:
        # The body first: what is not read waits in memory while a password is verified.
        if await _has_body(scope, receive):
            return _say(
                "requests have no body here", 413, {"Connection": "close"} if _is_http1(scope) else {}
            )
        if not config.users or scope["path"] in OPEN_PATHS:
            return None
        credentials = read_credentials(
            value for name, value in scope["headers"] if name.lower() == b"authorization"
        )
        if credentials is None:
            return _say("this needs a user and a password", 401, CHALLENGE)
        try:
            is_right = await self._verifier.accepts(config.users, *credentials)
        except TooManyPending:
            return _say("too many passwords wait to be verified", 503, {"Retry-After": "1"})
        if is_right:
            return None
        client = scope.get("client")
        logger.debug("a wrong user or password", extra={"client": client[0] if client else ""})
        return _say("wrong user or password", 401, CHALLENGE)


async def _has_body(scope: Scope, receive: Receive) -> bool:
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        return True
    if _is_http1(scope):
        return False
    try:
        async with asyncio.timeout(BODY_SECONDS):
            message = await receive()
            # Some clients end a request without a body by a frame of none.
            while message.get("more_body") and not message.get("body"):
                message = await receive()
    except TimeoutError:
        return True
    return bool(message.get("body"))


def _is_http1(scope: Scope) -> bool:
    return str(scope["http_version"]).startswith("1")


def _add_headers(message: Message, config: WebConfig) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    for name, value in config.headers.items():
        if value:
            headers[name] = value
        elif name in headers:
            del headers[name]


def _say(text: str, status_code: int, headers: dict[str, str]) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status_code, headers=headers)
