"""exporter-toolkit's web configuration file: TLS, client certificates, users and headers.

The format is that of Prometheus and its exporters. What Python's ssl cannot do is refused with the reason: a
security setting that is ignored in silence would be a hole. No message repeats a value of the file.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from exporter.errors import SettingsError
from exporter.file_state import FileState, file_state
from exporter.metrics.web.tls import (
    CIPHERS,
    CURVES,
    VERSIONS,
    TlsServer,
    TlsSettings,
    make_context,
)
from exporter.parsing.text import InvalidText
from exporter.yamlfile.reader import FaultList, Located, read_yaml, unknown_key
from exporter.yamlfile.section import Section

TOP_KEYS = ("tls_server_config", "http_server_config", "basic_auth_users")
TLS_KEYS = (
    *("cert_file", "key_file", "client_auth_type", "client_ca_file", "client_ca", "client_allowed_sans"),
    *("min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences"),
)
HTTP_KEYS = ("http2", "headers")
# The values that a header may have; empty: any.
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
CLIENT_AUTH_TYPES: Mapping[str, ssl.VerifyMode] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
UNVERIFIED_AUTH_TYPES = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
# A hash of a higher cost takes longer than a scraper waits.
MAX_COST = 16

_FILES_ONLY = "Python's ssl loads {0}s from files only"
_REFUSED_TLS_KEYS = {
    "cert": (_FILES_ONLY.format("certificate"), "put it into a file and name that: `cert_file:`"),
    "key": (_FILES_ONLY.format("key"), "put it into a file and name that: `key_file:`"),
}
_REFUSED_TOP_KEYS = {
    "rate_limit": (
        "rate_limit is not supported, since scrapes that come together share one collection",
        "remove it",
    ),
}
# The last character of the salt carries two bits only; libraries refuse others.
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_BCRYPT_HINT = "write what `htpasswd -nBC 10 USER` prints after the colon"
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Who may connect, and headers of every answer; by default everyone, over plain HTTP.

    `users` maps names to bcrypt hashes, both in bytes; without users no password is required.
    `headers` maps names to values; a header with an empty value is not sent.
    `files` are those it was read from, with their state at that time.
    """

    tls: TlsServer | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, FileState | None] = field(default_factory=dict)
    # Without effect: the server speaks HTTP/1.1 only.
    asks_for_http2: bool = False

    @property
    def scheme(self) -> str:
        """Return the scheme of the server's URL."""
        return "http" if self.tls is None else "https"


def load_web_config(path: Path) -> WebConfig:
    """Return the configuration in the file; paths in it are relative to its folder.

    Raises: SettingsError with all faults.
    """
    # Before it is read, so that a change during the read is seen later.
    files = {path: file_state(path)}
    faults = FaultList(str(path))
    config = WebConfig()
    document = read_yaml(path, faults)
    if document is not None:
        config = _config(document, path.parent, faults, files)
    if faults.found:
        count = len(faults.found)
        what = f"the web configuration has {count} fault{'s' if count != 1 else ''}"
        raise SettingsError(what, faults=faults.sorted())
    return config


def _config(
    document: Located, folder: Path, faults: FaultList, files: dict[Path, FileState | None]
) -> WebConfig:
    entries = _entries(document, "the web configuration", TOP_KEYS, _REFUSED_TOP_KEYS, faults)
    asks_for_http2, headers = (
        _http(entries["http_server_config"], faults) if "http_server_config" in entries else (False, {})
    )
    tls = (
        _tls(entries["tls_server_config"], folder, faults, files) if "tls_server_config" in entries else None
    )
    users = _users(entries["basic_auth_users"], faults) if "basic_auth_users" in entries else {}
    return WebConfig(tls, users, headers, files, asks_for_http2)


def _entries(
    entry: Located,
    what: str,
    known: Sequence[str],
    refused: Mapping[str, tuple[str, str]],
    faults: FaultList,
) -> dict[str, Located]:
    """Return the entries of a mapping that have known keys; each of the others is a fault."""
    if not isinstance(entry.value, Mapping):
        faults.add(entry.line, f"{what} is a mapping, not {entry.kind}", "write `key: value` lines")
        return {}
    for key in entry.value.keys() - set(known):
        faults.add(entry.value[key].line, *(refused.get(key) or unknown_key(key, known)))
    return {key: value for key, value in entry.value.items() if key in known}


# ------------------------------------------------------------------ http_server_config


def _http(entry: Located, faults: FaultList) -> tuple[bool, dict[str, str]]:
    """Return whether HTTP/2 is asked for, and the headers."""
    entries = _entries(entry, "http_server_config", HTTP_KEYS, {}, faults)
    section = Section(entry.line, entries, "http_server_config", faults)
    asks_for_http2 = section.has("http2") and section.boolean("http2")
    if "headers" not in entries:
        return asks_for_http2, {}
    found = _entries(entries["headers"], "headers", tuple(HEADERS), {}, faults)
    return asks_for_http2, {name: _header(name, value, faults) for name, value in found.items()}


def _header(name: str, entry: Located, faults: FaultList) -> str:
    value = "" if entry.value is None else entry.value
    if not isinstance(value, str):
        faults.add(entry.line, f"{name} is a text, not {entry.kind}", "put the text in quotes")
    elif not _HEADER_VALUE.fullmatch(value):
        faults.add(entry.line, f"{name} has characters that no header may have", "use one line of ASCII")
    elif value and HEADERS[name] and value not in HEADERS[name]:
        faults.add(entry.line, f"not a valid value of {name}", f"use {' or '.join(HEADERS[name])}")
    else:
        return value.strip()
    return ""


# ------------------------------------------------------------------ basic_auth_users


