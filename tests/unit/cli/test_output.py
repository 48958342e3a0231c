"""What a command writes: documents one after the other, errors too, and reports that cannot be written."""

import json
import os
from pathlib import Path

import pytest

from exporter.cli.output import Document, Output
from exporter.errors import ExporterError, Fault, SettingsError, TargetDenied


def document(name: str) -> Document:
    return Document(lambda width: f"{name} {width}", lambda: f"# {name}", lambda: json.dumps({"name": name}))


def test_each_form_ends_in_a_newline() -> None:
    assert [document("a").write(form) for form in ("text", "markdown", "json")] == [
        "a 80\n",
        "# a\n",
        '{"name": "a"}\n',
    ]


def test_documents_of_several_databases_follow_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = (tmp_path / "r.txt", tmp_path / "r.MD", tmp_path / "r.json")
    paths[0].write_text("of an earlier run")
    output = Output("status", "json", paths)

    output.write(document("a"))
    output.write(document("b"))

    assert capsys.readouterr().out == '{"name": "a"}\n{"name": "b"}\n'
    assert [path.read_text() for path in paths] == [
        "a 80\n\nb 80\n",
        "# a\n\n# b\n",
        '{"name": "a"}\n{"name": "b"}\n',
    ]


@pytest.fixture
def unwritable(tmp_path: Path) -> list[Path]:
    (tmp_path / "file").write_text("")
    return [
        tmp_path,
        tmp_path / "missing" / "r.json",
        tmp_path / "file" / "r.json",
        tmp_path / ("n" * 300),
        Path("/proc/r.json"),
    ]


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_done(unwritable: list[Path]) -> None:
    for path in unwritable:
        with pytest.raises(SettingsError, match="the report cannot be written to") as caught:
            Output("init", "text", (path,)).check_paths()
        assert caught.value.exit_code == 2


def test_a_check_leaves_no_trace(tmp_path: Path) -> None:
    kept, pipe = tmp_path / "kept.json", tmp_path / "pipe"
    kept.write_text("kept")
    os.mkfifo(pipe)

    Output("init", "text", (kept, tmp_path / "new.json", pipe, Path("/dev/null"))).check_paths()

    assert kept.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json", "pipe"]


def test_a_report_that_fails_after_the_work_is_an_error_of_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    output = Output("init", "text", (Path("/dev/full"), other))

    with pytest.raises(ExporterError, match="cannot be written to /dev/full: No space left") as caught:
        output.write(document("a"))

    assert caught.value.exit_code == 1
    assert capsys.readouterr().out == "a 80\n"
    assert other.read_text() == '{"name": "a"}\n'


def test_an_error_is_a_document_in_every_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "r.md"
    output = Output("verify", "json", (page,))
    fault = Fault("m.yaml:3", "an unknown key `colums`", "write columns")

    code = output.fail(SettingsError("the manifests have 1 fault", hint="correct it", faults=[fault]))

    captured = capsys.readouterr()
    assert code == 2
    assert json.loads(captured.out) == {
        "schema_version": 1,
        "command": "verify",
        "exit_code": 2,
        "what": "the manifests have 1 fault",
        "hint": "correct it",
        "faults": [{"place": "m.yaml:3", "what": "an unknown key `colums`", "hint": "write columns"}],
    }
    assert "m.yaml:3: an unknown key `colums`\n    -> write columns" in captured.err
    assert "The command failed with exit code 2." in page.read_text()
    assert "m.yaml:3" in page.read_text()


def test_an_error_in_text_is_on_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert Output("status").fail(TargetDenied("refused", hint="check the password")) == 4

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "pg-index-exporter: refused\n  -> check the password\n")
