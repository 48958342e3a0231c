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

from exporter.catalogue import metrics as catalogue
from exporter.catalogue.indexes import INDEX_METRICS
from exporter.catalogue.metric import DATABASE
from exporter.metrics.exposition.columns import Column
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.exposition.render import SEGMENT_LINES, RenderCache, prepare, render
from exporter.metrics.exposition.samples import DatabaseSamples
from exporter.metrics.snapshot import CollectorOutcome, DatabaseSnapshot, TargetSnapshot, Watched
from exporter.model import Role
from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow
from tests.support import snapshots
from tests.support.tools import find_tool

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "metrics.prom"
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


def with_figures(row: IndexRow, **changes: Value) -> Watched[IndexRow]:
    return snapshots.watched((row, {**snapshots.INDEX_FIGURES, **changes}))


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
    target = with_database(datname=datname, indexes=with_figures(row), builds=(), declared=(), query_texts={})

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
    target = with_database(indexes=with_figures(snapshots.INDEX, last_idx_scan=value))

    line = next(
        line
        for line in snapshots.page(target).splitlines()
        if line.startswith("pg_stat_user_indexes_last_idx_scan_timestamp_seconds{")
    )

    written = line.rpartition(" ")[2]
    assert type(value)(written) == value


def test_what_is_not_known_is_absent() -> None:
    page = snapshots.page(
        with_database(
            indexes=snapshots.watched((snapshots.INDEX, snapshots.NO_INDEX_FIGURES)),
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
    target = with_database(indexes=with_figures(snapshots.INDEX), locked=locked)

    assert values(target, "pg_index_locked") == [expected]


def test_an_index_of_that_name_on_another_table_is_not_the_declared_one() -> None:
    elsewhere = dataclasses.replace(snapshots.INDEX, relname="posts")

    assert values(with_database(indexes=with_figures(elsewhere)), "pg_index_present") == [0, 0]


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
    cache = RenderCache()
    first = text_of(snapshots.TARGET, cache)
    kept = cache.blocks.block(DATABASE, ("nova",))

    assert text_of(snapshots.TARGET, cache) == first
    assert cache.blocks.block(DATABASE, ("nova",)) is kept
    for _ in range(2):
        text_of(TargetSnapshot("default", (), 0.1), cache)
    assert cache.blocks.block(DATABASE, ("nova",)) is not kept


def test_a_renamed_index_has_a_new_label_block() -> None:
    cache = RenderCache()
    text_of(snapshots.TARGET, cache)
    renamed = dataclasses.replace(snapshots.INDEX, indexname="renamed")

    page = text_of(with_database(indexes=with_figures(renamed), builds=()), cache)

    assert 'indexname="renamed"} 12\n' in page
    assert 'pg_index_valid{datname="nova",schemaname="public",relname="messages",indexname="idx' not in page


# ------------------------------------------------------------------ families of very many rows


def many(count: int = 3 * SEGMENT_LINES, **changes: Value) -> Watched[IndexRow]:
    """So many indexes that their families are pieces of their own; the first has other figures."""
    rows = [
        dataclasses.replace(snapshots.INDEX, indexrelid=number, indexname=f'odd "{number}"\n')
        for number in range(count)
    ]
    figures = [snapshots.INDEX_FIGURES] * count
    figures[0] = {**figures[0], **changes}
    return snapshots.watched(*zip(rows, figures, strict=True))


def text_of(target: TargetSnapshot, cache: RenderCache, page_format: PageFormat = PageFormat.TEXT) -> str:
    return snapshots.whole(render(target, page_format, cache)).decode()


@pytest.mark.parametrize("page_format", PageFormat)
def test_very_many_rows_make_the_page_that_few_make(page_format: PageFormat) -> None:
    indexes = many(idx_scan=None, idx_tup_read=7)
    target = with_database(indexes=indexes, declared=(), builds=())

    found = samples(snapshots.page(target, page_format), page_format)

    one_by_one: dict[tuple[str, Labels], float] = {}
    for number, row in enumerate(indexes.rows):
        figures = {column: [values[number]] for column, values in indexes.figures.items()}
        single = with_database(indexes=Watched((row,), figures), declared=(), builds=())
        one_by_one |= samples(snapshots.page(single, page_format), page_format)
    assert found == one_by_one


def test_a_family_that_did_not_change_is_the_piece_of_the_page_before() -> None:
    cache, before = RenderCache(), many()
    known = {"sizes": {5: 8192}, "observed_since": {5: 1.5}}
    first = render(with_database(indexes=before, **known), PageFormat.TEXT, cache)
    after = Watched(before.rows, {**before.figures, "idx_scan": [13, *before.figures["idx_scan"][1:]]})

    second = render(with_database(indexes=after, **known), PageFormat.TEXT, cache)
    openmetrics = render(with_database(indexes=after, **known), PageFormat.OPENMETRICS, cache)

    # A piece in front of each family and one behind them all have the rest.
    families_of_indexes = len(INDEX_METRICS)
    assert len(first) == 2 * families_of_indexes + 1
    kept = {id(piece) for piece in first[1::2]} & {id(piece) for piece in second[1::2]}
    assert len(kept) == families_of_indexes - 1
    assert [id(piece) for piece in openmetrics[1::2]] == [id(piece) for piece in second[1::2]]
    assert snapshots.whole(second).count(b"idx_scan_total{") == len(before.rows) + 1


def test_what_was_prepared_is_a_piece_of_the_page_and_what_is_not_known_yet_is_not_missed() -> None:
    cache, indexes = RenderCache(), many()
    (begun,) = with_database(indexes=indexes, tables=None, locked=None, sizes={}, observed_since={}).databases
    whole = with_database(indexes=indexes, observed_since={5: 1.5})

    prepare(begun, cache)
    pieces = cache.columns.segment("pg_stat_user_indexes_idx_scan_total", [wide(begun, "idx_scan", cache)])
    page = render(whole, PageFormat.TEXT, cache)

    assert pieces is not None
    assert any(piece is pieces for piece in page)
    assert snapshots.whole(page).decode() == text_of(whole, RenderCache())


def test_what_is_not_known_yet_does_not_unwrite_what_stays() -> None:
    cache, indexes = RenderCache(), many()
    known = {"sizes": {5: 8192}, "observed_since": {5: 1.5}}
    before = render(with_database(indexes=indexes, **known), PageFormat.TEXT, cache)
    (begun,) = with_database(indexes=indexes, tables=None, locked=None, sizes={}, observed_since={}).databases

    prepare(begun, cache)
    after = render(with_database(indexes=indexes, **known), PageFormat.TEXT, cache)

    assert [id(piece) for piece in after[:-1]] == [id(piece) for piece in before[:-1]]


def wide(database: DatabaseSnapshot, field: str, cache: RenderCache) -> Column:
    """The family of that field, as a page of this cache has it."""
    (metric,) = (metric for metric in INDEX_METRICS if metric.field == field)
    column = DatabaseSamples(database, cache.blocks, cache.columns).column(metric)
    assert column is not None
    return column


def test_large_and_small_databases_share_a_family() -> None:
    (one,) = with_database(indexes=many(), datname="large").databases
    small = [
        with_database(indexes=many(SEGMENT_LINES // 2), datname=f"small_{number}").databases[0]
        for number in range(3)
    ]
    target = TargetSnapshot("default", (*small, one), 0.1)

    found = samples(text_of(target, RenderCache()))

    for database in target.databases:
        single = samples(text_of(TargetSnapshot("default", (database,), 0.1), RenderCache()))
        mine = {key: value for key, value in single.items() if ("datname", database.datname) in key[1]}
        assert {key for key in mine if found.get(key) != mine[key]} == set()
    assert text_of(target, RenderCache()).count("# TYPE pg_stat_user_indexes_idx_scan_total ") == 1


def test_times_are_written_as_they_are_however_often_they_were_written_before() -> None:
    cache, indexes = RenderCache(), many()
    count = len(indexes.rows)
    for times in ([1.5] * count, [*([1.5, None] * count)][:count], [float(n) / 7 for n in range(count)]):
        target = with_database(indexes=Watched(indexes.rows, {**indexes.figures, "last_idx_scan": times}))
        assert text_of(target, cache) == text_of(target, RenderCache())
        found = values(target, "pg_stat_user_indexes_last_idx_scan_timestamp_seconds")
        assert sorted(found) == sorted(time for time in times if time is not None)


@pytest.mark.parametrize(
    "changes",
    [
        {"datname": "renamed"},
        {"locked": frozenset({20000})},
        {"sizes": {5: 1}},
        {"observed_since": {}},
        {"indexes": many(idx_blks_hit=1)},
        {"indexes": many(100)},
        {"indexes": None},
    ],
)
def test_a_page_after_another_is_as_if_there_had_been_none(changes: dict[str, Any]) -> None:
    cache = RenderCache()
    indexes = many()
    text_of(with_database(indexes=indexes), cache)
    changed = with_database(**{"indexes": indexes, **changes})

    assert text_of(changed, cache) == text_of(changed, RenderCache())


def test_what_a_page_does_not_have_any_more_is_forgotten() -> None:
    cache, target = RenderCache(), with_database(indexes=many())
    first = render(target, PageFormat.TEXT, cache)

    text_of(TargetSnapshot("default", (), 0.1), cache)
    again = render(target, PageFormat.TEXT, cache)

    assert snapshots.whole(again) == snapshots.whole(first)
    assert not {id(piece) for piece in first} & {id(piece) for piece in again}


def test_an_empty_target_has_a_page() -> None:
    database = DatabaseSnapshot("nova", True, (), (CollectorOutcome("server", True, 0.1, 1.5),))

    page = snapshots.page(TargetSnapshot("default", (database,), 0.1), PageFormat.OPENMETRICS)

    assert samples(page, PageFormat.OPENMETRICS)["pg_index_exporter_target_up", frozenset()] == 1
