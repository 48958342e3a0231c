"""Authentication and security headers, over an application that answers everything."""

import asyncio
from itertools import product

import bcrypt
import httpx
import pytest

from exporter.metrics.web.app import make_app
from exporter.metrics.web.config import WebConfig
from exporter.metrics.web.middleware import HEADERS, SecurityMiddleware
from tests.unit.metrics.web.test_app import FixedPages

USERS = {b"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))}
PATHS = ("/", "/metrics", "/probe", "/-/healthy", "/-/ready", "/nowhere")


def ask(
    config: WebConfig,
    path: str = "/metrics",
    method: str = "GET",
    *,
    auth: tuple[str, str] | None = None,
) -> httpx.Response:
    async def send() -> httpx.Response:
        app = SecurityMiddleware(make_app(FixedPages("default", body=b"page\n")), lambda: config)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://exporter"
        ) as client:
            return await client.request(method, path, auth=auth)

    return asyncio.run(send())


def test_without_users_everybody_is_let_in() -> None:
    assert ask(WebConfig()).text == "page\n"
    assert ask(WebConfig(), auth=("somebody", "something")).text == "page\n"


def test_a_user_with_the_right_password_is_let_in() -> None:
    assert ask(WebConfig(users=USERS), auth=("alice", "secret")).text == "page\n"


@pytest.mark.parametrize("auth", [None, ("alice", "wrong"), ("nobody", "secret"), ("alice", "")])
def test_others_are_asked_for_a_password(auth: tuple[str, str] | None) -> None:
    paths = ("/", "/metrics", "/probe", "/sd", "/-/reload", "/nowhere", "/-/healthy/")
    for path, method in product(paths, ("GET", "HEAD", "POST")):
        answer = ask(WebConfig(users=USERS), path, method, auth=auth)

        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == 'Basic realm="pg-index-exporter", charset="UTF-8"'
        assert answer.headers["x-content-type-options"] == "nosniff", (method, path)
        assert "page" not in answer.text, (method, path)


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


def test_every_answer_has_the_headers() -> None:
    for path, method in product(PATHS, ("GET", "DELETE")):
        headers = ask(WebConfig(), path, method).headers

        assert {name: headers[name] for name in HEADERS} == HEADERS, (method, path)


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
