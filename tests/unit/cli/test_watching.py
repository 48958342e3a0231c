"""How builds run and whom they wait for, by flag, variable and file: what comes of it, what is refused."""

import typing
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.choice import chosen
from exporter.cli.commands.run_options import build_options, run_options, watch_options
from exporter.cli.options import settings_source
from exporter.cli.parser import build_parser
from exporter.errors import SettingsError
from exporter.migrate.options import (
    BlockerPolicy,
    BuildOptions,
    Patterns,
    PreflightOptions,
    RunOptions,
    StepOptions,
    WaiterPolicy,
    WatchOptions,
)
from exporter.model import OnFailure
from exporter.settings.loading import load_settings
from exporter.settings.model import Settings
from exporter.settings.values import OnBlockerWord, OnFailureWord, OnWaiterWord

MANIFEST = "migration: {name}\nindexes:\n- {{name: i_{name}, table: t, columns: [a]}}\n"
ALL = {
    "on_blocker": "terminate",
    "blocker_limit_seconds": "60",
    "on_waiter": "yield",
    "waiter_limit_seconds": "5",
    "quiesce_seconds": "0",
    "table_budget_seconds": "1",
    "writers_budget_seconds": "2.5",
    "snapshots_budget_seconds": "0",
    "only_application": "web*,job",
    "only_user": "app",
    "only_database": "nova_*",
}
ALL_TAKEN = WatchOptions(
    quiesce_seconds=0.0,
    table_budget_seconds=1.0,
    writers_budget_seconds=2.5,
    snapshots_budget_seconds=0.0,
    on_blocker=BlockerPolicy.TERMINATE,
    blocker_limit_seconds=60.0,
    on_waiter=WaiterPolicy.YIELD,
    waiter_limit_seconds=5.0,
    patterns=Patterns(("web*", "job"), ("app",), ("nova_*",)),
)


