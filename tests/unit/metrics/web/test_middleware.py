"""What stands before the pages, over an application that answers everything."""

import asyncio

import bcrypt
import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from exporter.metrics.web.app import make_app
from exporter.metrics.web.config import WebConfig
from exporter.metrics.web.middleware import HEADERS, Protection
from tests.unit.metrics.web.test_app import FixedPages

USERS = {b"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))}
PATHS = ("/", "/metrics", "/probe", "/-/healthy", "/-/ready", "/nowhere")


def ask(
    config: WebConfig,
    path: str = "/metrics",
    method: str = "GET",
    *,
    auth: tuple[str, str] | None = None,
    content: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    async def send() -> httpx.Response:
        app = Protection(make_app(FixedPages("default", body=b"page\n")), lambda: config)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://exporter"
        ) as client:
            return await client.request(method, path, auth=auth, content=content, headers=headers)

    return asyncio.run(send())


def test_without_users_everybody_is_let_in() -> None:
    assert ask(WebConfig()).text == "page\n"
    assert ask(WebConfig(), auth=("somebody", "something")).text == "page\n"


def test_a_user_with_the_right_password_is_let_in() -> None:
    assert ask(WebConfig(users=USERS), auth=("alice", "secret")).text == "page\n"


@pytest.mark.parametrize("auth", [None, ("alice", "wrong"), ("nobody", "secret"), ("alice", "")])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/probe", "/sd", "/-/reload", "/nowhere", "/-/healthy/"])
def test_others_are_asked_for_a_password(path: str, method: str, auth: tuple[str, str] | None) -> None:
    answer = ask(WebConfig(users=USERS), path, method, auth=auth)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="pg-index-exporter", charset="UTF-8"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "page" not in answer.text


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_health_needs_no_password(path: str) -> None:
    assert ask(WebConfig(users=USERS), path).status_code == 200
    assert ask(WebConfig(users=USERS), path, auth=("alice", "wrong")).status_code == 200


def test_a_crowd_that_waits_for_its_verification_is_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.metrics.web.basic_auth.MAX_PENDING", 0)

    answer = ask(WebConfig(users=USERS), auth=("alice", "secret"))

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_every_answer_has_the_headers(path: str, method: str) -> None:
    headers = ask(WebConfig(), path, method).headers

    assert {name: headers[name] for name in HEADERS} == HEADERS


def test_the_web_configuration_says_the_last_word_on_headers() -> None:
    config = WebConfig(
        headers={
            "Strict-Transport-Security": "max-age=1",
            "X-Frame-Options": "sameorigin",
            "Content-Security-Policy": "",
        }
    )

    headers = ask(config, "/").headers

    assert headers["strict-transport-security"] == "max-age=1"
    assert headers.get_list("x-frame-options") == ["sameorigin"]
    assert "content-security-policy" not in headers


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/reload"])
@pytest.mark.parametrize(
    ("content", "headers"),
    [(b"x", {}), (None, {"Transfer-Encoding": "chunked"}), (None, {"Content-Length": "5"})],
)
def test_requests_with_a_body_are_refused_unread(
    path: str, content: bytes | None, headers: dict[str, str]
) -> None:
    answer = ask(WebConfig(users=USERS), path, "POST", content=content, headers=headers)

    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


def test_an_empty_body_is_none() -> None:
    assert ask(WebConfig(), "/-/healthy", headers={"Content-Length": "0"}).status_code == 200


# ---------------------------------------------------------------- HTTP/2 says what follows as it comes


def status_over_http2(*messages: Message) -> tuple[int, list[bytes]]:
    """The status and the names of the headers for a request that goes on with these messages."""
    sent: list[Message] = []
    coming = list(messages)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("page")(scope, receive, send)

    scope: Scope = {
        "type": "http",
        "http_version": "2",
        "method": "GET",
        "path": "/metrics",
        "headers": [],
        "client": None,
    }
    asyncio.run(Protection(app, WebConfig)(scope, receive, send))
    return sent[0]["status"], [name for name, _ in sent[0]["headers"]]


def test_http2_without_a_body() -> None:
    status, names = status_over_http2({"type": "http.request", "body": b"", "more_body": False})

    assert status == 200
    assert b"connection" not in names


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.request", "body": b"x", "more_body": False},
        {"type": "http.request", "body": b"", "more_body": True},
    ],
)
def test_http2_with_a_body_is_refused(message: Message) -> None:
    status, names = status_over_http2(message)

    assert status == 413
    # HTTP/2 forbids it.
    assert b"connection" not in names


def test_http2_that_neither_sends_a_body_nor_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.metrics.web.middleware.BODY_SECONDS", 0.01)

    assert status_over_http2()[0] == 413
