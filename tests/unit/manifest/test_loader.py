"""Manifests: what is read, and that every fault is told with its line and its hint."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import bundled
from exporter.errors import Fault, ManifestError
from exporter.manifest.loader import load_manifest
from exporter.model import DeclaredIndex, Manifest, Probe, RelationName, Role
from exporter.yamlfile import reader as yaml_reader
from exporter.yamlfile.reader import FaultList, parse_yaml

GOLDEN = Path(__file__).parents[2] / "golden"
SMALLEST = """\
migration: m
indexes:
  - name: idx
    table: t
    columns: [a]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "manifest.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Manifest:
    return load_manifest(write(folder, text))


def faults_of(folder: Path, text: str) -> tuple[Fault, ...]:
    with pytest.raises(ManifestError) as caught:
        load(folder, text)
    assert caught.value.exit_code == 2
    assert all(fault.what and fault.hint for fault in caught.value.faults)
    return caught.value.faults


def only_fault(folder: Path, text: str) -> Fault:
    (fault,) = faults_of(folder, text)
    return fault


def line_of(fault: Fault) -> int:
    return int(fault.place.rpartition(":")[2])


def test_the_bundled_manifest_is_novas_two_indexes() -> None:
    manifest = load_manifest(bundled.path("indexes") / "090_quick_win_4_missing_indexes.yaml")

    assert manifest.migration == "090_quick_win_4_missing_indexes"
    assert manifest.search_path == ("public",)
    assert [table.quoted for table in manifest.analyze] == [
        "public.messages",
        "public.posts",
        "public.users",
        "public.user_feed_preferences",
    ]
    assert [(index.relation.quoted, index.table.quoted) for index in manifest.indexes] == [
        ("public.idx_messages_sender_created", "public.messages"),
        ("public.idx_posts_user_created", "public.posts"),
    ]
    assert [index.columns for index in manifest.indexes] == [
        ("sender_id", "created_at DESC"),
        ("user_id", "created_at DESC"),
    ]
    for index in manifest.indexes:
        assert (index.method, index.where, index.max_size_ratio) == ("btree", "deleted_at IS NULL", 0.2)
        assert index.not_null == index.columns[:1]
        assert [probe.max_seconds for probe in index.probes] == [0.01]
        assert all(probe.sample for probe in index.probes)


def test_the_smallest_manifest_gets_every_default(tmp_path: Path) -> None:
    path = write(tmp_path, SMALLEST)

    table = RelationName("public", "t")
    assert load_manifest(path) == Manifest(
        path=str(path),
        migration="m",
        search_path=("public",),
        analyze=(table,),
        indexes=(DeclaredIndex(name="idx", table=table, columns=("a",)),),
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    manifest = load(
        tmp_path,
        """\
migration: 7.every-key_2
search_path: [App, public]
analyze: [t, other."T 2"]
indexes:
  - name: '"Odd ""x"" name"'
    table: T
    method: GIN
    unique: true
    nulls_not_distinct: true
    columns: ["coalesce(a, 'x, y')", b DESC NULLS LAST]
    include: [c]
    with: [fillfactor = 70]
    tablespace: Fast
    where: |
      c IS NOT NULL
    max_size_ratio: 1
    not_null: [A, '"B"']
    role: fk
    probes:
      - sql: SELECT 1 FROM t WHERE a = %(a)s
        sample: SELECT a FROM t
      - {name: by b, sql: "SELECT 1 FROM t WHERE b LIKE 'x%'", max_seconds: 2}
""",
    )

    assert manifest.search_path == ("app", "public")
    assert manifest.analyze == (RelationName("app", "t"), RelationName("other", "T 2"))
    assert manifest.indexes == (
        DeclaredIndex(
            name='Odd "x" name',
            table=RelationName("app", "t"),
            columns=("coalesce(a, 'x, y')", "b DESC NULLS LAST"),
            method="gin",
            unique=True,
            nulls_not_distinct=True,
            include=("c",),
            options=("fillfactor = 70",),
            tablespace="fast",
            where="c IS NOT NULL",
            max_size_ratio=1.0,
            not_null=("a", "B"),
            probes=(
                Probe('Odd "x" name_1', "SELECT 1 FROM t WHERE a = %(a)s", "SELECT a FROM t", None),
                Probe("by b", "SELECT 1 FROM t WHERE b LIKE 'x%'", None, 2.0),
            ),
            role=Role.FOREIGN_KEY,
        ),
    )


def test_all_faults_of_a_file_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None]
) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(ManifestError) as caught:
        load_manifest(Path("faulty_manifest.yaml"))

    golden("faulty_manifest.txt", f"{caught.value}\n")


