"""Imports go down only, and the pure rooms neither do I/O nor read a clock."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import exporter

PACKAGE = Path(exporter.__file__).parent
LEVELS = (
    {"__main__"},
    {"cli"},
    {"demo"},
    {"terminal"},
    {"metrics", "migrate"},
    {"evidence"},
    {"postgres"},
    {"settings"},
    {"manifest"},
    {"yamlfile"},
    {"parsing", "text"},
    {"catalogue", "model", "errors", "bundled", "file_state", "__init__"},
    {"secret"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
PURE = (
    "exporter.migrate.execute.sqlstates",
    "exporter.migrate.options",
    "exporter.migrate.plan",
    "exporter.migrate.verify",
    "exporter.migrate.preflight.activity",
    "exporter.migrate.preflight.declarations",
    "exporter.migrate.preflight.disk.check",
    "exporter.migrate.preflight.disk.estimate",
    "exporter.migrate.preflight.limits",
    "exporter.migrate.preflight.replication",
    "exporter.migrate.preflight.session",
    "exporter.migrate.preflight.tables",
    "exporter.migrate.execute.watch.policy",
    "exporter.migrate.execute.watch.estimate",
    "exporter.migrate.report",
    "exporter.evidence.verdict",
    "exporter.evidence.epoch",
    "exporter.evidence.definitions",
    "exporter.evidence.statement_matching",
    "exporter.metrics.exposition.render",
    "exporter.text",
    "exporter.catalogue",
    "exporter.metrics.check.findings",
    "exporter.metrics.check.report",
)
# Inside a room, too, imports go down only: the parts of a room by level, the highest first.
INNER = {
    # collect and web do not know each other.
    "exporter.metrics": (
        {"service"},
        {"reload", "check"},
        {"collect", "web"},
        {"exposition"},
        {"snapshot", "threads", "logs"},
    ),
    "exporter.migrate": (
        {"init", "rollback"},
        {"execute"},
        {"report"},
        {"readiness", "verification", "status", "import_sql", "journaling"},
        {"assessment"},
        {"preflight", "verify"},
        {"run", "observe"},
        {"plan"},
        {"events"},
        {"options"},
    ),
    "exporter.postgres": (
        {"counters", "builds", "relations", "pipeline"},
        {"journal", "server", "sessions"},
        {"fetching", "ddl"},
        {"requests"},
        {"queries", "target"},
    ),
    "exporter.settings": (
        {"subprocess_reader"},
        {"reading"},
        {"binding", "loading"},
        {"sources", "target_parameters"},
        {"paths", "reference", "source"},
        {"model"},
        {"values"},
        {"connection", "annotations", "names"},
    ),
    "exporter.catalogue": (
        {"metrics"},
        {"indexes", "tables", "statements", "targets", "exporter"},
        {"metric"},
    ),
}
EXECUTING = "exporter.migrate.execute"
# A command that only reads does not load what executes.
MAY_EXECUTE = (EXECUTING, "exporter.migrate.init", "exporter.migrate.rollback")
IMPURE_MODULES = {"socket", "asyncio", "time", "os", "threading", "subprocess"}
CLOCKS = {"now", "utcnow", "today"}


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Every imported name in full: `from a import b` is `a.b`; a relative import keeps its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """The room of a full name; what is not in a room is the package itself (its version)."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else "__init__"


def direction_faults(module: str, tree: ast.Module) -> Iterator[str]:
    own = room_of(module)
    for name in imported_names(tree):
        if name.startswith("."):
            yield f"{module} imports {name} relatively"
        elif name.split(".")[0] == "exporter":
            other = room_of(name)
            if other != own and LEVEL[other] <= LEVEL[own]:
                yield f"{module} imports {name}: {other} is not below {own}"


def inner_faults(module: str, tree: ast.Module) -> Iterator[str]:
    for room, levels in INNER.items():
        level = {part: number for number, parts in enumerate(levels) for part in parts}
        own = part_of(module, room)
        if own is None:
            continue
        if own not in level:
            yield f"{module} is in no level of {room}"
            continue
        for name in imported_names(tree):
            other = part_of(name, room)
            if other is not None and other != own and level.get(other, -1) <= level[own]:
                yield f"{module} imports {name}: {other} is not below {own}"


