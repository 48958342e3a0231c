"""The end of all connections, also where an application does not end."""

import asyncio
import logging
import socket
import ssl

import pytest
from starlette.types import Receive, Scope, Send

from exporter.metrics.web.acceptor import Acceptor
from exporter.metrics.web.connection import RESET, Limits
from exporter.metrics.web.tls import TlsServer


def test_a_request_that_does_not_end_does_not_hold_the_end_of_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("exporter.metrics.web.acceptor.DROP_SECONDS", 0.05)

    async def main() -> None:
        is_asked, may_end = asyncio.Event(), asyncio.Event()

        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            is_asked.set()
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue

        with socket.create_server(("127.0.0.1", 0)) as listener:
            acceptor = Acceptor(app, limits=Limits(write_seconds=0.05))
            accepting = asyncio.create_task(acceptor.accept(listener))
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: e\r\n\r\n")
                await is_asked.wait()
                accepting.cancel()

                assert not await acceptor.finish(0.05)
                await acceptor.drop()

                may_end.set()
                while asyncio.all_tasks() - {asyncio.current_task()}:
                    await asyncio.sleep(0.01)

    asyncio.run(main())

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "connections do not end")
    ]


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
@pytest.mark.parametrize(
    "tls", [None, TlsServer(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))], ids=["plain", "tls"]
)
def test_a_client_that_left_before_it_was_served_is_no_error(
    sent: bytes, tls: TlsServer | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("there is no request")

    async def main() -> None:
        acceptor = Acceptor(app, lambda: tls)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
            acceptor.begin(*listener.accept())
        while asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0.01)
        await acceptor.drop()

    asyncio.run(main())

    assert caplog.text == ""
