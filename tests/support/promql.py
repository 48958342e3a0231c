"""What a PromQL expression asks for and what it returns, from its syntax tree."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import promql_parser as promql

SET_OPERATORS = frozenset({"and", "or", "unless"})
COUNTER_FUNCTIONS = frozenset({"rate", "irate", "increase"})

# A duration that no query writes by itself, so that it is known again in the tree.
RATE_INTERVAL = timedelta(seconds=8_869_987)

MetricLabels = Callable[[str], frozenset[str]]


def parse(expr: str) -> promql.Expr:
    """The tree of an expression, Grafana's rate interval in it replaced by RATE_INTERVAL.

    Template variables stand inside strings and need no replacing. Raises: ValueError, where it is no PromQL.
    """
    seconds = int(RATE_INTERVAL.total_seconds())
    return promql.parse(expr.replace("$__rate_interval", f"{seconds}s"))


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector of an expression: metrics, matchers as text, and the range and function around it."""

    names: tuple[str, ...]
    matchers: frozenset[str]
    range: timedelta | None
    function: str | None


def selectors(expr: promql.Expr) -> list[Selector]:
    """All selectors of a tree."""
    return list(_selectors(expr, function=None))


def _selectors(expr: promql.Expr, function: str | None) -> Iterator[Selector]:
    match expr:
        case promql.VectorSelector():
            yield _selector(expr, None, None)
        case promql.MatrixSelector():
            yield _selector(expr.vector_selector, expr.range, function)
        case promql.Call():
            for argument in expr.args:
                yield from _selectors(argument, expr.func.name)
        case _:
            for child in _children(expr):
                yield from _selectors(child, None)


def _selector(vector: promql.VectorSelector, range_: timedelta | None, function: str | None) -> Selector:
    matchers = frozenset(str(matcher) for matcher in vector.matchers.matchers)
    return Selector(_names(vector), matchers, range_, function)


def _names(vector: promql.VectorSelector) -> tuple[str, ...]:
    if vector.name is not None:
        return (vector.name,)
    for matcher in vector.matchers.matchers:
        if matcher.name == "__name__":
            # Alternatives of whole names are the only pattern in use, and the only one read here.
            names = tuple(matcher.value.split("|"))
            assert all(re.fullmatch(r"[A-Za-z0-9_:]+", name) for name in names), matcher.value
            return names
    raise AssertionError(f"{vector} names no metric")


def _children(expr: promql.Expr) -> Sequence[promql.Expr]:
    match expr:
        case promql.AggregateExpr():
            return (expr.expr, expr.param) if isinstance(expr.param, promql.Expr) else (expr.expr,)
        case promql.BinaryExpr():
            return expr.lhs, expr.rhs
        case promql.UnaryExpr() | promql.ParenExpr() | promql.SubqueryExpr():
            return (expr.expr,)
        case promql.NumberLiteral() | promql.StringLiteral():
            return ()
        case _:
            raise AssertionError(f"unknown node {type(expr).__name__}")


def output_labels(expr: promql.Expr, labels_of: MetricLabels) -> frozenset[str] | None:
    """The labels of what an expression returns, None for a scalar.

    `labels_of` gives the labels of a metric. Raises: ValueError, where the expression matches, groups or
    joins by a label that is not there.
    """
    match expr:
        case promql.VectorSelector():
            return _selected_labels(expr, labels_of)
        case promql.MatrixSelector():
            return _selected_labels(expr.vector_selector, labels_of)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return output_labels(expr.expr, labels_of)
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.Call():
            return _call_labels(expr, labels_of)
        case promql.AggregateExpr():
            return _aggregate_labels(expr, labels_of)
        case promql.BinaryExpr():
            return _binary_labels(expr, labels_of)
        case _:
            raise AssertionError(f"unknown node {type(expr).__name__}")


def _require(wanted: Sequence[str], given: frozenset[str], where: promql.Expr) -> None:
    missing = sorted(set(wanted) - given)
    if missing:
        raise ValueError(f"no label {', '.join(missing)} in {where.prettify()}")


def _selected_labels(vector: promql.VectorSelector, labels_of: MetricLabels) -> frozenset[str]:
    labels = frozenset.intersection(*(labels_of(name) for name in _names(vector)))
    wanted = [m.name for m in vector.matchers.matchers if m.name != "__name__"]
    _require(wanted, labels, vector)
    return labels


def _call_labels(call: promql.Call, labels_of: MetricLabels) -> frozenset[str] | None:
    if call.func.name == "label_replace":
        source = output_labels(call.args[0], labels_of)
        assert source is not None
        _require([call.args[3].val], source, call)
        return source | {call.args[1].val}
    arguments = [output_labels(argument, labels_of) for argument in call.args]
    vectors = [labels for labels in arguments if labels is not None]
    return vectors[0] if vectors else None


def _aggregate_labels(expr: promql.AggregateExpr, labels_of: MetricLabels) -> frozenset[str]:
    inner = output_labels(expr.expr, labels_of)
    assert inner is not None
    keeps_labels = str(expr.op) in ("topk", "bottomk")
    if expr.modifier is None:
        return inner if keeps_labels else frozenset()
    _require(expr.modifier.labels, inner, expr.expr)
    if keeps_labels:
        return inner
    if expr.modifier.type == promql.AggModifierType.By:
        return frozenset(expr.modifier.labels)
    return inner - set(expr.modifier.labels)


def _binary_labels(expr: promql.BinaryExpr, labels_of: MetricLabels) -> frozenset[str] | None:
    left, right = output_labels(expr.lhs, labels_of), output_labels(expr.rhs, labels_of)
    if left is None or right is None:
        return right if left is None else left
    modifier = expr.modifier
    if modifier is None or modifier.matching is None:
        if str(expr.op) == "or":
            return left | right
        if left != right:
            raise ValueError(f"the sides of {expr.prettify()} never match: {sorted(left ^ right)}")
        return left
    _require(modifier.matching.labels, left, expr.lhs)
    _require(modifier.matching.labels, right, expr.rhs)
    if str(expr.op) in SET_OPERATORS:
        return left | right if str(expr.op) == "or" else left
    if modifier.card == promql.VectorMatchCardinality.ManyToOne:
        _require(modifier.group_labels or (), right, expr.rhs)
        return left | set(modifier.group_labels or ())
    if modifier.card == promql.VectorMatchCardinality.OneToMany:
        _require(modifier.group_labels or (), left, expr.lhs)
        return right | set(modifier.group_labels or ())
    return frozenset(modifier.matching.labels)
