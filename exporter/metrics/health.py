"""Is the exporter of these settings running? Asked by the `healthcheck` command, so without the web stack."""

from __future__ import annotations

import http.client

HEALTH_PATH = "/-/healthy"
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def check_health(listen_address: str, *, timeout_seconds: float = 3.0) -> bool:
    """True when an exporter answers on that address, HOST:PORT; without a host, on loopback."""
    host, _, port = listen_address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    # An exporter on every address answers on IPv4 as well.
    connection = http.client.HTTPConnection(
        "127.0.0.1" if host in EVERYWHERE else host, int(port), timeout=timeout_seconds
    )
    try:
        connection.request("GET", HEALTH_PATH)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
