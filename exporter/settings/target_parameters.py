"""Target settings -> connection parameters: DSN, service and parts put together, secrets read from files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from exporter.parsing.text import InvalidText
from exporter.secret import SecretStr
from exporter.settings.connection.conninfo import parse_dsn, with_service
from exporter.settings.connection.credentials import credential_faults
from exporter.settings.model import TargetSettings

# The key of the setting, the fault, the hint.
KeyFault: TypeAlias = tuple[str, str, str]

_MAX_SECRET_BYTES = 64 * 1024


def target_parameters(
    target: TargetSettings, service_files: Iterable[Path]
) -> tuple[dict[str, str], list[KeyFault]]:
    """The parameters that libpq needs, and the faults in them; with faults they are incomplete."""
    faults: list[KeyFault] = []
    dsn = _secret("dsn", target.dsn, target.dsn_file, faults)
    password = _secret("password", target.password, target.password_file, faults)
    parameters: dict[str, str] = {}
    of_service: dict[str, str] = {}
    if dsn is not None:
        try:
            parameters = parse_dsn(dsn)
            service = {"service": parameters.pop("service", "")}
            of_service = with_service(service, service_files)
        except InvalidText as error:
            faults.append(("dsn", error.what, error.hint))
    parts = {
        "host": target.host,
        "hostaddr": target.hostaddr,
        "port": None if target.port is None else str(target.port),
        "user": target.user,
        "password": password,
        "passfile": target.passfile,
        "sslmode": target.sslmode,
        "sslrootcert": target.sslrootcert,
        "sslcert": target.sslcert,
        "sslkey": target.sslkey,
    }
    given = {keyword: value for keyword, value in parts.items() if value is not None}
    faults += [
        (keyword, f"{keyword} is in the DSN too", "keep one of them")
        for keyword in given
        if keyword in parameters
    ]
    parameters = {**of_service, **given, **parameters}
    for keyword, what, hint in credential_faults(parameters, given.keys()):
        faults.append((keyword if keyword in given else "dsn", what, hint))
    return parameters, faults


def _secret(name: str, value: SecretStr | None, file: str | None, faults: list[KeyFault]) -> str | None:
    """A secret that is given itself, or in a file."""
    if file is None:
        return None if value is None else value.get_secret_value()
    if value is not None:
        faults.append((f"{name}_file", f"both {name} and {name}_file are given", "keep one of them"))
        return None
    try:
        return _line_in(Path(file))
    except InvalidText as error:
        faults.append((f"{name}_file", error.what, error.hint))
        return None


def _line_in(path: Path) -> str:
    """The only line of the file. Raises: InvalidText."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES)
    except OSError as error:
        raise InvalidText(
            f"{path} cannot be read: {error.strerror}", "check the path and its rights"
        ) from None
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = "\0"
    if not text or "\0" in text or "\n" in text:
        raise InvalidText(f"{path} does not hold one line of text", "write only the secret in it")
    return text
