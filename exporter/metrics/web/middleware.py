"""What every request passes before the pages: basic authentication, and security headers of the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.metrics.web.basic_auth import PasswordVerifier, TooManyPending, read_credentials
from exporter.metrics.web.config import WebConfig
from exporter.metrics.web.healthcheck import OPEN_PATHS

logger = logging.getLogger(__name__)

# Unless the answer or the web configuration has another value.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
}
CHALLENGE = {"WWW-Authenticate": 'Basic realm="pg-index-exporter", charset="UTF-8"'}


class SecurityMiddleware:
    """The application behind what the present web configuration demands."""

    def __init__(self, app: ASGIApp, config: Callable[[], WebConfig]) -> None:
        self._app = app
        self._config = config
        self._verifier = PasswordVerifier()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        config = self._config()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message, config)
            await send(message)

        refusal = await self._refusal(scope, config)
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refusal(self, scope: Scope, config: WebConfig) -> PlainTextResponse | None:
        if not config.users or scope["path"] in OPEN_PATHS:
            return None
        credentials = read_credentials(
            value for name, value in scope["headers"] if name.lower() == b"authorization"
        )
        if credentials is None:
            return _say("user and password required", 401, CHALLENGE)
        client_host = scope["client"][0] if scope.get("client") else ""
        try:
            is_right = await self._verifier.accepts(config.users, *credentials, client_host)
        except TooManyPending:
            return _say("too many passwords are being verified, try again", 503, {"Retry-After": "1"})
        if is_right:
            return None
        logger.debug("wrong user or password", extra={"client": client_host})
        return _say("wrong user or password", 401, CHALLENGE)


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
