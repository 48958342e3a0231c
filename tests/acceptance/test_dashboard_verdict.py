"""The dashboard's "Unused in the last hour" says what UnusedDatabaseIndex would say, scenario by scenario.

The panel counts what it sees: it asks neither since when the counters are evidence nor whether all servers
of the cluster are seen, and leaves partitioned tables to the alert.
"""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support import dashboard
from tests.support.tools import find_tool

LABELS = 'datname="nova", schemaname="public", relname="messages"'
HOUR_AND_A_HALF = "90m"


def series(
    server: str, *, scans: str, reads: str, valid: str = "1x120", age: str = "", role: str = "read"
) -> dict[str, str]:
    """What one server publishes about one declared index and its table, a sample each minute."""
    target = f'job="j", instance="{server}"'
    index = f'{target}, {LABELS}, indexname="idx_messages_sender_created"'
    return {
        f'pg_system_info{{{target}, system_identifier="7301", version="18.1"}}': "1x120",
        f'pg_index_declared{{{index}, role="{role}"}}': "1x120",
        f"pg_index_valid{{{index}}}": f"{age} {valid}",
        f"pg_stat_user_indexes_idx_scan_total{{{index}}}": f"{age} {scans}",
        f"pg_stat_user_tables_seq_scan_total{{{target}, {LABELS}}}": reads,
        f"pg_stat_user_tables_idx_scan_total{{{target}, {LABELS}}}": reads,
    }


READ_OFTEN = "0+5x120"
IDLE = "500x120"


@pytest.mark.parametrize(
    ("input_series", "expected"),
    [
        pytest.param(series("a", scans=IDLE, reads=READ_OFTEN), 1, id="nobody uses it"),
        pytest.param(series("a", scans="0+1x120", reads=READ_OFTEN), 0, id="it is used"),
        pytest.param(series("a", scans="0x60 1x60", reads=READ_OFTEN), 0, id="it was used once"),
        pytest.param(series("a", scans=IDLE, reads="7x120"), 0, id="nobody reads the table"),
        pytest.param(series("a", scans=IDLE, reads=READ_OFTEN, age="_x60"), None, id="it is young"),
        pytest.param(
            series("a", scans=IDLE, reads=READ_OFTEN, role="fk"), None, id="it is not meant for reading"
        ),
        pytest.param(
            series("a", scans=IDLE, reads=READ_OFTEN, valid="0x40 1x80"), None, id="it was being built"
        ),
        pytest.param(
            series("a", scans=IDLE, reads=READ_OFTEN) | series("b", scans="0+1x120", reads="0x120"),
            0,
            id="a standby uses it",
        ),
        pytest.param(
            series("a", scans=IDLE, reads=READ_OFTEN) | series("b", scans=IDLE, reads="0x120"),
            1,
            id="neither server uses it",
        ),
    ],
)
def test_counts_what_the_alert_would_call_unused(
    input_series: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    (query,) = [
        query
        for query in dashboard.panel_queries(dashboard.load())
        if query.place == "Unused in the last hour [A]"
    ]
    samples = [] if expected is None else [{"labels": "{}", "value": expected}]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in input_series.items()],
        "promql_expr_test": [
            {
                "expr": dashboard.with_everything_chosen(query.expr, "j", "4m"),
                "eval_time": HOUR_AND_A_HALF,
                "exp_samples": samples,
            }
        ],
    }
    path = tmp_path / "verdict.test.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}), encoding="utf-8")

    result = subprocess.run(
        [find_tool("promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr
