"""Pages against the reference parsers, and the published contract."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics import catalogue
from exporter.metrics.page import PageFormat
from exporter.metrics.render import LabelBlocks, render
from exporter.metrics.snapshot import CollectorOutcome, DatabaseSnapshot, TargetSnapshot
from exporter.model import Role
from tests.support import snapshots
from tests.support.tools import find_tool

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "metrics.prom"
Labels = frozenset[tuple[str, str]]


def samples(page: str, page_format: PageFormat = PageFormat.TEXT) -> dict[tuple[str, Labels], float]:
    """Every sample of a page as the reference parser reads it; none may come twice."""
    found: dict[tuple[str, Labels], float] = {}
    for family in families(page, page_format):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def families(page: str, page_format: PageFormat) -> list[Metric]:
    parse = parse_text if page_format is PageFormat.TEXT else parse_openmetrics
    return list(parse(page))


def values(target: TargetSnapshot, name: str) -> list[float]:
    """The values of one family in the order of the labels' text."""
    found = samples(snapshots.page(target))
    return [value for (sample, _), value in sorted(found.items(), key=repr) if sample == name]


def with_database(**changes: Any) -> TargetSnapshot:
    database = dataclasses.replace(snapshots.DATABASE, **changes)
    return dataclasses.replace(snapshots.TARGET, databases=(database,))


def test_the_published_contract_is_as_accepted() -> None:
    assert snapshots.page(snapshots.TARGET) == GOLDEN.read_text(encoding="utf-8"), (
        "names, types and HELP are a contract; python -m tests.support.snapshots > tests/golden/metrics.prom"
    )


def test_every_family_of_the_table_is_published_with_its_labels() -> None:
    published: dict[str, set[frozenset[str]]] = {}
    for name, labels in samples(snapshots.page(snapshots.TARGET)):
        published.setdefault(name, set()).add(frozenset(key for key, _ in labels))

    assert published == {metric.name: {frozenset(metric.labels)} for metric in catalogue.METRICS}


def test_both_formats_hold_the_same_samples() -> None:
    text = samples(snapshots.page(snapshots.TARGET))
    openmetrics = samples(snapshots.page(snapshots.TARGET, PageFormat.OPENMETRICS), PageFormat.OPENMETRICS)

    assert openmetrics == text


def test_openmetrics_tells_kinds_and_units() -> None:
    page = snapshots.page(snapshots.TARGET, PageFormat.OPENMETRICS)
    found = {family.name: (family.type, family.unit) for family in families(page, PageFormat.OPENMETRICS)}

    assert found["pg_stat_user_indexes_idx_scan"] == ("counter", "")
    assert found["pg_index"] == ("info", "")
    assert found["pg_index_size_bytes"] == ("gauge", "bytes")
    assert found["pg_stat_statements_exec_seconds"] == ("counter", "seconds")