def settings_of(
    *flags: str,
    command: str = "init",
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The settings of a command line, variables and a file."""
    source = settings_source(build_parser().parse_args([command, *flags]))
    return load_settings(file=file or source.file, flags=source.flags, environment=environment or {})


def faults_of(*flags: str, **given: typing.Any) -> list[tuple[str, str]]:
    """Place and hint of every fault."""
    with pytest.raises(SettingsError) as caught:
        settings_of(*flags, **given)
    return [(fault.place, fault.hint) for fault in caught.value.faults]


@pytest.mark.parametrize("command", ["init", "rollback", "verify", "preflight", "plan", "status"])
def test_without_settings_everything_is_as_the_rooms_have_it(command: str) -> None:
    options = run_options(settings_of(command=command))

    assert options.build == BuildOptions()
    assert options.build.steps == StepOptions(watch=WatchOptions())
    assert WatchOptions().on_blocker is BlockerPolicy.WAIT
    assert WatchOptions().on_waiter is WaiterPolicy.WAIT


def test_the_words_are_those_of_the_rooms() -> None:
    def words(alias: typing.Any) -> list[str]:
        return list(typing.get_args(typing.get_args(alias)[0]))

    assert words(OnBlockerWord) == [one.value for one in BlockerPolicy]
    assert words(OnWaiterWord) == [one.value for one in WaiterPolicy]
    assert words(OnFailureWord) == [one.value for one in OnFailure]


def test_every_setting_is_taken_from_each_place(tmp_path: Path) -> None:
    flags: list[str] = []
    for name, value in ALL.items():
        for item in value.split(","):
            flags += ["--" + name.replace("_", "-"), item]
    variables = {f"PG_INDEX_EXPORTER_{name.upper()}": value for name, value in ALL.items()}
    file = tmp_path / "settings.yaml"
    file.write_text("".join(f"{name}: {value!r}\n" for name, value in ALL.items()))

    assert watch_options(settings_of(*flags)) == ALL_TAKEN
    assert watch_options(settings_of(environment=variables)) == ALL_TAKEN
    assert watch_options(settings_of(file=file)) == ALL_TAKEN


def test_a_flag_ranks_above_a_variable_above_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("max_parallel: 2\non_failure: continue\ndeadline_seconds: 60\nsequential: true\n")
    environment = {"PG_INDEX_EXPORTER_MAX_PARALLEL": "3", "PG_INDEX_EXPORTER_ON_FAILURE": "cancel-all"}
    settings = settings_of("--max-parallel", "4", environment=environment, file=file)

    assert settings.max_parallel == 4
    assert settings.on_failure == "cancel-all"
    assert (settings.deadline_seconds, settings.sequential) == (60.0, True)


def test_all_faults_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("on_failure: shrug\nmax_parallel: 0\nquiesce_seconds: -1\non_blocker: terminate\n")
    environment = {"PG_INDEX_EXPORTER_ON_WAITER": "shoot", "PG_INDEX_EXPORTER_DISK_BUDGET_BYTES": "much"}
    found = faults_of("--deadline-seconds=soon", environment=environment, file=file)

    assert {place for place, _ in found} == {
        *(f"{file}:{line}" for line in (1, 2, 3, 4)),
        "PG_INDEX_EXPORTER_ON_WAITER",
        "PG_INDEX_EXPORTER_DISK_BUDGET_BYTES",
        "--deadline-seconds",
    }


@pytest.mark.parametrize(
    ("flags", "place"),
    [
        (["--on-blocker", "terminate"], "--on-blocker"),
        (["--on-blocker", "CANCEL"], "--on-blocker"),
        (["--on-waiter", "cancel"], "--on-waiter"),
    ],
)
def test_nobody_is_touched_whom_no_pattern_names(flags: list[str], place: str) -> None:
    ((found, hint),) = faults_of(*flags)

    assert found == place
    assert "only_application" in hint


def test_patterns_given_now_without_a_policy_are_a_mistake(tmp_path: Path) -> None:
    assert [place for place, _ in faults_of("--only-user", "app", "--on-waiter", "yield")] == ["--only-user"]
    file = tmp_path / "settings.yaml"
    file.write_text("only_user: [app]\n")

    # Those in the file wait for a policy.
    assert settings_of(file=file).only_user == ("app",)
    assert settings_of("--on-blocker", "cancel", file=file).only_user == ("app",)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon", "1e12"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    assert [place for place, _ in faults_of(f"--blocker-limit-seconds={text}")] == ["--blocker-limit-seconds"]


@pytest.mark.parametrize("text", ["postgresql://u:secret@h/d", " "])
def test_a_pattern_is_no_connection_string(text: str) -> None:
    ((place, hint),) = faults_of("--on-blocker=cancel", f"--only-application={text}")

    assert place == "--only-application"
    assert "secret" not in hint


@pytest.mark.parametrize(("text", "size"), [("200GB", 200 * 1024**3), ("1000", 1000), ("1.5kB", 1536)])
def test_a_budget_is_a_size(text: str, size: int) -> None:
    assert settings_of(f"--disk-budget-bytes={text}").disk_budget_bytes == size


def test_check_tells_faults_of_policies_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("dsn: postgresql://u@h/d\non_waiter: cancel\nwaiter_limit_seconds: -3\n")

    assert main(["check", "--config.file", str(file)]) == 2
    told = capsys.readouterr().err
    assert f"{file}:2" in told
    assert f"{file}:3" in told


# ------------------------------------------------------------------ the disk of each server


@pytest.fixture
def two_targets(tmp_path: Path) -> Path:
    """Settings with two targets, each with a manifest, and one with its disk."""
    for name in ("m", "n"):
        (tmp_path / f"{name}.yaml").write_text(MANIFEST.format(name=name))
    file = tmp_path / "settings.yaml"
    file.write_text(
        "targets:\n"
        "- {name: main, dsn: 'postgresql://u@h/d', databases: [{name: d, manifests: [m.yaml]}],\n"
        "   data_directory: pgdata, free_bytes: [500GB, fast=2TB, pg_wal=1GB]}\n"
        "- {name: archive, dsn: 'postgresql://u@g/d', databases: [{name: d, manifests: [n.yaml]}]}\n"
    )
    return file


def options_of(file: Path, *flags: str) -> dict[str, RunOptions]:
    """The options of a run by target."""
    arguments = build_parser().parse_args(["init", "--config.file", str(file), *flags])
    source = settings_source(arguments)
    settings = load_settings(file=source.file, flags=source.flags, environment={})
    return {one.target.name: build_options(settings, one) for one in chosen(arguments, settings)}


def test_each_target_has_its_own_disk(two_targets: Path) -> None:
    found = options_of(two_targets)

    assert found["main"].preflight.data_directory == two_targets.parent / "pgdata"
    assert found["main"].preflight.free_bytes == {"": 500 * 1024**3, "fast": 2 * 1024**4, "pg_wal": 1024**3}
    assert found["archive"].preflight == PreflightOptions()


def test_the_disk_of_a_target_can_be_a_variable() -> None:
    prefix = "PG_INDEX_EXPORTER_TARGETS__0__"
    environment = {
        f"{prefix}NAME": "main",
        f"{prefix}DSN": "postgresql://u@h/d",
        f"{prefix}DATA_DIRECTORY": "/seen",
        f"{prefix}FREE_BYTES": "500GB,fast=2TB",
    }
    (target,) = settings_of(environment=environment).targets

    assert (target.data_directory, target.free_bytes) == ("/seen", ("500GB", "fast=2TB"))


@pytest.mark.parametrize("text", ["much", "a.b=1GB", "fast=", "postgresql://u:secret@h/d"])
def test_free_bytes_of_a_target_are_sizes(two_targets: Path, text: str) -> None:
    two_targets.write_text(two_targets.read_text().replace("fast=2TB", f'"{text}"'))
    with pytest.raises(SettingsError) as caught:
        options_of(two_targets)

    assert [fault.place for fault in caught.value.faults] == [f"{two_targets}:3"]
    assert "secret" not in str(caught.value)


def test_a_flag_is_for_the_one_target_that_is_meant(two_targets: Path) -> None:
    found = options_of(two_targets, "--target", "main", "--free-bytes", "1GB")

    assert found["main"].preflight.free_bytes == {"": 1024**3}
    assert found["main"].preflight.data_directory == two_targets.parent / "pgdata"
    by_migration = options_of(two_targets, "--migration", "n", "--data-directory", "/seen")
    assert by_migration["archive"].preflight.data_directory == Path("/seen")


def test_a_flag_for_several_servers_is_refused(two_targets: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        options_of(two_targets, "--free-bytes", "1GB", "--data-directory", "/seen")

    assert [fault.place for fault in caught.value.faults] == ["--data-directory", "--free-bytes"]
    assert "choose one with --target" in caught.value.faults[0].hint
    assert "targets[].data_directory" in caught.value.faults[0].hint


def test_the_command_says_so_before_it_asks_a_server(
    two_targets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("init", "preflight", "plan"):
        assert main([command, "--config.file", str(two_targets), "--free-bytes", "1GB"]) == 2
        told = capsys.readouterr().err
        assert "--free-bytes" in told
        assert "choose one with --target" in told


def test_the_top_of_a_file_with_several_targets_tells_of_none(two_targets: Path) -> None:
    two_targets.write_text("data_directory: /seen\nfree_bytes: 1GB\n" + two_targets.read_text())
    with pytest.raises(SettingsError) as caught:
        options_of(two_targets)

    assert [fault.place for fault in caught.value.faults] == [f"{two_targets}:1", f"{two_targets}:2"]


def test_with_one_target_the_top_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.format(name="m"))
    file = tmp_path / "settings.yaml"
    file.write_text("dsn: postgresql://u@h/d\nmanifests: [m.yaml]\ndata_directory: pgdata\nmax_parallel: 2\n")
    (found,) = options_of(file, "--on-waiter", "cancel", "--only-user", "app").values()

    assert found.preflight.data_directory == tmp_path / "pgdata"
    assert found.preflight.max_parallel == found.build.max_parallel == 2
    assert found.preflight.needs_signal
