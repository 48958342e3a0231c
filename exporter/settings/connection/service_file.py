"""Services of pg_service.conf, read as libpq reads them.

libpq cannot do it here: every parameter is given to it explicitly, so nothing of a service would count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from exporter.parsing.text import InvalidText

FILE_VARIABLE = "PGSERVICEFILE"
FOLDER_VARIABLE = "PGSYSCONFDIR"
_FILE_NAME = "pg_service.conf"
# Debian's folder; libpq's own is fixed when it is compiled.
_SYSTEM_FOLDER = "/etc/postgresql-common"
_MAX_BYTES = 1024 * 1024


def service_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that may define a service; the first that does counts."""
    folder = Path(environment.get(FOLDER_VARIABLE) or _SYSTEM_FOLDER) / _FILE_NAME
    if environment.get(FILE_VARIABLE):
        return Path(environment[FILE_VARIABLE]), folder
    home = environment.get("HOME")
    return (Path(home) / f".{_FILE_NAME}", folder) if home else (folder,)


def service_parameters(name: str, files: Iterable[Path], keywords: Iterable[str]) -> dict[str, str]:
    """The parameters of the service, of these keywords.

    Raises: InvalidText, without the name and the values.
    """
    looked_at = [str(file) for file in files]
    for file in looked_at:
        parameters = _read(name, file, frozenset(keywords))
        if parameters is not None:
            return parameters
    raise InvalidText(
        "the service is not defined",
        f"define it in one of {', '.join(looked_at)}, or name another file in {FILE_VARIABLE}"
        if looked_at
        else f"name the file that defines it in {FILE_VARIABLE}",
    )


def _read(name: str, file: str, keywords: frozenset[str]) -> dict[str, str] | None:
    """The parameters of the service in the file, None where it has no such service."""
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidText(
            f"{file} cannot be read: {error.strerror}", "check the path and its rights"
        ) from None
    except UnicodeDecodeError:
        raise InvalidText(f"{file} is not UTF-8", "save the file as UTF-8") from None
    parameters: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if parameters is not None:
                break
            parameters = {} if line == f"[{name}]" else None
        elif parameters is not None:
            keyword, value = _parameter(line, f"{file}:{number}", keywords)
            # As libpq: the first counts.
            parameters.setdefault(keyword, value)
    return parameters


def _parameter(line: str, place: str, keywords: frozenset[str]) -> tuple[str, str]:
    keyword, separator, value = line.partition("=")
    if line.startswith("ldap"):
        raise InvalidText(
            f"{place} asks an LDAP server, which is not supported", "write the parameters there"
        )
    if not separator:
        raise InvalidText(f"{place} is not keyword=value", "write one parameter a line, without blanks at =")
    if keyword in ("service", "servicefile"):
        raise InvalidText(f"{place} names a service inside a service", "write its parameters there")
    if keyword not in keywords:
        raise InvalidText(
            f"{place} has a keyword that libpq does not know", "write it as in a connection string"
        )
    return keyword, value
