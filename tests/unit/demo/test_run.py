"""The demo's options, and what it refuses before it begins."""

import argparse
import socket
from pathlib import Path

import pytest

from exporter.demo import monitoring
from exporter.demo.options import DemoOptions, configure_parser
from exporter.demo.processes import LOOPBACK
from exporter.demo.run import run_demo, scans_by_index
from exporter.errors import SettingsError
from tests.support.ports import free_port


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    configure_parser(parser)
    return parser


def test_without_options_it_runs_at_the_default_size_until_ctrl_c(parser: argparse.ArgumentParser) -> None:
    parsed = parser.parse_args([])

    assert (parsed.messages, parsed.duration, parsed.port) == (500_000, None, 10187)
    assert (parsed.keep, parsed.no_prometheus) == (None, False)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("60", 60.0), ("1.5m", 90.0), ("2h", 7200.0), ("0s", 0.0)]
)
def test_durations(parser: argparse.ArgumentParser, text: str, seconds: float) -> None:
    assert parser.parse_args(["--duration", text]).duration == seconds


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--duration", "soon", "'soon' is not a time such as 60s, 5m or 1h"),
        # Since Python 3.14 it is taken for a value, not for another option.
        ("--duration", "-5s", "argument --duration: "),
        ("--messages", "10", "'10' is not a number of at least 1000"),
        ("--messages", "many", "'many' is not a number of at least 1000"),
        ("--port", "70000", "'70000' is not a port: 1 to 65535"),
        ("--port", "http", "'http' is not a port: 1 to 65535"),
    ],
)
def test_what_makes_no_sense_is_refused(
    parser: argparse.ArgumentParser,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    said: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([option, value])

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_refused_before_the_load() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} .* is in use") as refused:
            run_demo(DemoOptions(port=port))

    assert f"--port {port + 1}" in str(refused.value.hint)


def test_a_directory_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()

    with pytest.raises(SettingsError, match="is not an empty directory"):
        run_demo(DemoOptions(port=free_port(), keep=tmp_path))

    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_scans_are_read_from_the_page_whatever_the_names_hold() -> None:
    page = (
        "# TYPE pg_stat_user_indexes_idx_scan_total counter\n"
        'pg_stat_user_indexes_idx_scan_total{indexname="a",relname="t"} 12\n'
        'pg_stat_user_indexes_idx_scan_total{indexname="b \\"quoted\\"\\n",relname="t"} 0\n'
        "# TYPE pg_index_size_bytes gauge\n"
        'pg_index_size_bytes{indexname="a",relname="t"} 8192\n'
    )

    assert scans_by_index(page) == {"a": 12, 'b "quoted"\n': 0}


def test_prometheus_is_given_the_bundled_rules_and_the_job_they_know() -> None:
    config = monitoring.prometheus_config("127.0.0.1:10187", "http://127.0.0.1:9093")

    rule_files = config["rule_files"]
    assert isinstance(rule_files, list)
    assert [path for pattern in rule_files for path in Path(pattern).parent.glob(Path(pattern).name)]
    assert config["scrape_configs"] == [
        {"job_name": "pg-index-exporter", "static_configs": [{"targets": ["127.0.0.1:10187"]}]}
    ]
    assert config["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]}
    assert "alerting" not in monitoring.prometheus_config("127.0.0.1:10187", None)
