"""Flags of settings come from the settings model: their names, their help, and how values are given."""

import argparse
import subprocess
import sys

from exporter.cli.options import add_setting_flags
from exporter.settings.reference import setting_references


def flags_of(*names: str) -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser()
    add_setting_flags(parser, *names)
    return {action.option_strings[0]: action for action in parser._actions}


def test_every_setting_but_targets_has_a_flag() -> None:
    names = [name for name in setting_references() if name != "targets"]

    flags = flags_of(*names)

    assert [setting_references()[name].flag for name in names] == list(flags)[1:]
    for name in names:
        setting = setting_references()[name]
        action = flags[setting.flag]
        text = action.help or ""
        assert action.dest == f"setting_{name}"
        assert action.default is None
        assert text.endswith(f"(env: {setting.variable})")
        assert (f"default {setting.default} (env" in text) == (
            setting.default != "" and not setting.is_switch
        )
        assert ("may be repeated" in text) == setting.is_list
        assert "`" not in text


def test_the_value_of_a_flag_is_named_after_its_type() -> None:
    names = ("max_indexes", "scrape_timeout_seconds", "dsn_file", "on_waiter", "watch", "disk_budget_bytes")

    metavars = [action.metavar for action in flags_of(*names).values()][1:]

    assert metavars == ["N", "SECONDS", "FILE", "wait|yield|cancel", "PATTERN", "SIZE"]


def test_lists_are_repeated_and_switches_take_no_value() -> None:
    parser = argparse.ArgumentParser()
    add_setting_flags(parser, "manifests", "query_text", "sequential")

    given = parser.parse_args(["--manifest", "a", "--manifest", "b", "--no-query-text", "--sequential"])

    assert vars(given) == {
        "setting_manifests": ["a", "b"],
        "setting_query_text": False,
        "setting_sequential": True,
    }


def test_help_needs_neither_libpq_nor_pydantic() -> None:
    program = (
        "import sys; from exporter.cli.parser import build_parser; build_parser();"
        "print([name for name in ('psycopg', 'pydantic', 'asyncio') if name in sys.modules])"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout == "[]\n"