def _users(entry: Located, faults: FaultList) -> dict[bytes, bytes]:
    if not isinstance(entry.value, Mapping) or not entry.value:
        # Without users no password would be required.
        what = "basic_auth_users is empty" if not entry.value else f"basic_auth_users is {entry.kind}"
        faults.add(entry.line, what, "write `name: hash` lines, or remove it to require no password")
        return {}
    users: dict[bytes, bytes] = {}
    for name, located in entry.value.items():
        match = _BCRYPT.fullmatch(located.value) if isinstance(located.value, str) else None
        if not name or ":" in name or not name.isprintable():
            faults.add(
                located.line, "a user name that no client can send", "remove colons and control characters"
            )
        elif match is None or not 4 <= int(match["cost"]) <= 31:
            # Neither name nor value is repeated: either may be a password.
            faults.add(located.line, "the value of a user is not a bcrypt hash", _BCRYPT_HINT)
        elif int(match["cost"]) > MAX_COST:
            what = f"a bcrypt hash of a cost above {MAX_COST} takes longer than a scraper waits"
            faults.add(located.line, what, "hash the password again, with a cost of 10 to 14")
        else:
            users[name.encode()] = match[0].encode()
    return users


# ------------------------------------------------------------------ tls_server_config


def _tls(
    entry: Located, folder: Path, faults: FaultList, files: dict[Path, FileState | None]
) -> TlsServer | None:
    before = len(faults.found)
    entries = _entries(entry, "tls_server_config", TLS_KEYS, _REFUSED_TLS_KEYS, faults)
    section = Section(entry.line, entries, "tls_server_config", faults)
    verify_mode: ssl.VerifyMode | None = ssl.CERT_NONE
    if section.has("client_auth_type"):
        # None if the value is invalid: what was intended is unknown.
        verify_mode = section.parsed("client_auth_type", _client_auth_type)
    settings = _tls_settings(section, folder, verify_mode or ssl.CERT_NONE)
    _check_client_auth(section, verify_mode)
    if settings.min_version > settings.max_version:
        section.fault("min_version", "min_version is above max_version", "swap them")
    if len(faults.found) > before:
        return None
    files.update((path, file_state(path)) for path in settings.files)
    context = make_context(settings, section.fault)
    return None if context is None else TlsServer(context, settings.client_allowed_sans)


def _tls_settings(section: Section, folder: Path, verify_mode: ssl.VerifyMode) -> TlsSettings:
    def path(text: str) -> Path:
        return folder / text

    return TlsSettings(
        cert_file=section.parsed("cert_file", path, required=True) or folder,
        key_file=section.parsed("key_file", path, required=True) or folder,
        verify_mode=verify_mode,
        client_ca_file=section.parsed("client_ca_file", path),
        client_ca=section.text("client_ca"),
        client_allowed_sans=frozenset(section.list_of("client_allowed_sans", str)),
        min_version=section.parsed("min_version", _version) or VERSIONS["TLS12"],
        max_version=section.parsed("max_version", _version) or VERSIONS["TLS13"],
        cipher_suites=section.list_of("cipher_suites", _cipher_suite),
        prefer_server_cipher_suites=(
            section.boolean("prefer_server_cipher_suites")
            if section.has("prefer_server_cipher_suites")
            else True
        ),
        curve=_curve(section),
    )


def _client_auth_type(text: str) -> ssl.VerifyMode:
    if text in UNVERIFIED_AUTH_TYPES:
        raise InvalidText(
            f"{text} asks for certificates without verifying them, which Python's ssl cannot do",
            "choose RequireAndVerifyClientCert or VerifyClientCertIfGiven",
        )
    return _one_of(CLIENT_AUTH_TYPES, text)


def _version(text: str) -> ssl.TLSVersion:
    if text in ("TLS10", "TLS11"):
        raise InvalidText(f"{text} is deprecated and no longer supported by OpenSSL", "use TLS12 or TLS13")
    return _one_of(VERSIONS, text)


def _cipher_suite(text: str) -> str:
    if re.fullmatch(r"TLS_(?:AES|CHACHA20)_\w+", text):
        raise InvalidText(
            "the suites of TLS 1.3 cannot be chosen, all are offered", "list those of TLS 1.2 only"
        )
    _one_of(CIPHERS, text)
    return text


def _curve(section: Section) -> str | None:
    curves = section.list_of("curve_preferences", lambda text: _one_of({name: name for name in CURVES}, text))
    if len(curves) > 1:
        section.fault(
            "curve_preferences",
            "several curves, of which Python's ssl can set only one",
            "keep one, or remove the key for OpenSSL's own order",
        )
    return curves[0] if curves else None


def _one_of(values: Mapping[str, T], text: str) -> T:
    if text not in values:
        raise InvalidText("not a valid value", f"choose from {', '.join(values)}")
    return values[text]


def _check_client_auth(section: Section, verify_mode: ssl.VerifyMode | None) -> None:
    """Add faults where client certificates are verified without authorities, or the other way round."""
    authorities = [key for key in ("client_ca_file", "client_ca") if section.has(key)]
    if len(authorities) > 1:
        section.fault("client_ca", "client_ca_file and client_ca are both set", "keep one of them")
    if verify_mode is ssl.CERT_NONE:
        for key in (*authorities, "client_allowed_sans"):
            if section.has(key):
                what = f"{key} has no effect: no client certificate is requested"
                section.fault(key, what, "add `client_auth_type: RequireAndVerifyClientCert`")
    elif verify_mode is not None and not authorities:
        what = "there is no authority to verify client certificates with"
        section.fault("client_auth_type", what, "add `client_ca_file:`")
