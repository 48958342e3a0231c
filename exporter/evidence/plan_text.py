"""A plan in the text form of EXPLAIN, made from its JSON form, without any constant of the query. Pure.

The conditions of a plan show the parameters that it was made for, which are values of rows: every constant
is written as `?`. Output columns, which VERBOSE adds, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from exporter.model import quote_identifier
from exporter.parsing.text import without_constants
from exporter.text.characters import printable

Node = Mapping[str, object]

_ARROW = "->  "
_STEP_COLUMNS = 6
# In the order in which EXPLAIN writes them.
_DETAILS = (
    "Sort Key",
    "Presorted Key",
    "Group Key",
    "Cache Key",
    "Index Cond",
    "Order By",
    "Recheck Cond",
    "TID Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "One-Time Filter",
    "Filter",
    "Workers Planned",
    "Subplans Removed",
)
_JOINS = ("Nested Loop", "Hash Join", "Merge Join")
_STRATEGIES = {"Sorted": "Group", "Hashed": "Hash", "Mixed": "Mixed"}


def plan_text(plan: Node) -> str:
    """The plan below and including one node, a line each for nodes and conditions."""
    return "\n".join(_lines(plan, 0, is_root=True))


def _lines(node: Node, margin: int, *, is_root: bool = False) -> Iterator[str]:
    subplan = node.get("Subplan Name")
    if subplan is not None:
        yield f"{' ' * margin}{printable(_text(subplan))}"
        margin += 2
    lead = " " * margin if is_root else f"{' ' * margin}{_ARROW}"
    yield f"{lead}{_title(node)}{_costs(node)}"
    inner = margin + (2 if is_root else _STEP_COLUMNS)
    for name in _DETAILS:
        if name in node:
            yield f"{' ' * inner}{name}: {_detail(node[name])}"
    children = node.get("Plans")
    if isinstance(children, Sequence):
        for child in children:
            if isinstance(child, Mapping):
                yield from _lines(child, inner)


def _title(node: Node) -> str:
    kind = _kind(node)
    if node.get("Scan Direction") == "Backward":
        kind += " Backward"
    index, relation = node.get("Index Name"), node.get("Relation Name")
    if index is not None:
        kind += f" using {_name(index)}" if relation is not None else f" on {_name(index)}"
    if relation is not None:
        schema, alias = node.get("Schema"), node.get("Alias")
        kind += f" on {_name(relation) if schema is None else f'{_name(schema)}.{_name(relation)}'}"
        kind += f" {_name(alias)}" if alias not in (None, relation) else ""
    for key in ("Function Name", "CTE Name"):
        if key in node:
            kind += f" on {_name(node[key])}"
    return kind


def _kind(node: Node) -> str:
    kind = _text(node.get("Node Type"))
    if kind == "Aggregate":
        kind = f"{_STRATEGIES.get(_text(node.get('Strategy')), '')}Aggregate"
        partial = _text(node.get("Partial Mode"))
        if partial in ("Partial", "Finalize"):
            kind = f"{partial} {kind}"
    join = _text(node.get("Join Type"))
    if kind in _JOINS and join not in ("", "Inner"):
        kind = f"{kind.removesuffix(' Join')} {join} Join"
    return f"Parallel {kind}" if node.get("Parallel Aware") is True else kind


def _costs(node: Node) -> str:
    startup, total, rows = node.get("Startup Cost"), node.get("Total Cost"), node.get("Plan Rows")
    if not isinstance(startup, (int, float)) or not isinstance(total, (int, float)):
        return ""
    return f"  (cost={startup:.2f}..{total:.2f} rows={rows})"


def _detail(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(without_constants(_text(one)) for one in value)
    return str(value) if isinstance(value, int) else without_constants(_text(value))


def _name(value: object) -> str:
    """A name as SQL writes it, on one line."""
    return printable(quote_identifier(_text(value)))


def _text(value: object) -> str:
    return "" if value is None else str(value)