@pytest.mark.parametrize(
    ("role", "expected"),
    [(role.value, role) for role in Role],
)
def test_every_role_is_known(tmp_path: Path, role: str, expected: Role) -> None:
    (index,) = load(tmp_path, SMALLEST + f"    role: {role}\n").indexes

    assert index.role is expected


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("max_size_ratio: 0", "out of range"),
        ("max_size_ratio: -0.1", "out of range"),
        ("max_size_ratio: 10.5", "out of range"),
        ("max_size_ratio: true", "not true or false"),
        ("max_size_ratio: '0.2'", "not a text"),
        ("max_size_ratio: 1e999", "out of range"),
        ("unique: 1", "not true or false"),
        ("unique: 'true'", "not true or false"),
        ("where: ''", "empty"),
        ("where: [a]", "a text, not a list"),
        ("where: {a: b}", "a text, not a mapping"),
        ("include: []", "empty list"),
        ("include: c", "a list, not a text"),
        ("include: [1]", "a text, not a number"),
        ("include: [null]", "a text, not nothing"),
        ("method: a.b", "qualified name"),
        ("tablespace: my-space", "not a PostgreSQL identifier"),
        ("not_null: [a b]", "not a PostgreSQL identifier"),
        ("role: raed", "unknown role 'raed'"),
        ("colums: [a]", "unknown key 'colums'"),
        ("probes: {sql: SELECT 1}", "a list, not a mapping"),
        ("probes: [SELECT 1]", "a probe is a mapping, not a text"),
        ("probes: [{sql: SELECT 1, max_seconds: 3601}]", "out of range"),
        ("probes: [{name: p, sql: SELECT 1}, {name: p, sql: SELECT 2}]", "'p' exists already"),
        ("probes: [{sql: 'SELECT %(a)s'}]", "no sample for the parameter a"),
        ("probes: [{sql: 'SELECT %(a)s', sample: 'SELECT %(b)s'}]", "the sample has parameters"),
        ("probes: [{sql: SELECT 1, sample: SELECT 1}]", "sample for a probe without parameters"),
        ("probes: [{sql: 'SELECT %s', sample: SELECT 1}]", "positional parameter"),
    ],
)
def test_a_wrong_value_is_one_fault_at_its_line(tmp_path: Path, line: str, what: str) -> None:
    faults = faults_of(tmp_path, SMALLEST + f"    {line}\n")

    assert what in faults[0].what
    assert {line_of(fault) for fault in faults} == {6}
    # A positional parameter also leaves its sample without a use.
    assert len(faults) == (2 if "positional" in what else 1)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("migration: m\n", 1, "lacks 'indexes'"),
        (SMALLEST.replace("migration: m\n", ""), 1, "lacks 'migration'"),
        (SMALLEST.replace("migration: m", "migration: " + "m" * 64), 1, "not a plain name"),
        (SMALLEST.replace("migration: m", "migration: 90"), 1, "a text, not a number"),
        (SMALLEST.replace("[a]", "[]"), 5, "empty list"),
        (SMALLEST.replace("name: idx", "name: public.idx"), 3, "qualified name"),
        (SMALLEST.replace("table: t", "table: db.public.t"), 4, "more than two parts"),
        (SMALLEST + "search_path: []\n", 6, "empty list"),
        (SMALLEST + "analyze: [a.b.c]\n", 6, "more than two parts"),
        (SMALLEST + "search_path: ['\"$user\"', public]\n", 4, "search_path begins with $user"),
        (SMALLEST + "indexes: []\n", 6, "'indexes' is given twice, first in line 2"),
        (SMALLEST + "  - {name: IDX, table: T, columns: [b]}\n", 6, "declared twice, first in line 3"),
        ("- a\n", 1, "a manifest is a mapping, not a list"),
        ("migration: m\nindexes: {}\n", 2, "a list, not a mapping"),
    ],
)
def test_a_fault_of_the_whole_is_told_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    fault = only_fault(tmp_path, text)

    assert what in fault.what
    assert line_of(fault) == line


