"""The web server over pages of a test, in a thread of the test's process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.metrics.web import server
from exporter.metrics.web.app import Pages, make_app
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.metrics.web.connection import Limits


@contextmanager
def serving_pages(
    pages: Pages, *, web: LiveWebConfig | None = None, limits: Limits | None = None
) -> Iterator[str]:
    """The URL of a server of these pages, which is stopped at the end."""
    listener = server.listen("127.0.0.1:0")
    url = server.base_url(listener, "http" if web is None else web.current().scheme)
    stop = server.Stop()
    serving = server.serve(make_app(pages), listener, stop, on_stop=lambda: None, web=web, limits=limits)
    thread = threading.Thread(target=lambda: asyncio.run(serving))
    thread.start()
    try:
        yield url
    finally:
        stop.set()
        thread.join()
