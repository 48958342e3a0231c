"""Texts that must not be shown."""

from exporter.secret import SecretStr


def test_a_secret_shows_itself_only_when_asked_for() -> None:
    secret = SecretStr("c4n4ry")

    assert secret.get_secret_value() == "c4n4ry"
    assert "c4n4ry" not in f"{secret} {secret!r} {[secret]}"


def test_an_empty_one_shows_that_it_is() -> None:
    assert str(SecretStr("")) == ""
    assert bool(str(SecretStr(" ")))


def test_secrets_are_compared_by_what_they_hide() -> None:
    assert SecretStr("a") == SecretStr("a")
    assert SecretStr("a") != SecretStr("b")
    assert SecretStr("a") != "a"
    assert len({SecretStr("a"), SecretStr("a")}) == 1
