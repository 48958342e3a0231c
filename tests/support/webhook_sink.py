"""A webhook that keeps what Alertmanager sends it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class WebhookSink:
    """The notifications so far, each as the path it came to and its JSON."""

    url: str = ""
    _received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, path: str, notification: dict[str, Any]) -> None:
        with self._lock:
            self._received.append((path, notification))

    def alerts(self, path: str) -> list[dict[str, Any]]:
        """Every alert that came to `path`, in order, with repetitions."""
        with self._lock:
            received = list(self._received)
        return [alert for where, sent in received if where == path for alert in sent["alerts"]]


@contextmanager
def webhook_sink() -> Iterator[WebhookSink]:
    """A sink that listens on the loopback address."""
    sink = WebhookSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sink.keep(self.path, json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the notifications are looked at by the test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
