"""Listening: which addresses, and what is said when that cannot be."""

import socket

import pytest

from exporter.errors import SettingsError
from exporter.metrics.web.healthcheck import check_health
from exporter.metrics.web.server import base_url, listen


def test_a_port_in_use_is_a_settings_error_with_its_hint() -> None:
    with listen("127.0.0.1:0") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError) as raised:
            listen(f"127.0.0.1:{port}")

    assert raised.value.what == f"cannot listen on 127.0.0.1:{port}: another program listens there"
    assert "--web.listen-address" in (raised.value.hint or "")


@pytest.mark.parametrize("address", ["192.0.2.1:10187", "[2001:db8::1]:10187"])
def test_an_address_of_another_machine_is_a_settings_error(address: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen on") as raised:
        listen(address)

    assert raised.value.hint is not None


def test_without_a_host_every_address_is_listened_on() -> None:
    with listen(":0") as listener:
        port = listener.getsockname()[1]

        socket.create_connection(("127.0.0.1", port)).close()

        assert base_url(listener) == f"http://127.0.0.1:{port}"


def test_health_of_nobody_is_false() -> None:
    with listen("127.0.0.1:0") as listener:
        port = listener.getsockname()[1]

    assert check_health(f":{port}") is False


def test_health_of_another_protocol_is_false() -> None:
    with listen("127.0.0.1:0") as listener:
        # Accepted by the kernel and never answered.
        assert check_health(f"127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.2) is False