def part_of(name: str, room: str) -> str | None:
    """The part of the room that a full name is in; None outside the room and for the room itself."""
    return name[len(room) + 1 :].split(".")[0] if name.startswith(f"{room}.") else None


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def execution_faults(module: str, tree: ast.Module) -> Iterator[str]:
    if any(is_in(module, room) for room in MAY_EXECUTE):
        return
    for name in imported_names(tree):
        if is_in(name, EXECUTING):
            yield f"{module} imports {name}: only init and rollback execute"


def purity_faults(module: str, tree: ast.Module) -> Iterator[str]:
    if not any(is_in(module, pure) for pure in PURE):
        return
    for name in imported_names(tree):
        top, *rest = name.split(".")
        if top in IMPURE_MODULES or (top == "psycopg" and rest[:1] != ["sql"]):
            yield f"{module} is pure and imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                yield f"{module} is pure and reads a clock in line {node.lineno}"
            if isinstance(called, ast.Name) and called.id == "open":
                yield f"{module} is pure and opens a file in line {node.lineno}"


def faults(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    return [
        *direction_faults(module, tree),
        *inner_faults(module, tree),
        *execution_faults(module, tree),
        *purity_faults(module, tree),
    ]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def test_every_module_stands_in_a_room_of_the_plan() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}

    assert rooms <= set(LEVEL)


def test_imports_go_down_and_pure_rooms_stay_pure() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    found = [fault for path in modules for fault in faults(module_name(path), path.read_text())]

    assert len(modules) > 10
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("exporter.postgres.target", "from exporter.metrics.service import run"),
        ("exporter.postgres.target", "def connect():\n    import exporter.cli"),
        ("exporter.metrics.collect.database", "from exporter.migrate import plan"),
        ("exporter.metrics.collect.database", "from exporter.metrics.web.app import make_app"),
        ("exporter.metrics.exposition.render", "from exporter.metrics.collect.context import Limit"),
        ("exporter.migrate.plan.steps", "from exporter.metrics.service import run"),
        ("exporter.terminal.display", "from exporter.migrate.execute.executor import Executor"),
        ("exporter.cli.commands.status", "from exporter.migrate import execute"),
        ("exporter.migrate.observe.indexes", "from exporter.migrate.preflight import check_plan"),
        ("exporter.migrate.verify.criteria", "from exporter.migrate import assessment"),
        ("exporter.migrate.execute.executor", "from exporter.migrate.init import initialise"),
        ("exporter.migrate.utils", "import json"),
        ("exporter.model", "from exporter.errors import ExporterError"),
        ("exporter.evidence.measure.plans", "from exporter import cli"),
        ("exporter.evidence.measure.plans", "from .verdict import Verdict"),
        ("exporter.evidence.verdict", "import time"),
        ("exporter.migrate.plan.steps", "from os import environ"),
        ("exporter.migrate.plan.steps", "import psycopg"),
        ("exporter.migrate.report", "from psycopg import Connection"),
        ("exporter.metrics.exposition.render", "import datetime\nat = datetime.datetime.now(datetime.UTC)"),
        ("exporter.catalogue.tables", "text = open('metrics.txt').read()"),
    ],
)
def test_a_planted_fault_is_found(module: str, source: str) -> None:
    assert len(faults(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("exporter.migrate.rollback.run", "from exporter.migrate.execute.executor import Executor"),
        ("exporter.migrate.assessment", "from exporter.migrate.observe.indexes import observe"),
        ("exporter.cli", "from exporter import __version__\nfrom exporter.demo.run import run_demo"),
        ("exporter.migrate.plan.steps", "from psycopg import sql\nfrom psycopg.sql import SQL"),
        ("exporter.metrics.collect.target", "import time\nfrom exporter.metrics.exposition import render"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, source: str) -> None:
    assert faults(module, source) == []


@pytest.mark.parametrize(
    "entry",
    [
        "exporter.cli.commands.import_sql",
        "exporter.cli.commands.plan",
        "exporter.cli.commands.preflight",
        "exporter.cli.commands.status",
        "exporter.cli.commands.verify",
        "exporter.migrate.status",
        "exporter.migrate.readiness",
        "exporter.migrate.verification",
        "exporter.migrate.assessment",
        "exporter.migrate.import_sql",
        "exporter.migrate.plan.psql_script",
        "exporter.migrate.report",
    ],
)
def test_a_command_that_only_reads_loads_nothing_that_executes(entry: str) -> None:
    program = f"import sys, {entry}; print(*(name for name in sys.modules if {EXECUTING!r} in name))"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []
