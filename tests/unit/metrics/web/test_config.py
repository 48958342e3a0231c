"""The web configuration file: what it may say, what is refused for which reason, what is never repeated."""

import ssl
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives import serialization

from exporter.errors import Fault, SettingsError
from exporter.metrics.web.config import HTTP_KEYS, TLS_KEYS, WebConfig, load_web_config
from exporter.metrics.web.tls import CIPHERS, CURVES, TlsServer, subject_alternative_names
from tests.support.certificates import Authority

DOCS = Path(__file__).parents[4] / "docs" / "web-config.md"
CANARY = "c4n4ry"
# The same in every process of a run, because names of tests hold it.
HASH = bcrypt.hashpw(b"secret", b"$2b$04$abcdefghijklmnopqrstuu").decode()
SERVER = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, a server's and a client's certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    authority.issue("server", "localhost", "127.0.0.1")
    authority.issue("client", "prometheus.example")
    return folder


def load(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    return load_web_config(path)


def faults_of(folder: Path, text: str) -> tuple[Fault, ...]:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    assert caught.value.exit_code == 2
    assert all(fault.what and fault.hint for fault in caught.value.faults)
    assert CANARY not in str(caught.value)
    return caught.value.faults


def only_fault_of(folder: Path, text: str) -> Fault:
    (fault,) = faults_of(folder, text)
    return fault


def secured(folder: Path, text: str) -> TlsServer:
    tls = load(folder, text).tls
    assert tls is not None
    return tls


# ---------------------------------------------------------------- what it may say


def test_an_empty_mapping_is_plain_http_for_everyone(tmp_path: Path) -> None:
    config = load(tmp_path, "{}\n")

    assert (config.tls, config.users, config.headers, config.scheme) == (None, {}, {}, "http")


def test_users_and_headers_need_no_tls(tmp_path: Path) -> None:
    text = f"""\
basic_auth_users:
  alice: {HASH}
  bøb: {HASH.replace("$2b$", "$2y$")}
http_server_config:
  headers:
    Strict-Transport-Security: max-age=31536000
    X-Frame-Options: ""
    Content-Security-Policy:
"""

    config = load(tmp_path, text)

    assert config.users == {
        b"alice": HASH.encode(),
        "bøb".encode(): HASH.replace("$2b$", "$2y$").encode(),
    }
    assert config.headers == {
        "Strict-Transport-Security": "max-age=31536000",
        "X-Frame-Options": "",
        "Content-Security-Policy": "",
    }
    assert HASH not in repr(config)


def test_a_certificate_and_its_key_make_tls(certificates: Path) -> None:
    config = load(certificates, SERVER)

    assert config.scheme == "https"
    assert config.tls is not None
    context = config.tls.context
    assert context.verify_mode is ssl.CERT_NONE
    assert not config.tls.demands_certificate
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.TLSv1_3
    assert ssl.OP_CIPHER_SERVER_PREFERENCE in context.options
    assert {path.name for path in config.files} == {"web.yml", "server.pem", "server.key"}
    assert all(config.files.values())


def test_paths_start_at_the_folder_of_the_file(
    certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load(certificates, SERVER).tls is not None
    absolute = SERVER.replace("server.", f"{certificates}/server.")
    assert load(tmp_path, absolute).tls is not None


@pytest.mark.parametrize(
    ("auth_type", "mode"),
    [
        ("NoClientCert", ssl.CERT_NONE),
        ("VerifyClientCertIfGiven", ssl.CERT_OPTIONAL),
        ("RequireAndVerifyClientCert", ssl.CERT_REQUIRED),
    ],
)
def test_kinds_of_client_authentication(certificates: Path, auth_type: str, mode: ssl.VerifyMode) -> None:
    text = f"{SERVER}  client_auth_type: {auth_type}\n"
    if mode is not ssl.CERT_NONE:
        text += "  client_ca_file: ca.pem\n  client_allowed_sans: [prometheus.example]\n"

    tls = secured(certificates, text)

    assert tls.context.verify_mode is mode
    assert tls.demands_certificate is (mode is ssl.CERT_REQUIRED)
    assert tls.context.cert_store_stats()["x509_ca"] == (0 if mode is ssl.CERT_NONE else 1)


def test_client_authorities_may_stand_in_the_file(certificates: Path) -> None:
    pem = "".join(f"    {line}\n" for line in (certificates / "ca.pem").read_text().splitlines())

    tls = secured(certificates, f"{SERVER}  client_auth_type: VerifyClientCertIfGiven\n  client_ca: |\n{pem}")

    assert tls.context.cert_store_stats()["x509_ca"] == 1


def test_versions_ciphers_and_a_curve(certificates: Path) -> None:
    text = f"""{SERVER}\
  min_version: TLS12
  max_version: TLS12
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP384]
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]
"""

    context = secured(certificates, text).context

    assert context.maximum_version is ssl.TLSVersion.TLSv1_2
    assert ssl.OP_CIPHER_SERVER_PREFERENCE not in context.options
    assert [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"] == [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ]


@pytest.mark.parametrize("suite", CIPHERS)
def test_every_cipher_suite_of_go_is_known_to_openssl(certificates: Path, suite: str) -> None:
    text = f"{SERVER}  cipher_suites: [{suite}]\n"

    assert CIPHERS[suite] in {cipher["name"] for cipher in secured(certificates, text).context.get_ciphers()}


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_is_set_or_refused_with_the_reason(certificates: Path, curve: str) -> None:
    text = f"{SERVER}  curve_preferences: [{curve}]\n"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve(CURVES[curve])
    except (ssl.SSLError, ValueError):
        # As Python 3.11.2 does with X25519.
        assert curve == "X25519"
        assert faults_of(certificates, text)
    else:
        assert load(certificates, text).scheme == "https"


def test_a_curve_that_cannot_be_set_is_a_fault_at_its_line(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_context: ssl.SSLContext, name: str) -> None:
        raise ValueError(f"unknown elliptic curve name {name!r}")

    monkeypatch.setattr(ssl.SSLContext, "set_ecdh_curve", refuse)

    (fault,) = faults_of(certificates, f"{SERVER}  curve_preferences: [X25519]\n")

    assert "X25519 cannot be set with this Python" in fault.what


@pytest.mark.parametrize(
    "more", ["", "http_server_config: {http2: true}\n", "http_server_config: {http2: false}\n"]
)
def test_http2_is_never_offered(certificates: Path, more: str) -> None:
    assert chosen_protocol(secured(certificates, SERVER + more).context) == "http/1.1"


def chosen_protocol(server_context: ssl.SSLContext) -> str | None:
    """What the server of this context agrees on with a client that speaks both."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up)
    server = server_context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.selected_alpn_protocol()


# ---------------------------------------------------------------- what is refused


def test_all_faults_are_reported_at_once_with_their_lines(certificates: Path) -> None:
    text = f"""\
tls_server_config:
  key_file: server.key
  client_auth_type: RequireAnyClientCert
  min_version: TLS10
  cipher_suites: [TLS_AES_128_GCM_SHA256, {CANARY}]
  curve_preferences: [CurveP256, X25519]
  client_cafile: ca.pem
http_server_config:
  http2: maybe
  headers:
    X-Powered-By: {CANARY}
    X-Frame-Options: {CANARY}
basic_auth_users:
  alice: {CANARY}
rate_limit:
  burst: 5
"""

    found = faults_of(certificates, text)

    path = certificates / "web.yml"
    assert [(fault.place.removeprefix(f"{path}:"), fault.what) for fault in found] == [
        ("1", "tls_server_config lacks 'cert_file'"),
        (
            "3",
            "'client_auth_type': RequireAnyClientCert asks for certificates without verifying them, which "
            "Python's ssl cannot do",
        ),
        ("4", "'min_version': TLS10 is deprecated and no longer supported by OpenSSL"),
        ("5", "'cipher_suites': the suites of TLS 1.3 cannot be chosen, all are offered"),
        ("5", "'cipher_suites': not a valid value"),
        ("6", "several curves, of which Python's ssl can set only one"),
        ("7", "unknown key 'client_cafile'"),
        ("9", "'http2' is not true or false"),
        ("11", "unknown key 'X-Powered-By'"),
        ("12", "not a valid value of X-Frame-Options"),
        ("14", "the value of a user is not a bcrypt hash"),
        ("15", "rate_limit is not supported, since scrapes that come together share one collection"),
    ]


@pytest.mark.parametrize("auth_type", ["RequestClientCert", "RequireAnyClientCert", "RequireClientCert"])
def test_certificates_are_not_asked_for_without_verifying_them(certificates: Path, auth_type: str) -> None:
    text = f"{SERVER}  client_auth_type: {auth_type}\n  client_ca_file: ca.pem\n"

    assert "Python's ssl cannot do" in only_fault_of(certificates, text).what


@pytest.mark.parametrize("version", ["TLS10", "TLS11", "TLS14", "1.2"])
@pytest.mark.parametrize("key", ["min_version", "max_version"])
def test_old_and_unknown_versions_are_refused(certificates: Path, key: str, version: str) -> None:
    assert only_fault_of(certificates, f"{SERVER}  {key}: '{version}'\n").place.endswith(":4")


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (
            "  client_auth_type: RequireAndVerifyClientCert\n",
            "there is no authority to verify client certificates",
        ),
        ("  client_ca_file: ca.pem\n", "client_ca_file has no effect"),
        ("  client_auth_type: NoClientCert\n  client_ca_file: ca.pem\n", "client_ca_file has no effect"),
        ("  client_allowed_sans: [a]\n", "client_allowed_sans has no effect"),
        ("  min_version: TLS13\n  max_version: TLS12\n", "min_version is above max_version"),
        (f"  key: {CANARY}\n", "Python's ssl loads keys from files only"),
        (f"  cert: {CANARY}\n", "Python's ssl loads certificates from files only"),
        ("  cert_file: server.pem\n", "'cert_file' is given twice"),
        ("  client_allowed_sans: []\n", "'client_allowed_sans' is an empty list"),
        (
            "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_ca: x\n",
            "client_ca_file and client_ca are both set",
        ),
        (
            f"  client_auth_type: VerifyClientCertIfGiven\n  client_ca: {CANARY}\n",
            "client_ca contains no certificate",
        ),
    ],
)
def test_what_contradicts_itself_or_has_no_effect_is_refused(
    certificates: Path, more: str, what: str
) -> None:
    assert any(fault.what.startswith(what) for fault in faults_of(certificates, SERVER + more))


@pytest.mark.parametrize(
    ("key", "content", "what"),
    [
        ("cert_file", None, "cannot be read: No such file or directory"),
        ("cert_file", f"{CANARY}\n", "contains no certificate"),
        ("cert_file", "", "contains no certificate"),
        ("key_file", None, "cannot be read: No such file or directory"),
        ("key_file", f"{CANARY}\n", "contains no private key"),
        ("key_file", "another key", "does not belong to the certificate"),
        ("key_file", "a key with a password", "is protected by a password"),
        ("client_ca_file", None, "cannot be read: No such file or directory"),
        ("client_ca_file", f"{CANARY}\n", "contains no certificate"),
        ("client_ca_file", "", "contains no certificate"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    certificates: Path, tmp_path: Path, key: str, content: str | None, what: str
) -> None:
    files = {
        "cert_file": "server.pem",
        "key_file": "server.key",
        "client_ca_file": "ca.pem",
    }
    given = {name: certificates / file for name, file in files.items()}
    given[key] = tmp_path / "tried"
    if content == "another key":
        given[key] = certificates / "client.key"
    elif content == "a key with a password":
        protect(certificates / "server.key", given[key])
    elif content is not None:
        given[key].write_text(content)
    text = "tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n"
    text += "".join(f"  {name}: {path}\n" for name, path in given.items())

    fault = only_fault_of(tmp_path, text)

    assert what in fault.what
    assert str(given[key]) in fault.what
    assert fault.place.endswith(f":{3 + list(files).index(key)}")


def protect(key: Path, protected: Path) -> None:
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    protected.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(CANARY.encode()),
        )
    )


@pytest.mark.parametrize(
    "users",
    [
        "",
        " {}",
        " []",
        f" {CANARY}",
        f"\n  alice: {CANARY}",
        "\n  alice:",
        "\n  alice: 12345",
        f"\n  alice: [{HASH}]",
        f"\n  alice: {HASH[:-1]}",
        f"\n  alice: {HASH}x",
        f"\n  alice: {HASH.replace('$2b$', '$1$')}",
        f"\n  alice: {HASH.replace('$04$', '$03$')}",
        f"\n  alice: {HASH.replace('$04$', '$17$')}",
        f"\n  alice: {HASH[:28]}z{HASH[29:]}",  # which the library refuses, when it is too late
        f"\n  '{CANARY}:b': {HASH}",
        f"\n  '': {HASH}",
        f'\n  "{CANARY}\\n": {HASH}',
        f"\n  alice: {HASH}\n  alice: {HASH}",
    ],
)
def test_users_without_a_name_or_a_bcrypt_hash_are_refused(tmp_path: Path, users: str) -> None:
    fault = only_fault_of(tmp_path, f"basic_auth_users:{users}\n")

    assert HASH not in f"{fault}"


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ('Content-Security-Policy: "a\\r\\nSet-Cookie: x"', "has characters that no header may have"),
        ("X-XSS-Protection: 0", "is a text, not a number"),
        ("X-Content-Type-Options: sniff", "not a valid value of"),
        ("X-Frame-Options: DENY", "not a valid value of"),
        ("x-frame-options: deny", "unknown key"),
        ("Set-Cookie: a", "unknown key"),
    ],
)
def test_other_headers_and_values_are_refused(tmp_path: Path, header: str, what: str) -> None:
    text = f"http_server_config:\n  headers:\n    {header}\n"

    assert what in only_fault_of(tmp_path, text).what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        CANARY,
        f"basic_auth_user: {CANARY}\n",
        "tls_server_config:\n",
        "http_server_config: true\n",
        "http_server_config: {headers: []}\n",
        f"a: &{CANARY}\n",
        "\t{",
        f"basic_auth_users: {{a: !!binary {CANARY}}}\n",
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    assert faults_of(tmp_path, text)


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        load_web_config(tmp_path / "nowhere.yml")


# ---------------------------------------------------------------- documentation


def test_the_documented_example_is_good(certificates: Path) -> None:
    example = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]

    config = load(certificates, example)

    assert config.tls is not None
    assert config.tls.demands_certificate
    assert set(config.users) == {b"prometheus"}


@pytest.mark.parametrize("key", [*TLS_KEYS, *HTTP_KEYS])
def test_every_key_is_documented(key: str) -> None:
    assert f"| `{key}` | " in DOCS.read_text(encoding="utf-8")


# ---------------------------------------------------------------- names in certificates


def test_names_are_compared_as_go_writes_them() -> None:
    certificate = {
        "subject": ((("commonName", "not.a.san"),),),
        "subjectAltName": (
            ("DNS", "prometheus.example"),
            ("IP Address", "10.1.2.3"),
            ("IP Address", "FE80:0:0:0:0:0:0:1\n"),
            ("email", "ops@example.org"),
            ("URI", "spiffe://example.org/prometheus"),
            ("DirName", ((("commonName", "other"),),)),
        ),
    }

    assert subject_alternative_names(certificate) == {
        "prometheus.example",
        "10.1.2.3",
        "fe80::1",
        "ops@example.org",
        "spiffe://example.org/prometheus",
    }


def test_only_allowed_names_are_admitted(certificates: Path) -> None:
    tls = TlsServer(secured(certificates, SERVER).context, frozenset(("a.example", "10.1.2.3")))

    assert tls.admits({"subjectAltName": (("DNS", "b.example"), ("IP Address", "10.1.2.3"))})
    assert not tls.admits({"subjectAltName": (("DNS", "b.example"),)})
    assert not tls.admits({"subject": ((("commonName", "a.example"),),)})
    # VerifyClientCertIfGiven: a certificate is optional.
    assert tls.admits(None)
    assert TlsServer(tls.context).admits({"subjectAltName": (("DNS", "b.example"),)})
