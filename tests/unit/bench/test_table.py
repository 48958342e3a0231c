"""The table of the last run in the docs."""

import pytest

from bench import table
from bench.table import BEGIN, END, PAGE, with_table


def test_the_table_takes_the_place_of_the_one_before() -> None:
    page = f"above\n\n{BEGIN}old\n{END}\nbelow\n"

    assert with_table(page, "new\n") == f"above\n\n{BEGIN}\nnew\n\n{END}\nbelow\n"
    assert with_table(with_table(page, "1"), "2") == with_table(page, "2")


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_its_place_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        with_table(page, "new")


def test_the_docs_have_a_place_for_it() -> None:
    assert "| figure | value |" in with_table(PAGE.read_text(), "| figure | value |")


def test_without_a_run_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table, "TABLE", PAGE.with_name("absent"))

    assert table.main() == 1
    assert "make bench" in capsys.readouterr().err
