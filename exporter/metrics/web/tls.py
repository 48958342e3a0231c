"""TLS of the web server: settings -> ssl context, and which client certificates are accepted.

Ciphers and curves have Go's names, as in exporter-toolkit; here they are mapped to OpenSSL's.
"""

from __future__ import annotations

import ipaddress
import platform
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Those of Go's tls.CipherSuites up to TLS 1.2; the suites of TLS 1.3 cannot be chosen in Python's ssl.
CIPHERS: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
VERSIONS: Mapping[str, ssl.TLSVersion] = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

# Called with the key of the file, what is wrong with it, and the hint.
AddFault = Callable[[str, str, str], None]

_PEM_HINT = "use a file in PEM format, with its BEGIN and END lines"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The content of `tls_server_config`, checked as far as possible without reading other files."""

    cert_file: Path
    key_file: Path
    verify_mode: ssl.VerifyMode = ssl.CERT_NONE
    client_ca_file: Path | None = None
    client_ca: str | None = None
    client_allowed_sans: frozenset[str] = frozenset()
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that the context is made from."""
        return tuple(path for path in (self.cert_file, self.key_file, self.client_ca_file) if path)


@dataclass(frozen=True, slots=True)
class TlsServer:
    """How new connections are secured. Without allowed names every verified certificate is accepted."""

    context: ssl.SSLContext
    client_allowed_sans: frozenset[str] = frozenset()

    @property
    def demands_certificate(self) -> bool:
        """Return True if a client certificate is required."""
        return self.context.verify_mode is ssl.CERT_REQUIRED

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Return True if the client is accepted; `certificate` is the result of SSLSocket.getpeercert."""
        if not certificate or not self.client_allowed_sans:
            return True
        return not self.client_allowed_sans.isdisjoint(subject_alternative_names(certificate))


def subject_alternative_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Return the DNS names, e-mail addresses, URIs and IP addresses of a certificate, formatted as by Go."""
    names: set[str] = set()
    for kind, name in certificate.get("subjectAltName", ()):
        if kind == "IP Address":
            # OpenSSL does not shorten IPv6, and some versions append a line break.
            names.add(str(ipaddress.ip_address(name.strip())))
        elif kind in ("DNS", "email", "URI"):
            names.add(name)
    return frozenset(names)


def make_context(settings: TlsSettings, add_fault: AddFault) -> ssl.SSLContext | None:
    """Return the context of new connections; None if faults were added."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = settings.min_version
    context.maximum_version = settings.max_version
    # Compression leaks its content; renegotiation costs the server more than the client.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if settings.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.cipher_suites:
        context.set_ciphers(":".join(CIPHERS[name] for name in settings.cipher_suites))
    has_curve = settings.curve is None or _set_curve(context, settings.curve, add_fault)
    context.set_alpn_protocols(["http/1.1"])
    is_loaded = _load_certificate(context, settings, add_fault)
    is_trusting = _load_client_ca(context, settings, add_fault)
    return context if has_curve and is_loaded and is_trusting else None


def _set_curve(context: ssl.SSLContext, curve: str, add_fault: AddFault) -> bool:
    try:
        context.set_ecdh_curve(CURVES[curve])
    except (ssl.SSLError, ValueError):
        # Python 3.11.2 with OpenSSL 3.0 cannot set X25519, though OpenSSL has it.
        what = f"{curve} cannot be set with this Python ({platform.python_version()}, {ssl.OPENSSL_VERSION})"
        add_fault("curve_preferences", what, "remove the key, or choose CurveP256")
        return False
    return True


def _load_certificate(context: ssl.SSLContext, settings: TlsSettings, add_fault: AddFault) -> bool:
    certificate = _read(settings.cert_file, "cert_file", add_fault)
    key = _read(settings.key_file, "key_file", add_fault)
    if certificate is not None and not _holds_certificates(certificate):
        add_fault("cert_file", f"{settings.cert_file} contains no certificate", _PEM_HINT)
        return False
    if certificate is None or key is None:
        return False
    if "ENCRYPTED" in key:
        # OpenSSL would ask for the password on the terminal.
        hint = "store it without one, readable by this program only: openssl pkey -in KEY -out NEW"
        add_fault("key_file", f"the key in {settings.key_file} is protected by a password", hint)
        return False
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
    except OSError as error:
        reason = getattr(error, "reason", None)
        if reason == "KEY_VALUES_MISMATCH":
            what = (
                f"the key in {settings.key_file} does not belong to the certificate in {settings.cert_file}"
            )
            add_fault("key_file", what, "use the certificate and the key that were issued together")
        elif reason is None:
            add_fault("key_file", f"{settings.key_file} contains no private key", _PEM_HINT)
        else:
            what = f"OpenSSL refuses {settings.cert_file}: {reason.lower().replace('_', ' ')}"
            add_fault("cert_file", what, "issue a new certificate")
        return False
    return True


def _load_client_ca(context: ssl.SSLContext, settings: TlsSettings, add_fault: AddFault) -> bool:
    context.verify_mode = settings.verify_mode
    if settings.client_ca_file is not None:
        key, source = "client_ca_file", str(settings.client_ca_file)
        text = _read(settings.client_ca_file, key, add_fault)
    else:
        key, source, text = "client_ca", "client_ca", settings.client_ca
    if text is None:
        return settings.client_ca_file is None
    # As in Go, every certificate in the file is trusted: an intermediate needs no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not _holds_certificates(text, into=context):
        add_fault(key, f"{source} contains no certificate", _PEM_HINT)
        return False
    return True


def _read(path: Path, key: str, add_fault: AddFault) -> str | None:
    """Return the file's text, which is ASCII except for comments; None if a fault was added."""
    try:
        return path.read_bytes().decode("ascii", "ignore")
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
        add_fault(key, what, "check the path, relative to this file's folder, and its permissions")
        return None


def _holds_certificates(text: str, into: ssl.SSLContext | None = None) -> bool:
    try:
        (into or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return True
