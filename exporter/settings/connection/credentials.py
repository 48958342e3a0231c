"""The files that libpq reads when it connects, checked before it does."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

FILE_KEYWORDS = ("passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl")
# libpq's word for the certificates of the system.
SYSTEM = "system"

_HINT = "check the path and its rights"


def credential_faults(
    parameters: Mapping[str, str], required: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """The faults of the files in connection parameters: keyword, fault, hint.

    A missing file is a fault if its keyword is in `required`; otherwise libpq connects without it.
    """
    readable = set()
    for keyword in FILE_KEYWORDS:
        path = parameters.get(keyword)
        if not path or path == SYSTEM:
            continue
        try:
            with Path(path).open("rb"):
                readable.add(keyword)
        except OSError as error:
            if keyword in required or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                yield keyword, f"{path} cannot be read: {error.strerror}", _HINT
    if "sslrootcert" in readable:
        yield from _authority_faults(parameters["sslrootcert"])
    if {"sslcert", "sslkey"} <= readable:
        yield from _pair_faults(
            parameters["sslcert"], parameters["sslkey"], parameters.get("sslpassword", "")
        )


def _authority_faults(path: str) -> Iterator[tuple[str, str, str]]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        yield "sslrootcert", f"{path} holds no certificate", "give a file in PEM format"


def _pair_faults(certificate: str, key: str, password: str) -> Iterator[tuple[str, str, str]]:
    try:
        # A function, or OpenSSL would ask on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            what = f"the key in {key} does not belong to the certificate in {certificate}"
            yield "sslkey", what, "give the key that the certificate was issued for"
        elif not _is_der(key):
            what = f"{certificate} and {key} are not a usable certificate and key"
            yield "sslcert", what, "give files in PEM format, and sslpassword if the key has one"


def _is_der(path: str) -> bool:
    """True for a key in the binary form, which libpq reads and Python does not."""
    with Path(path).open("rb") as file:
        return file.read(1) == b"\x30"
