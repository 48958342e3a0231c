"""The shipped alert rules as data, and the same rules with their windows made shorter."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
RULE_FILE = ALERTS / "rules" / "pg_index_exporter.rules.yml"

# Strings are matched too, so that the word inside one is passed over.
_DURATION = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<before>\boffset\s+|\[)(?P<duration>\w+)(?P<after>\s*:)?')


def alert_rules(text: str) -> Iterator[dict[str, Any]]:
    """The alerting rules of a rule file, in order."""
    for group in yaml.safe_load(text)["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


def scaled_rules(text: str, factor: float) -> str:
    """The rule file with every `offset`, range and `for` multiplied by `factor`; nothing else changes.

    Raises: ValueError when the rules have a duration of another kind, which would stay as long as it was.
    """
    document = yaml.safe_load(text)
    for group in document["groups"]:
        _refuse({"interval", "query_offset"} & set(group), group["name"])
        for rule in group["rules"]:
            _refuse({"keep_firing_for"} & set(rule), group["name"])
            rule["expr"] = _scaled_expression(rule["expr"], factor, group["name"])
            if "for" in rule:
                rule["for"] = _scaled(rule["for"], factor)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _refuse(durations: set[str], group: str) -> None:
    if durations:
        raise ValueError(f"no scale is known for {', '.join(sorted(durations))} in group {group}")


def _scaled_expression(expr: str, factor: float, group: str) -> str:
    def scaled(match: re.Match[str]) -> str:
        if match["duration"] is None:
            return match[0]
        _refuse({"subqueries"} if match["after"] else set(), group)
        return match["before"] + _scaled(match["duration"], factor)

    return _DURATION.sub(scaled, expr)


def _scaled(duration: str, factor: float) -> str:
    milliseconds = round(promql.parse_duration(duration) * factor / timedelta(milliseconds=1))
    return f"{milliseconds}ms"
