"""HTTP/1.1 over a pair of sockets: what the application is asked, what the client gets, what is refused."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.metrics.web.connection import Connection, Limits, UnreadAnswers
from exporter.metrics.web.http1 import Http1

GET = b"GET / HTTP/1.1\r\nHost: e\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n"
QUICK = Limits(idle_seconds=0.2, write_seconds=0.2)
PATIENT = Limits(idle_seconds=60, write_seconds=60)


class Application:
    """Answers every request in the same way, and keeps what it was asked."""

    def __init__(self, answer: ASGIApp | None = None) -> None:
        self.scopes: list[Scope] = []
        self._answer = answer or PlainTextResponse("page\n")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await self._answer(scope, receive, send)


@asynccontextmanager
async def connected(app: ASGIApp, limits: Limits = PATIENT) -> AsyncIterator[tuple[Http1, socket.socket]]:
    """A client's end of a connection that is served, and what serves it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, address = listener.accept()
    client.setblocking(False)
    connection = Connection(accepted, limits, UnreadAnswers(64))
    http = Http1(app, connection, address, limits)
    serving = asyncio.create_task(http.serve())
    serving.add_done_callback(lambda _: connection.close())
    try:
        with client:
            yield http, client
        await serving
    finally:
        serving.cancel()


async def read_to_the_end(client: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := await asyncio.get_running_loop().sock_recv(client, 65536):
            received += data
    return received


def answers_to(sent: bytes, app: ASGIApp, limits: Limits = PATIENT) -> bytes:
    """All that comes for these bytes, up to the end of the connection."""

    async def main() -> bytes:
        async with connected(app, limits) as (_, client):
            await asyncio.get_running_loop().sock_sendall(client, sent)
            return await read_to_the_end(client)

    return asyncio.run(main())


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


# ---------------------------------------------------------------- requests


def test_the_application_is_asked_as_asgi_says() -> None:
    app = Application()

    answers_to(
        b"GET /pro%62e?target=a%20b HTTP/1.1\r\nHost: e:1\r\nA: 1\r\na: 2\r\nConnection: close\r\n\r\n",
        app,
    )

    (scope,) = app.scopes
    assert scope["type"] == "http"
    assert (scope["method"], scope["scheme"], scope["http_version"]) == ("GET", "http", "1.1")
    assert (scope["path"], scope["raw_path"]) == ("/probe", b"/pro%62e")
    assert scope["query_string"] == b"target=a%20b"
    assert scope["headers"] == [
        (b"host", b"e:1"),
        (b"a", b"1"),
        (b"a", b"2"),
        (b"connection", b"close"),
    ]
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
    assert scope["client"] != scope["server"]


def test_requests_are_answered_one_after_the_other() -> None:
    app = Application()

    answer = answers_to(GET * 3 + LAST, app)

    assert answer.count(b"HTTP/1.1 200 OK\r\n") == answer.count(b"page\n") == len(app.scopes) == 4
    assert answer.count(b"Connection: close\r\n") == 1


def test_an_answer_has_a_date_and_no_name_of_a_server() -> None:
    head, _, body = answers_to(LAST, Application()).partition(b"\r\n\r\n")

    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert sorted(names) == [b"Connection", b"content-length", b"content-type", b"date"]
    assert body == b"page\n"


def test_head_is_answered_without_a_body() -> None:
    answer = answers_to(b"HEAD / HTTP/1.1\r\nHost: e\r\n\r\n" + LAST.replace(b"GET", b"HEAD"), Application())

    assert answer.count(b"content-length: 5\r\n") == 2
    assert b"page" not in answer


def test_http_1_0_is_answered_once() -> None:
    app = Application()

    answer = answers_to(b"GET / HTTP/1.0\r\n\r\n" * 2, app)

    assert (status_of(answer), answer.count(b"page\n"), len(app.scopes)) == (200, 1, 1)


def test_an_answer_of_unknown_length_is_sent_in_chunks() -> None:
    async def parts(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    assert answers_to(LAST, parts).endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


@pytest.mark.parametrize("empty", [b"Content-Length: 0\r\n", b"Expect: 100-continue\r\n"])
def test_a_request_that_announces_no_body_is_answered(empty: bytes) -> None:
    assert status_of(answers_to(LAST[:-2] + empty + b"\r\n", Application())) == 200


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: e\r\nHost: f\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: e\r\nX y: z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: e\r\nX: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: e\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: e\r\nContent-Length: " + b"9" * 9000 + b"\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: e\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nHost: e\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\n\r\nx", 413),
        (b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"HEAD / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"PUT / HTTP/1.1\r\nHost: e\r\nContent-Length: " + b"9" * 20 + b"\r\n\r\n" + b"x" * 100_000, 413),
    ],
)
def test_what_is_no_request_for_a_page_is_refused_unread(
    sent: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = Application()

    answer = answers_to(sent + GET, app)

    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in answer
    assert app.scopes == []
    assert caplog.text == ""


@pytest.mark.parametrize("more", [0, 1, 16 * 1024])
@pytest.mark.parametrize("is_at_once", [True, False])
def test_a_head_may_have_16_kib_and_no_byte_more(more: int, is_at_once: bool) -> None:
    head = LAST[:-2] + b"X: "
    head += b"x" * (16 * 1024 + more - len(head) - 4) + b"\r\n\r\n"

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        async with connected(Application()) as (_, client):
            if not is_at_once:
                await loop.sock_sendall(client, head[:10_000])
                await asyncio.sleep(0.05)
            await loop.sock_sendall(client, head[0 if is_at_once else 10_000 :])
            return await read_to_the_end(client)

    assert status_of(asyncio.run(main())) == (431 if more else 200)


def test_half_a_request_is_refused_in_the_end_and_silence_is_not_answered() -> None:
    assert status_of(answers_to(GET[:-2], Application(), QUICK)) == 408
    assert answers_to(b"", Application(), QUICK) == b""
    # The second request of a connection has no more time than the first.
    assert answers_to(GET + b"GET", Application(), QUICK).count(b"HTTP/1.1 408 Request Timeout") == 1
    assert answers_to(GET, Application(), QUICK).count(b"HTTP/1.1") == 1


# ---------------------------------------------------------------- clients that leave or go on


class WaitingApplication:
    """Waits for the client to leave, as the pages do beside their work."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.messages: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        listening = asyncio.ensure_future(self._listen(receive))
        answering = asyncio.ensure_future(self.may_answer.wait())
        await asyncio.wait((listening, answering), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        answering.cancel()
        await PlainTextResponse("page\n")(scope, receive, send)

    async def _listen(self, receive: Receive) -> None:
        while not self.messages or self.messages[-1]["type"] != "http.disconnect":
            self.messages.append(await receive())


def test_the_application_learns_that_its_client_left() -> None:
    async def main() -> list[Message]:
        app = WaitingApplication()
        async with connected(app) as (_, client):
            await asyncio.get_running_loop().sock_sendall(client, GET)
            await app.begun.wait()
            client.close()
        return app.messages

    assert asyncio.run(main()) == [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]


def test_what_comes_before_the_answer_is_kept_up_to_a_head_and_answered_afterwards() -> None:
    async def main() -> tuple[bool, set[str]]:
        app = WaitingApplication()
        async with connected(app) as (_, client):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, GET)
            await app.begun.wait()
            sending = asyncio.create_task(loop.sock_sendall(client, GET * 1_000_000))
            await asyncio.wait((sending,), timeout=0.5)
            is_held_up = not sending.done()
            app.may_answer.set()
            answered = b""
            while answered.count(b"page\n") < 1000:
                answered += await loop.sock_recv(client, 65536)
            sending.cancel()
        return is_held_up, {message["type"] for message in app.messages}

    assert asyncio.run(main()) == (True, {"http.request"})


def test_a_client_that_does_not_read_ends_its_answer_only(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[BaseException] = []

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        except OSError as error:
            ended.append(error)
            raise

    async def main() -> None:
        async with connected(endless, QUICK) as (http, client):
            await asyncio.get_running_loop().sock_sendall(client, GET)
            while not ended:
                assert not http.is_idle or not ended
                await asyncio.sleep(0.01)

    asyncio.run(main())

    assert [str(error) for error in ended] == ["the client does not read"]
    assert caplog.text == ""


def test_the_last_answer_before_the_end_says_so() -> None:
    async def main() -> bytes:
        app = WaitingApplication()
        async with connected(app) as (http, client):
            await asyncio.get_running_loop().sock_sendall(client, GET)
            await app.begun.wait()
            assert http.is_working
            http.end_after_answer()
            app.may_answer.set()
            return await read_to_the_end(client)

    answer = asyncio.run(main())
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"page\n")


# ---------------------------------------------------------------- faults of the application


async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ValueError("a fault")


async def says_nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    pass


async def ends_early(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
    await send({"type": "http.response.body", "body": b"page\n"})


@pytest.mark.parametrize(
    ("app", "is_logged", "is_begun"),
    [(fails, True, False), (says_nothing, False, False), (ends_early, True, False)],
)
def test_an_application_that_fails_ends_the_connection(
    app: ASGIApp, is_logged: bool, is_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answer = answers_to(GET * 2, app)

    assert bool(answer) is is_begun
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert messages == (["a request failed"] if is_logged else [])
