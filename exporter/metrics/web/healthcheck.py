"""Is the exporter of these settings running? Asked by the `healthcheck` command, so without the web stack."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

from exporter.errors import SettingsError
from exporter.metrics.web.config import load_web_config

HEALTH_PATH = "/-/healthy"
# What needs no password: who asks whether the process lives has none.
OPEN_PATHS = (HEALTH_PATH, "/-/ready")
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def check_health(
    listen_address: str, *, web_config_file: Path | None = None, timeout_seconds: float = 3.0
) -> bool:
    """True when an exporter answers on that address, HOST:PORT; without a host, on loopback.

    Behind TLS its certificate is not verified: it names other hosts than loopback.
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
        # The exporter goes on with what was there before.
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
    """True when who listens there speaks TLS, as much as one learns without the client certificate."""
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
    # Whatever few ciphers the exporter was told to use.
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
