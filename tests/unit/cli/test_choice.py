"""Which databases, manifests and indexes a command works on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.cli.choice import Chosen, chosen, limited_to
from exporter.cli.options import settings_source
from exporter.cli.parser import parse
from exporter.errors import SettingsError
from exporter.manifest.loader import load_manifest
from exporter.settings.loading import load_settings

MANIFEST = """\
migration: 090_test
analyze: [messages, posts, users]
indexes:
- {name: idx_messages, table: messages, columns: [sender_id]}
- {name: '"Odd.name"', table: app.posts, columns: [user_id]}
"""
SETTINGS = """\
targets:
- {name: main, dsn: host=localhost dbname=nova, databases: [{name: nova, manifests: [m.yaml]}]}
- {name: archive, dsn: host=localhost dbname=old, databases: [{name: old}]}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    return path


Choose = Callable[..., list[Chosen]]


@pytest.fixture
def choose(manifest: Path) -> Choose:
    """What a command line chooses of two targets, one of which has a manifest."""
    file = manifest.parent / "settings.yaml"
    file.write_text(SETTINGS.replace("m.yaml", str(manifest)), encoding="utf-8")

    def run(*flags: str) -> list[Chosen]:
        arguments = parse(["verify", "--config.file", str(file), *flags])
        source = settings_source(arguments)
        return list(chosen(arguments, load_settings(file=source.file, flags=source.flags, environment={})))

    return run


def test_without_flags_everything_with_a_manifest_is_chosen(choose: Choose) -> None:
    (one,) = choose()

    assert (one.target.name, one.database.datname, one.manifest.migration) == ("main", "nova", "090_test")
    assert (len(one.manifest.indexes), one.manifest.is_partial) == (2, False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "nope"], "there is no target 'nope'; the settings have: main, archive"),
        (["--database", "nope"], "there is no database 'nope'; the settings have: nova, old"),
        (["--migration", "nope"], "there is no migration 'nope'; the settings have: 090_test"),
        (
            ["--index", "nope"],
            'no index nope is declared; the manifests declare: public.idx_messages, app."Odd.name"',
        ),
        (["--index", "app.idx_messages"], "no index app.idx_messages is declared"),
        (["--index", "Odd.name"], "no index Odd.name is declared"),
        (["--index", "a b"], "--index: 'a b' is not a PostgreSQL identifier"),
        (["--target", "archive"], "no manifest is bound to a database"),
    ],
)
def test_a_name_that_does_not_occur_is_answered_with_those_that_do(
    choose: Choose, flags: list[str], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        choose(*flags)

    assert message in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["idx_messages", "IDX_messages", "public.idx_messages", '"idx_messages"'])
def test_one_index_leaves_its_table_and_nothing_else(choose: Choose, name: str) -> None:
    (one,) = choose("--index", name)

    assert [index.name for index in one.manifest.indexes] == ["idx_messages"]
    assert [table.relname for table in one.manifest.analyze] == ["messages"]
    assert one.manifest.is_partial


def test_a_quoted_name_with_a_dot_is_one_name(choose: Choose) -> None:
    (one,) = choose("--index", 'app."Odd.name"')

    assert [index.name for index in one.manifest.indexes] == ["Odd.name"]


def test_all_that_is_declared_is_no_limit(manifest: Path) -> None:
    manifest.write_text("migration: m\nindexes:\n- {name: i, table: t, columns: [a]}\n", encoding="utf-8")
    declared = load_manifest(manifest)

    assert limited_to(declared, "i") is declared
