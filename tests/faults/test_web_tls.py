"""The web server behind TLS: who gets in, and what changes while it runs."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import httpx
import pytest

from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.metrics.web.healthcheck import check_health
from tests.support.certificates import Authority
from tests.support.web_server import serving_pages
from tests.unit.metrics.web.test_app import FixedPages

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = f"{TLS}  client_ca_file: ca.pem\n  client_auth_type: "
HASHES = {
    password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode() for password in ("secret", "other")
}
USERS = f"basic_auth_users: {{alice: {HASHES['secret']}}}\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority of the server's certificate, in the folder of the web configuration."""
    made = Authority(tmp_path)
    made.issue("server", "localhost", "127.0.0.1")
    made.issue("prometheus", "prometheus.example", "10.1.2.3")
    return made


@contextmanager
def serving(authority: Authority, text: str) -> Iterator[str]:
    """The URL of a server with that web configuration, which looks at its files all the time."""
    live = LiveWebConfig(write(authority, text), check_seconds=0)
    with serving_pages(FixedPages("default", body=b"page\n"), web=live) as url:
        yield url


def write(authority: Authority, text: str) -> Path:
    path = authority.folder / "web.yml"
    path.write_text(text)
    return path


def trusting(authority: Authority, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client that trusts the authority, and has a certificate."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if client is not None:
        context.load_cert_chain(*client)
    return context


def named(authority: Authority, stem: str) -> tuple[Path, Path]:
    return authority.folder / f"{stem}.pem", authority.folder / f"{stem}.key"


def page_of(url: str, context: ssl.SSLContext, auth: tuple[str, str] | None = None) -> str:
    answer = httpx.get(f"{url}/metrics", verify=context, auth=auth)
    assert answer.status_code == 200
    return answer.text


def is_let_in(url: str, context: ssl.SSLContext) -> bool:
    """True when the client gets the page, False when the server hangs up."""
    try:
        return page_of(url, context) == "page\n"
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
        return False


def connected(url: str, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    address = urlsplit(url)
    return http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=60)


def status_of(connection: http.client.HTTPSConnection, **headers: str) -> int:
    connection.request("GET", "/metrics", headers=headers)
    with connection.getresponse() as answer:
        answer.read()
        return answer.status


def test_a_page_over_tls(authority: Authority) -> None:
    with serving(authority, TLS) as url:
        assert url.startswith("https://")
        assert page_of(url, trusting(authority)) == "page\n"
        assert page_of(url.replace("127.0.0.1", "localhost"), trusting(authority)) == "page\n"


@pytest.mark.parametrize("http2", ["true", "false"])
def test_requests_of_one_connection_over_tls(authority: Authority, http2: str) -> None:
    with (
        serving(authority, f"{TLS}http_server_config: {{http2: {http2}}}\n{USERS}") as url,
        httpx.Client(verify=trusting(authority), auth=("alice", "secret")) as client,
    ):
        for _ in range(3):
            answer = client.get(f"{url}/metrics")
            assert (answer.http_version, answer.text) == ("HTTP/1.1", "page\n")
        (group,) = client.get(f"{url}/sd").json()
        assert f"{group['labels']['__scheme__']}://{group['targets'][0]}" == url
        assert client.get(f"{url}/sd", auth=("alice", "wrong")).status_code == 401
        assert client.post(f"{url}/-/reload").status_code == 403
        assert client.get(f"{url}/metrics", auth=("alice", "wrong")).status_code == 401
        assert client.head(f"{url}/nowhere").status_code == 404
        assert client.delete(f"{url}/metrics").status_code == 405
        assert client.post(f"{url}/metrics", content=b"x").status_code == 413


def test_a_client_that_speaks_http2_only_gets_no_connection(authority: Authority) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(["h2"])
    with serving(authority, f"{TLS}http_server_config: {{http2: true}}\n") as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port)) as plain:
            try:
                secured = context.wrap_socket(plain, server_hostname="127.0.0.1")
            except (ssl.SSLError, ConnectionResetError):
                return
            with secured as client:
                client.settimeout(60)
                assert client.selected_alpn_protocol() is None
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                assert client.recv(100).startswith(b"HTTP/1.1 505")


def test_a_client_without_its_certificate_gets_the_alert(authority: Authority) -> None:
    """The alert is not overtaken by a reset, although the client has sent its request already."""
    with serving(authority, f"{MUTUAL}RequireAndVerifyClientCert\n") as url:
        address = urlsplit(url)
        with (
            socket.create_connection((address.hostname, address.port)) as plain,
            trusting(authority).wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.settimeout(60)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: e\r\n\r\n")
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                client.recv(100)


def test_plain_http_is_not_answered(authority: Authority) -> None:
    with serving(authority, TLS) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url.replace("https", "http"))


def test_old_versions_are_not_spoken(authority: Authority) -> None:
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(authority, f"{TLS}  min_version: TLS13\n") as url:
        assert not is_let_in(url, context)
        assert is_let_in(url, trusting(authority))


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_a_required_client_certificate(authority: Authority, tmp_path: Path, version: str) -> None:
    (tmp_path / "other").mkdir()
    other_client = Authority(tmp_path / "other").issue("prometheus", "prometheus.example")
    with serving(authority, f"{MUTUAL}RequireAndVerifyClientCert\n  max_version: {version}\n") as url:
        assert is_let_in(url, trusting(authority, named(authority, "prometheus")))
        assert not is_let_in(url, trusting(authority))
        assert not is_let_in(url, trusting(authority, other_client))