def test_promtool_has_no_complaint() -> None:
    page = snapshots.page(snapshots.TARGET)

    checked = subprocess.run(
        [find_tool("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@pytest.mark.parametrize("page_format", PageFormat)
@given(datname=names, schemaname=names, relname=names, indexname=names)
def test_any_name_is_read_back_as_it_is(
    page_format: PageFormat, datname: str, schemaname: str, relname: str, indexname: str
) -> None:
    row = dataclasses.replace(snapshots.INDEX, schemaname=schemaname, relname=relname, indexname=indexname)
    target = with_database(datname=datname, indexes=(row,), builds=(), declared=(), query_texts={})

    found = samples(snapshots.page(target, page_format), page_format)

    labels = frozenset(
        {"datname": datname, "schemaname": schemaname, "relname": relname, "indexname": indexname}.items()
    )
    assert found["pg_stat_user_indexes_idx_scan_total", labels] == 12


@given(
    value=st.one_of(
        st.integers(min_value=0, max_value=2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_a_number_keeps_every_digit(value: float) -> None:
    target = with_database(indexes=(dataclasses.replace(snapshots.INDEX, last_idx_scan=value),))

    line = next(
        line
        for line in snapshots.page(target).splitlines()
        if line.startswith("pg_stat_user_indexes_last_idx_scan_timestamp_seconds{")
    )

    written = line.rpartition(" ")[2]
    assert type(value)(written) == value


def test_what_is_not_known_is_absent() -> None:
    columns = ("idx_scan", "idx_tup_read", "idx_tup_fetch", "last_idx_scan", "idx_blks_read", "idx_blks_hit")
    changes: dict[str, Any] = dict.fromkeys(columns)
    unknown = dataclasses.replace(snapshots.INDEX, **changes)

    page = snapshots.page(
        with_database(
            indexes=(unknown,),
            sizes={},
            observed_since={},
            locked=None,
            statements_info=None,
            walsenders=None,
        )
    )

    assert "pg_stat_user_indexes" not in page
    assert "pg_statio" not in page
    assert "size_bytes" not in page
    assert "dealloc" not in page
    assert "walsenders" not in page
    assert "observed_since" not in page
    assert "pg_index_locked" not in page
    assert "pg_index_valid" in page


def test_a_declared_index_has_its_series_when_the_database_is_down() -> None:
    down = TargetSnapshot("default", (snapshots.down(snapshots.DATABASE),), 0.1)

    assert values(down, "pg_index_declared") == [1, 1]
    assert values(down, "pg_index_present") == []
    assert values(down, "pg_index_exporter_target_up") == [0]
    assert values(down, "pg_index_exporter_database_up") == [0]
    assert set(values(down, "pg_index_exporter_collector_success")) == {0}
    assert values(down, "pg_index_exporter_collector_duration_seconds") == []


def test_a_target_is_down_while_nobody_says_which_databases_it_has() -> None:
    refused = CollectorOutcome("databases", False, None, None, "refused")
    unknown = dataclasses.replace(snapshots.TARGET, databases=(), discovery=refused, databases_cut=None)

    assert values(unknown, "pg_index_exporter_target_up") == [0]
    assert values(unknown, "pg_index_exporter_collector_success") == [0]
    assert values(unknown, "pg_index_exporter_databases_cut") == []
    assert values(dataclasses.replace(snapshots.TARGET, databases=()), "pg_index_exporter_target_up") == [1]


def test_a_declared_index_is_absent_or_present_while_the_database_answers() -> None:
    found = samples(snapshots.page(snapshots.TARGET))
    present = {
        dict(labels)["indexname"]: value
        for (name, labels), value in found.items()
        if name == "pg_index_present"
    }

    assert present == {"idx_messages_sender_created": 1, "idx_messages_absent": 0}


def test_a_declared_index_says_what_it_is_for() -> None:
    declared = dataclasses.replace(snapshots.DECLARED[0], role=Role.FOREIGN_KEY)

    found = samples(snapshots.page(with_database(declared=(declared,))))

    assert [dict(labels)["role"] for name, labels in found if name == "pg_index_declared"] == ["fk"]


@pytest.mark.parametrize(("locked", "expected"), [({20001}, 1), ({20000}, 1), ({20002}, 0)])
def test_an_index_is_locked_with_its_table(locked: set[int], expected: float) -> None:
    target = with_database(indexes=(snapshots.INDEX,), locked=locked)

    assert values(target, "pg_index_locked") == [expected]


def test_an_index_of_that_name_on_another_table_is_not_the_declared_one() -> None:
    elsewhere = dataclasses.replace(snapshots.INDEX, relname="posts")

    assert values(with_database(indexes=(elsewhere,)), "pg_index_present") == [0, 0]


def test_one_database_down_takes_the_target_down_and_leaves_the_other() -> None:
    other = dataclasses.replace(snapshots.DATABASE, datname="other")
    target = dataclasses.replace(snapshots.TARGET, databases=(snapshots.down(snapshots.DATABASE), other))

    assert values(target, "pg_index_exporter_target_up") == [0]
    assert values(target, "pg_index_exporter_database_up") == [0, 1]
    assert values(target, "pg_stat_user_indexes_idx_scan_total") == [12]
    assert values(target, "pg_stat_replication_walsenders") == [1]


def test_a_system_without_identifier_is_not_identified() -> None:
    facts = snapshots.DATABASE.facts
    assert facts is not None

    page = snapshots.page(with_database(facts=dataclasses.replace(facts, system_identifier=None)))

    assert "pg_system_info" not in page
    assert "pg_in_recovery 0\n" in page


def test_an_unknown_toplevel_is_an_empty_label() -> None:
    row = dataclasses.replace(snapshots.STATEMENT, toplevel=None)

    assert 'toplevel=""} 100' in snapshots.page(with_database(statements=(row,)))


def test_label_blocks_are_kept_for_what_is_still_there() -> None:
    blocks = LabelBlocks()
    first = render(snapshots.TARGET, PageFormat.TEXT, blocks)
    kept = blocks.block(catalogue.DATABASE, ("nova",))

    assert render(snapshots.TARGET, PageFormat.TEXT, blocks) == first
    assert blocks.block(catalogue.DATABASE, ("nova",)) is kept
    for _ in range(2):
        render(TargetSnapshot("default", (), 0.1), PageFormat.TEXT, blocks)
    assert blocks.block(catalogue.DATABASE, ("nova",)) is not kept


def test_a_renamed_index_has_a_new_label_block() -> None:
    blocks = LabelBlocks()
    render(snapshots.TARGET, PageFormat.TEXT, blocks)
    renamed = dataclasses.replace(snapshots.INDEX, indexname="renamed")

    page = snapshots.whole(
        render(with_database(indexes=(renamed,), builds=()), PageFormat.TEXT, blocks)
    ).decode()

    assert 'indexname="renamed"} 12\n' in page
    assert 'pg_index_valid{datname="nova",schemaname="public",relname="messages",indexname="idx' not in page


def test_an_empty_target_has_a_page() -> None:
    database = DatabaseSnapshot("nova", True, (), (CollectorOutcome("server", True, 0.1, 1.5),))

    page = snapshots.page(TargetSnapshot("default", (database,), 0.1), PageFormat.OPENMETRICS)

    assert samples(page, PageFormat.OPENMETRICS)["pg_index_exporter_target_up", frozenset()] == 1
