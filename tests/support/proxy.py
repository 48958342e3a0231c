"""A TCP proxy in front of a server, which a test may cut in the middle of a conversation."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Passes bytes both ways until it is told to cut."""

    def __init__(self, port: int) -> None:
        self._upstream_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._cut_at_next_question = threading.Event()
        self._sockets: list[socket.socket] = []
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut_at_next_question(self) -> None:
        """Ends the connection once the client's next bytes have gone to the server, before any answer."""
        self._cut_at_next_question.set()

    def close(self) -> None:
        """Ends everything."""
        self._end(self._listener, *self._sockets)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream_port))
                self._sockets += [client, server]
                for source, sink, asks in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=(source, sink, asks), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while received := source.recv(CHUNK_BYTES):
                if asks and self._cut_at_next_question.is_set():
                    self._cut_at_next_question.clear()
                    self.cuts += 1
                    # The server gets the question; its answer finds nobody.
                    self._end(source)
                sink.sendall(received)
        self._end(source, sink)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy in front of that port."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