def test_a_client_certificate_if_given(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other_client = Authority(tmp_path / "other").issue("prometheus", "prometheus.example")
    with serving(authority, f"{MUTUAL}VerifyClientCertIfGiven\n") as url:
        assert is_let_in(url, trusting(authority))
        assert is_let_in(url, trusting(authority, named(authority, "prometheus")))
        assert not is_let_in(url, trusting(authority, other_client))


@pytest.mark.parametrize(
    ("name", "is_admitted"),
    [("prometheus.example", True), ("10.1.2.3", True), ("example", False), ("Prometheus.example", False)],
)
def test_only_certificates_of_allowed_names(authority: Authority, name: str, is_admitted: bool) -> None:
    text = f"{MUTUAL}RequireAndVerifyClientCert\n  client_allowed_sans: [{name}, nobody.example]\n"
    with serving(authority, text) as url:
        assert is_let_in(url, trusting(authority, named(authority, "prometheus"))) is is_admitted


@pytest.mark.parametrize(
    "text",
    [
        "{}\n",
        TLS,
        f"{TLS}{USERS}",
        f"{TLS}  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
        f"{MUTUAL}VerifyClientCertIfGiven\n",
        f"{MUTUAL}RequireAndVerifyClientCert\n",
        f"{MUTUAL}RequireAndVerifyClientCert\n  max_version: TLS12\n",
    ],
)
def test_the_health_check_finds_a_server_of_any_configuration(authority: Authority, text: str) -> None:
    with serving(authority, text) as url:
        file = authority.folder / "web.yml"
        address = urlsplit(url).netloc
        assert check_health(address, web_config_file=file)
        # While it goes on with the last good one, which the file does not hold any more.
        if "Require" not in text:
            file.write_text("broken\n")
            assert check_health(address, web_config_file=file)
            file.write_text(text)
    assert not check_health(address, web_config_file=file)


def test_the_health_check_takes_no_other_protocol_for_health(authority: Authority) -> None:
    file = write(authority, f"{MUTUAL}RequireAndVerifyClientCert\n")
    with serving_pages(FixedPages("default")) as url:
        assert check_health(urlsplit(url).netloc)
        assert not check_health(urlsplit(url).netloc, web_config_file=file)


# ---------------------------------------------------------------- while it runs


def test_a_renewed_certificate_counts_for_new_connections(authority: Authority) -> None:
    with serving(authority, TLS) as url:
        old = connected(url, trusting(authority))
        assert status_of(old) == 200
        before = old.sock.getpeercert()

        authority.issue("server", "127.0.0.1")
        new = connected(url, trusting(authority))

        assert status_of(new) == 200
        assert new.sock.getpeercert() != before
        # Open connections stay.
        assert status_of(old) == 200
        old.close()
        new.close()


def test_a_broken_renewal_leaves_the_certificate_that_is_good(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(authority, TLS) as url:
        certificate, _ = named(authority, "server")
        certificate.write_text("-----BEGIN CERTIFICATE-----\n")

        for _ in range(3):
            assert page_of(url, trusting(authority)) == "page\n"
        assert [record.levelname for record in caplog.records] == ["WARNING"]

        authority.issue("server", "127.0.0.1")
        assert page_of(url, trusting(authority)) == "page\n"


def test_a_session_begun_under_the_old_authority_is_not_resumed(authority: Authority, tmp_path: Path) -> None:
    """Else a client whose authority was removed would go on by its ticket."""
    client = trusting(authority, named(authority, "prometheus"))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(authority, f"{MUTUAL}RequireAndVerifyClientCert\n") as url:
        first = connected(url, client)
        assert status_of(first) == 200
        session = first.sock.session
        first.close()

        trusted = authority.file.rename(authority.folder / "trusted.pem")
        (tmp_path / "other").mkdir()
        Authority(tmp_path / "other").file.rename(authority.file)

        address = urlsplit(url)
        with (
            socket.create_connection((address.hostname, address.port)) as plain,
            pytest.raises((ssl.SSLError, ConnectionResetError)),
        ):
            client.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
        trusted.rename(authority.file)
        again = connected(url, client)
        assert status_of(again) == 200
        again.close()


def test_users_count_at_once_in_connections_that_stand(authority: Authority) -> None:
    right = {"Authorization": httpx.BasicAuth("alice", "secret")._auth_header}
    other = {"Authorization": httpx.BasicAuth("alice", "other")._auth_header}
    with serving(authority, TLS + USERS) as url:
        connection = connected(url, trusting(authority))
        assert [status_of(connection, **headers) for headers in (right, other, {})] == [200, 401, 401]

        write(authority, TLS + USERS.replace(HASHES["secret"], HASHES["other"]))
        assert [status_of(connection, **headers) for headers in (right, other, {})] == [401, 200, 401]

        write(authority, TLS + "basic_auth_users: {alice: plain}\n")
        assert [status_of(connection, **headers) for headers in (right, other, {})] == [401, 200, 401]

        write(authority, TLS)
        assert [status_of(connection, **headers) for headers in (right, other, {})] == [200, 200, 200]
        connection.close()


def test_tls_can_be_switched_on_while_it_runs(authority: Authority) -> None:
    with serving(authority, "{}\n") as url:
        assert httpx.get(f"{url}/metrics").text == "page\n"
        write(authority, TLS)
        assert page_of(url.replace("http:", "https:"), trusting(authority)) == "page\n"
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{url}/metrics")
