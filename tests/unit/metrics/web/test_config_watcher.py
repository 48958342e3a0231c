"""The web configuration while its files change."""

import logging
import os
from pathlib import Path

import bcrypt
import pytest

from exporter.errors import SettingsError
from exporter.metrics.web.config_watcher import LiveWebConfig
from tests.support.certificates import Authority

HASHES = [bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode() for _ in range(2)]
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"


def users(number: int) -> str:
    return f"basic_auth_users: {{alice: {HASHES[number]}}}\n"


@pytest.fixture
def file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.INFO)
    path = tmp_path / "web.yml"
    path.write_text(users(0))
    return path


def test_an_unchanged_file_is_not_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveWebConfig(file, check_seconds=0)

    assert live.current() is live.current()
    assert caplog.text == ""


def test_a_changed_file_counts_at_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveWebConfig(file, check_seconds=0)
    file.write_text(users(1))

    assert live.current().users == {b"alice": HASHES[1].encode()}
    assert live.is_current
    assert [record.getMessage() for record in caplog.records] == ["web configuration reloaded"]


def test_a_file_replaced_by_one_of_the_same_size_and_time_counts(file: Path) -> None:
    live = LiveWebConfig(file, check_seconds=0)
    state = file.stat()
    new = file.with_name("new")
    new.write_text(users(1))
    os.utime(new, ns=(state.st_atime_ns, state.st_mtime_ns))
    new.replace(file)

    assert live.current().users == {b"alice": HASHES[1].encode()}


def test_a_link_that_leads_elsewhere_counts(file: Path) -> None:
    """As Kubernetes swaps the files of a mounted secret."""
    folders = [file.parent / name for name in ("first", "second")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "web.yml").write_text(users(number))
    link = file.parent / "data"
    link.symlink_to(folders[0])
    live = LiveWebConfig(link / "web.yml", check_seconds=0)

    new = file.parent / "new"
    new.symlink_to(folders[1])
    new.replace(link)

    assert live.current().users == {b"alice": HASHES[1].encode()}


def test_files_are_looked_at_no_more_often_than_told(file: Path) -> None:
    live = LiveWebConfig(file, check_seconds=3600)
    file.write_text(users(1))

    assert live.current().users == {b"alice": HASHES[0].encode()}


@pytest.mark.parametrize(
    "content", [None, "", "basic_auth_users: {}\n", "basic_auth_users: {alice: c4n4ry}\n"]
)
def test_a_broken_file_leaves_the_last_good_one_and_is_told_once(
    file: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    live = LiveWebConfig(file, check_seconds=0)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)

    for _ in range(5):
        assert live.current().users == {b"alice": HASHES[0].encode()}

    assert not live.is_current
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(file) in vars(record)["faults"]
    assert "c4n4ry" not in vars(record)["faults"]

    file.write_text(users(1))
    assert live.current().users == {b"alice": HASHES[1].encode()}
    assert live.is_current


def test_the_old_file_put_back_is_no_fault_any_more(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = file.parent / "folder"
    folder.mkdir()
    live = LiveWebConfig(file.rename(folder / "web.yml"), check_seconds=0)
    kept = folder.rename(folder.with_name("kept"))
    first = live.current()
    assert not live.is_current

    kept.rename(folder)

    assert live.current() is first
    assert live.is_current
    assert caplog.records[-1].getMessage() == "web configuration valid again"


def test_a_certificate_counts_once_its_key_is_there_too(file: Path) -> None:
    authority = Authority(file.parent)
    certificate, key = authority.issue("server", "localhost")
    file.write_text(TLS)
    live = LiveWebConfig(file, check_seconds=0)
    first = live.current().tls
    new_certificate, new_key = authority.issue("new", "localhost")

    new_certificate.replace(certificate)
    assert live.current().tls is first
    assert not live.is_current
    new_key.replace(key)

    assert live.current().tls is not first
    assert live.is_current


def test_a_new_client_authority_counts(file: Path) -> None:
    authority = Authority(file.parent)
    authority.issue("server", "localhost")
    file.write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem,"
        " client_auth_type: RequireAndVerifyClientCert}\n"
    )
    live = LiveWebConfig(file, check_seconds=0)
    first = live.current().tls
    Authority(file.parent)

    assert live.current().tls is not first


def test_http2_is_without_effect_and_that_is_logged_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LiveWebConfig(file)
    file.write_text(f"{users(0)}http_server_config: {{http2: false}}\n")
    live = LiveWebConfig(file, check_seconds=0)
    assert caplog.text == ""

    for number in (1, 0, 1):
        file.write_text(f"{users(number)}http_server_config: {{http2: true}}\n")
        assert live.current().users == {b"alice": HASHES[number].encode()}

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["http2 has no effect, HTTP/1.1 is used"]


def test_without_a_file_everybody_is_let_in() -> None:
    live = LiveWebConfig(check_seconds=0)

    assert (live.current().tls, live.current().users) == (None, {})


def test_a_file_that_is_wrong_from_the_start_is_an_error(file: Path) -> None:
    file.write_text("users: {}\n")

    with pytest.raises(SettingsError, match=r"the web configuration has 1 fault\n"):
        LiveWebConfig(file)
