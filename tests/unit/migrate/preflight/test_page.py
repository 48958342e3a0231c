"""docs/preflight.md lists every check that the code can make, and no other."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from exporter.migrate import preflight

PAGE = Path(__file__).parents[4] / "docs" / "preflight.md"
FOLDER = Path(preflight.__path__[0])
MAKERS = {"passed", "failed", "warned", "unknown"}


def criteria() -> Iterator[str]:
    """The first argument of every call that makes a finding."""
    for path in FOLDER.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        known = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        name = ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        module = import_module(f"{preflight.__name__}.{name}".rstrip("."))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in MAKERS:
                yield from _words(call.args[0], {**vars(module), **known})


def _words(argument: ast.expr, known: dict[str, object]) -> Iterator[str]:
    if isinstance(argument, ast.Constant):
        yield str(argument.value)
    elif isinstance(argument, ast.Name):
        yield str(known[argument.id])
    else:
        # The one that is put together.
        assert ast.unparse(argument) == "f'running {kind}'"
        yield from ("running dump", "running base backup")


def test_the_page_lists_every_check() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## The checks")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)
    listed = {name for row in rows for name in row.split(", ")} - {"check", "---"}

    assert set(criteria()) == listed
