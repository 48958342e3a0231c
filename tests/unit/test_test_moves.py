"""docs/test-moves.md names tests that exist, so that no fault loses its test unnoticed."""

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "test-moves.md"


def named_tests(text: str) -> set[tuple[str, str]]:
    """Path and function of every test that the page names as the one that is there now."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text))
    for path, items in re.findall(r"^### (tests/\S+)\n\n((?:- .*\n)+)", text, re.MULTILINE):
        named |= {(path, name) for name in re.findall(r"^- `(\w+)`", items, re.MULTILINE)}
    return named


def functions_of(path: str) -> set[str]:
    file = CHECKOUT / path
    if not file.exists():
        return set()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_every_test_named_exists() -> None:
    named = named_tests(PAGE.read_text(encoding="utf-8"))
    known = {path: functions_of(path) for path, _ in named}

    assert len(named) > 150
    assert sorted((path, name) for path, name in named if name not in known[path]) == []
