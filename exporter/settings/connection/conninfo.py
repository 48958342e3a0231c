"""Connection parameters: read from a DSN or from libpq's environment, written so that nothing else counts.

libpq fills whatever a connection string leaves out from PG* variables: one server's PGPASSWORD would
go to every other server. `sealed` leaves nothing out. PGSERVICE alone acts through a string that leaves
nothing out, so the command also calls `take_environment`. No message here repeats a text that was given.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from exporter.parsing.text import InvalidText
from exporter.settings.connection.dsn_text import looks_like_dsn
from exporter.settings.connection.service_file import service_parameters

# Read by libpq in addition to those of a parameter.
_OTHER_VARIABLES = frozenset(
    ("PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL", "PGTZ", "PGDATESTYLE", "PGGEQO")
)
# Where neither libpq's compiled default nor an empty value means "not given".
_NEUTRAL = {
    "connect_timeout": "0",
    "passfile": "/dev/null/none",  # an empty one means ~/.pgpass; libpq warns about a device
    # An empty one allows no method at all.
    "require_auth": "none,password,md5,gss,sspi,scram-sha-256",
    "sslcertmode": "allow",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
}
_SOCKET_DIRECTORIES = (Path("/var/run/postgresql"), Path("/tmp"))  # noqa: S108 - PostgreSQL's own places

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_URI = re.compile(r"postgres(?:ql)?://")
_HOST = re.compile(r"[\w.:%-]+|[/@][^@]*|")
_HINT = (
    "write postgresql://user@host:5432/dbname or host=… user=… dbname=…; "
    "in a URI, a password needs @ as %40, / as %2F and % as %25"
)


def parse_dsn(text: str) -> dict[str, str]:
    """The parameters of a libpq connection string, URI or key=value.

    Raises: InvalidText, without any part of the DSN.
    """
    text = text.strip()
    if not text:
        raise InvalidText("the DSN is empty", _HINT)
    if _SCHEME.match(text) and not _URI.match(text):
        raise InvalidText("the scheme of the DSN is not postgresql://", _HINT)
    if "\0" in text or (not _URI.match(text) and "=" not in text):
        raise InvalidText("the DSN is not a connection string", _HINT)
    try:
        given = conninfo_to_dict(text)
    except (psycopg.Error, UnicodeError):
        given = None
    if given is None:
        raise InvalidText("the DSN is not a connection string", _HINT)
    parameters = {keyword: str(value) for keyword, value in given.items()}
    if _URI.match(text) and "@" in text.partition("://")[2].partition("?")[0].partition("/")[2]:
        raise InvalidText("the DSN has an @ after a /", _HINT)
    check_address(parameters)
    return parameters


def check_address(parameters: Mapping[str, str]) -> None:
    """Refuse parts that are printed but look like pieces of a password or of another DSN.

    Raises: InvalidText.
    """
    if not all(_HOST.fullmatch(host) for host in parameters.get("host", "").split(",")):
        raise InvalidText(
            "the host is neither a name, an address nor the path of a socket's directory", _HINT
        )
    if not re.fullmatch(r"[0-9]{0,5}(?:,[0-9]{0,5})*", parameters.get("port", "")):
        raise InvalidText("the port is not a number", _HINT)
    if not re.fullmatch(r"[0-9A-Fa-f:.%,]*", parameters.get("hostaddr", "")):
        raise InvalidText("hostaddr is not a network address", _HINT)
    if looks_like_dsn(parameters.get("dbname", "")):
        raise InvalidText("the name of the database is a connection string", _HINT)
    if looks_like_dsn(parameters.get("user", "")):
        raise InvalidText("the name of the user is a connection string", _HINT)


def with_service(parameters: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """The parameters, completed from the service that they name, if they name one.

    Raises: InvalidText, without the name of the service and its values.
    """
    complete = dict(parameters)
    name = complete.pop("service", "")
    if not name:
        return complete
    keywords = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    return {**service_parameters(name, files, keywords), **complete}


def variables() -> Mapping[str, str]:
    """libpq's parameters that have an environment variable, keyword to variable."""
    return {
        option.keyword.decode(): option.envvar.decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar
    }


def parameters_from(environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters that PG* variables give, as libpq itself would take them."""
    parameters = {
        keyword: environment[variable]
        for keyword, variable in variables().items()
        if environment.get(variable)
    }
    if parameters and "passfile" not in parameters and environment.get("HOME"):
        parameters["passfile"] = str(Path(environment["HOME"]) / ".pgpass")
    return parameters


def set_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables in `environment` that libpq would read."""
    known = _OTHER_VARIABLES.union(variables().values())
    return tuple(sorted(name for name in known if environment.get(name)))


def take_environment(environment: MutableMapping[str, str]) -> dict[str, str]:
    """A copy of the process's environment, after removing from the original what libpq reads."""
    taken = dict(environment)
    for name in _OTHER_VARIABLES.union(variables().values()):
        environment.pop(name, None)
    return taken


def sealed(parameters: Mapping[str, str]) -> str:
    """A connection string with these parameters that libpq does not complete from its environment.

    Raises: InvalidText.
    """
    check_address(parameters)
    complete = dict(parameters)
    if not complete.get("user"):
        complete["user"] = _system_user()
    if not complete.get("host") and not complete.get("hostaddr"):
        complete["host"] = _local_host(complete.get("port") or "5432")
    for option in pq.Conninfo.get_defaults():
        keyword = option.keyword.decode()
        if option.envvar and keyword not in complete and keyword != "service":
            default = option.compiled.decode() if option.compiled else ""
            complete[keyword] = _NEUTRAL.get(keyword, default)
    return make_conninfo(**complete)


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise InvalidText(
            "no user is given, and the operating system has no name for the current one", "name the user"
        ) from None


def _local_host(port: str) -> str:
    for directory in _SOCKET_DIRECTORIES:
        if (directory / f".s.PGSQL.{port}").exists():
            return str(directory)
    return "localhost"
