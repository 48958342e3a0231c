"""Query files: the newest that fits, and the lines of one file that are for a version."""

import re

import pytest

from exporter.errors import TargetUnsupported
from exporter.postgres.queries import all_queries, lines_for, query_text

TEXT = """SELECT
    a,
    old  -- before 16
    new  -- from 16
        AS b
FROM t -- from 16 on it is faster
"""


def test_a_line_is_for_the_versions_that_it_names() -> None:
    _select, a, *old, b, at_the_end = lines_for(TEXT, 15).splitlines()
    *_before, new, _b, _at_the_end = lines_for(TEXT, 16).splitlines()

    assert (old, new) == (["    old  -- before 16"], "    new  -- from 16")
    assert (a, b, at_the_end) == ("    a,", "        AS b", "FROM t -- from 16 on it is faster")


def test_every_line_for_some_versions_is_written_so_that_it_is_seen_as_one() -> None:
    written = re.compile(r"--\s*(from|before)\s*[0-9]+\s*$", re.IGNORECASE | re.MULTILINE)
    texts = [(query.what, query.text) for files in all_queries().values() for query in files]
    meant = {what for what, text in texts if written.search(text)}
    differing = {what for what, text in texts if len({lines_for(text, major) for major in range(14, 20)}) > 1}

    assert {"epoch", "index_figures"} <= differing
    assert meant == differing


def test_a_file_of_an_extension_goes_by_the_extensions_version() -> None:
    old = query_text("statements", server_version_num=180000, extension_version="1.8")
    new = query_text("statements", server_version_num=140000, extension_version="1.12")

    assert "GROUP BY" in old
    assert "GROUP BY" not in new


def test_a_version_that_no_file_fits_is_unsupported() -> None:
    with pytest.raises(
        TargetUnsupported, match=r"statements requires version 1\.8 or newer, the server has 1\.7"
    ):
        query_text("statements", server_version_num=140000, extension_version="1.7")