def test_one_name_in_two_schemas_wants_two_migrations(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, SMALLEST + "  - {name: idx, table: tenant_2.t, columns: [a]}\n")

    assert "declared twice" in fault.what
    assert "another migration" in fault.hint


def test_words_of_yaml_1_1_are_column_names(tmp_path: Path) -> None:
    (index,) = load(tmp_path, SMALLEST.replace("[a]", "[on, no, y, 1:30, 2024-01-01]")).indexes

    assert index.columns == ("on", "no", "y", "1:30", "2024-01-01")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: [1\nb: 2\n", 2, "not YAML: the list opened with [ in line 1 is not closed"),
        ("a: b: c\n", 1, "not YAML"),
        ("\tmigration: m\n", 1, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML: but found another document"),
        ("a: 1\nb: \x07\n", 2, "unprintable"),
        ("a: *unknown\n", 1, "not YAML"),
        ("a: !!python/object:os.system x\n", 1, "YAML tag"),
        ('a: "\\0"\n', 1, "NUL"),
        ('a: "\\ud800"\n', 1, "surrogate"),
        ("? [a]\n: b\n", 1, "a key that is a list"),
        ("a: 1\na: 2\n", 2, "given twice"),
    ],
)
def test_wrong_yaml_is_a_fault_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    fault = next(fault for fault in faults_of(tmp_path, text) if what in fault.what)

    assert line_of(fault) == line


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_is_a_fault(tmp_path: Path, text: str) -> None:
    assert only_fault(tmp_path, text).what == "the file is empty"


def test_files_that_cannot_be_read_are_faults(tmp_path: Path) -> None:
    not_utf8 = tmp_path / "latin1.yaml"
    not_utf8.write_bytes(b"a: 1\nb: \xe9\n")
    for path, what in (
        (tmp_path / "absent.yaml", "does not exist"),
        (tmp_path, "directory"),
        (not_utf8, "not UTF-8"),
    ):
        with pytest.raises(ManifestError) as caught:
            load_manifest(path)
        (fault,) = caught.value.faults
        assert what in fault.what
        assert fault.place.startswith(str(path))


def test_too_large_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_reader, "MAX_FILE_BYTES", 1024 * 1024)

    assert "larger than 1 MiB" in only_fault(tmp_path, "# " + "x" * 1024 * 1024).what


def test_aliases_are_bounded_by_what_they_repeat(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    assert "values" in only_fault(tmp_path, "\n".join(lines)).what


@pytest.mark.parametrize(
    "text", ["a: &a [*a]\n", "a: " + "[" * 30 + "]" * 30, "a: " + "[" * 5000 + "]" * 5000]
)
def test_depth_is_bounded(tmp_path: Path, text: str) -> None:
    assert "nested too deeply" in only_fault(tmp_path, text).what


def test_an_alias_repeats_its_value(tmp_path: Path) -> None:
    manifest = load(
        tmp_path,
        SMALLEST.replace("[a]", "&columns [a]") + "  - {name: i2, table: t2, columns: *columns}\n",
    )

    assert [index.columns for index in manifest.indexes] == [("a",), ("a",)]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    faults = FaultList("file")

    document = parse_yaml(text, faults)

    assert document is not None or faults.found


@pytest.mark.parametrize(
    "value",
    ["*canary", "&canary x: y", "!canary", "'canary", '"canary', "[canary", "{canary: [}", "a: canary: b"],
)
def test_no_message_repeats_a_value(value: str) -> None:
    faults = FaultList("file")

    parse_yaml(f"password: {value}\n", faults)

    assert faults.found
    assert not re.search("canary", str(faults.sorted()))
