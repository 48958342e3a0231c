"""That what is compared is the same: facts, peers and pages."""

from pathlib import Path

import pytest

from bench import peer
from bench.comparison import check_moved, check_same_facts
from bench.facts import ALL_FACTS, INDEX_FACTS
from bench.scraper import Scrape
from exporter.metrics.exposition import segment
from exporter.metrics.exposition.segment import Segment


def page(text: str) -> Scrape:
    return Scrape(0.1, b"".join(segment.gzip([Segment.of(text.encode())])))


def families(*, ours: bool, value: int = 7, drop: str = "") -> str:
    """A page with one sample in every family, under our names or the peer's."""
    samples = []
    for kind in ALL_FACTS:
        for name, metric in kind.peer_families.items():
            labels = ",".join(f'{label}="x"' for label in metric.labels)
            if metric.name != drop:
                samples.append(f"{metric.name if ours else name}{{{labels}}} {value}")
    return "\n".join(samples) + "\n"


def test_every_family_of_an_index_or_table_has_its_sql_both_ways() -> None:
    for kind in ALL_FACTS:
        for way in ("views", "functions"):
            assert all(f" AS {column}" in kind.query(way) for column in kind.columns)


def test_a_family_without_sql_is_named() -> None:
    with pytest.raises(LookupError, match="new_column"):
        INDEX_FACTS.query("views", ("new_column",))


def test_the_peer_is_given_every_family_with_its_labels() -> None:
    for kind in ALL_FACTS:
        queries = kind.peer_queries()
        published = {
            f"{namespace}_{column}"
            for namespace, query in queries.items()
            for metrics in [query["metrics"]]  # type: ignore[index]  # a mapping, as written there
            for metric in metrics
            for column, properties in metric.items()
            if properties["usage"] != "LABEL"
        }
        assert published == kind.peer_families.keys()


def test_equal_pages_are_counted_and_different_ones_named() -> None:
    ours, theirs = families(ours=True), families(ours=False)

    assert check_same_facts(page(ours), page(theirs)) == len(ours.splitlines())
    with pytest.raises(AssertionError, match="pg_index_valid"):
        check_same_facts(page(families(ours=True, drop="pg_index_valid")), page(theirs))


def test_what_the_peer_says_for_null_is_nothing() -> None:
    theirs = families(ours=False).replace("last_idx_scan{", 'last_idx_scan{server="s",')
    lines = [
        line.rpartition(" ")[0] + " NaN" if "last_idx_scan" in line else line for line in theirs.splitlines()
    ]
    ours = families(ours=True, drop="pg_stat_user_indexes_last_idx_scan_timestamp_seconds")

    assert check_same_facts(page(ours), page("\n".join(lines) + "\n")) == len(ours.splitlines())


def test_as_many_samples_must_change_as_indexes_moved() -> None:
    before, after = page('a{i="1"} 1\na{i="2"} 1\nb 5\n'), page('a{i="1"} 2\na{i="2"} 1\nb 6\n')

    check_moved(before, 1, after, "a")
    with pytest.raises(AssertionError, match="2 indexes moved, 1 samples of a changed"):
        check_moved(before, 2, after, "a")


def program(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'postgres_exporter, version {version} (branch: x)'\n")
    path.chmod(0o755)
    return path


def test_the_newest_peer_in_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "old", "postgres_exporter", "0.9.4")
    newest = program(tmp_path / "new", "prometheus-postgres-exporter", "0.19.1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'old'}:{tmp_path / 'new'}:/bin:/usr/bin")

    found = peer.find_peer(None)

    assert found is not None
    assert (found.path, found.title) == (newest, "postgres_exporter 0.19.1")


def test_without_a_peer_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert peer.find_peer(None) is None


def test_a_program_that_is_no_peer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="does not say a version"):
        peer.find_peer(program(tmp_path, "other", "unknown"))
