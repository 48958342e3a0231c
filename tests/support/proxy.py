"""A TCP proxy in front of a server, which a test may cut in the middle of a conversation."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from psycopg.conninfo import make_conninfo

from exporter.secret import SecretStr

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tripwire:
    """What is to happen before a question that holds this text."""

    text: bytes
    act: Callable[[], None]
    passes_on: bool


@dataclass(slots=True)
class Conversation:
    """Which side of a connection sent last."""

    client_sent_last: bool = False


class Proxy:
    """Passes bytes both ways until it is told to cut."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.upstream_port = port
        self._listener = socket.create_server((address, 0))
        self._passing = threading.Event()
        self._passing.set()
        self._cut_at: int | None = None
        self._act_at: int | None = None
        self._act: Callable[[], None] = lambda: None
        self._tripwire: Tripwire | None = None
        self._sockets: list[socket.socket] = []
        self.questions = 0
        # How often a client sent something after it had waited for an answer.
        self.round_trips = 0
        self.cuts = 0
        self.swallowed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def conninfo(self, dsn: str) -> SecretStr:
        """The conninfo of the server by way of the proxy."""
        address: str = self._listener.getsockname()[0]
        return SecretStr(make_conninfo(dsn, host=address, port=self.port))

    def cut_after(self, questions: int) -> None:
        """Passes on so many more questions of the client; at the next, its connection ends unanswered."""
        self._cut_at = self.questions + questions

    def act_after(self, questions: int, act: Callable[[], None]) -> None:
        """Passes on so many more questions of any client, and calls `act` before the next."""
        self._act_at, self._act = self.questions + questions, act

    def act_before(self, text: str, act: Callable[[], None], *, passes_on: bool) -> None:
        """Calls `act` before any client's next question that holds the text, and then passes it on or not."""
        self._tripwire = Tripwire(text.encode(), act, passes_on)

    def cut_all(self) -> None:
        """Ends every connection that there is; new ones are served."""
        self._end(*self._sockets)
        self._sockets.clear()

    def cut_no_more(self) -> None:
        """Takes back a cut that has not come."""
        self._cut_at = None

    def swallow(self) -> None:
        """Takes connections from now on, and says nothing."""
        self._passing.clear()

    def pass_on(self) -> None:
        """Passes on again what comes in new connections."""
        self._passing.set()

    def close(self) -> None:
        """Ends everything."""
        self._end(self._listener, *self._sockets)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self._passing.is_set():
                    self.swallowed += 1
                    self._sockets.append(client)
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self.upstream_port))
                except OSError:  # nobody is there now
                    self._end(client)
                    continue
                self._sockets += [client, server]
                conversation = Conversation()
                for source, sink, asks in ((client, server, True), (server, client, False)):
                    arguments = (source, sink, asks, conversation)
                    threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, asks: bool, conversation: Conversation
    ) -> None:
        with suppress(OSError):
            while received := source.recv(CHUNK_BYTES):
                self.round_trips += asks and not conversation.client_sent_last
                conversation.client_sent_last = asks
                if asks:
                    if self.questions == self._cut_at:
                        self._cut_at = None
                        self.cuts += 1
                        # The server gets the question; its answer finds nobody.
                        self._end(source)
                    if self.questions == self._act_at:
                        self._act()
                    self.questions += 1
                    tripwire = self._tripwire
                    if tripwire is not None and tripwire.text in received:
                        self._tripwire = None
                        tripwire.act()
                        if not tripwire.passes_on:
                            break
                sink.sendall(received)
        self._end(source, sink)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def proxy_to(port: int, address: str = "127.0.0.1") -> Iterator[Proxy]:
    """A proxy in front of that port, which clients find at that address of ours."""
    proxy = Proxy(port, address)
    try:
        yield proxy
    finally:
        proxy.close()
