"""Whether the exporter runs, for the `healthcheck` command: imports nothing of the web server."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

from exporter.errors import SettingsError
from exporter.metrics.web.config import load_web_config

HEALTH_PATH = "/-/healthy"
# Without a password: load balancers and Kubernetes have none.
OPEN_PATHS = (HEALTH_PATH, "/-/ready")
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def check_health(
    listen_address: str, *, web_config_file: Path | None = None, timeout_seconds: float = 3.0
) -> bool:
    """Return True if an exporter answers on HOST:PORT; without a host, on loopback.

    Its TLS certificate is not verified: it names other hosts than loopback.
    """
    host, _, port = listen_address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    # An exporter on every address answers on IPv4 as well.
    address = "127.0.0.1" if host in EVERYWHERE else host, int(port)
    plain = http.client.HTTPConnection(*address, timeout=timeout_seconds)
    if web_config_file is None:
        return _answers(plain)
    context = _unverifying_context()
    secured = http.client.HTTPSConnection(*address, timeout=timeout_seconds, context=context)
    try:
        tls = load_web_config(web_config_file).tls
    except SettingsError:
        # The exporter uses the last valid configuration.
        return _answers(secured) or _answers(plain)
    if tls is not None and tls.demands_certificate:
        return _takes_part_in_handshake(address, context, timeout_seconds)
    return _answers(plain if tls is None else secured)


def _answers(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", HEALTH_PATH)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _takes_part_in_handshake(
    address: tuple[str, int], context: ssl.SSLContext, timeout_seconds: float
) -> bool:
    """Return True if the server answers a handshake: without a client certificate, no more is known."""
    try:
        with socket.create_connection(address, timeout_seconds) as client:
            try:
                context.wrap_socket(client).close()
            except (ssl.SSLEOFError, ConnectionResetError):
                return True
            except ssl.SSLError as error:
                # Up to TLS 1.2 a missing certificate ends the handshake, and some versions of OpenSSL
                # report the alert that says so; plain HTTP sends none.
                return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return True


def _unverifying_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # The exporter may be set to any of them.
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
