"""Tell the code that states an equation from the code that prepares the example.

A check compares two sides. What feeds *one* of them states something: were it wrong, the sides would
part. What feeds both is the example on which they are compared, and so is a number, a list or an array of
numbers that is only given a name; what feeds neither is machinery. So the statement is found by following
the names of each side back through the assignments above the check.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ntkbook.verify.source import KINDS

# How many arguments after the label are compared; `definition` takes its example after them.
_COMPARED = {"identity": 2, "close": 2, "bound": 2, "rate": 3, "monte_carlo": 2, "definition": 2}
_NAMES = {
    "identity": ("lhs", "rhs"),
    "close": ("actual", "expected"),
    "bound": ("smaller", "larger"),
    "rate": ("x", "y", "exponent"),
    "monte_carlo": ("samples", "expected"),
    "definition": ("code", "formula"),
}


@dataclass(frozen=True, eq=False)
class Unit:
    """A piece of code that gives names their values.

    Attributes
    ----------
    node : ast.AST
        An expression, a function or an augmented assignment.
    gives, needs : frozenset of str
        Names whose values it sets or changes, and names that it reads.
    stated : bool
        False for what a loop runs over: how often something is repeated is no part of a formula.
    """

    node: ast.AST
    gives: frozenset[str]
    needs: frozenset[str]
    stated: bool = True


@dataclass(frozen=True, eq=False)
class Comparison:
    """One call of ``verify.<kind>``: its label and the expressions that it compares."""

    label: str
    kind: str
    call: ast.Call
    sides: tuple[ast.expr, ...]
    example: tuple[ast.expr, ...]


def comparisons(tree: ast.AST) -> list[Comparison]:
    """Return the checks in a piece of code, in order."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="verify"), attr=kind)) if kind in KINDS:
                found.append(_comparison(node, kind))
    return sorted(found, key=lambda c: (c.call.lineno, c.call.col_offset))


def _comparison(call: ast.Call, kind: str) -> Comparison:
    label = ast.literal_eval(call.args[0])
    values, how = call.args[1:], kind
    if kind == "theorem":
        how = values[1].attr if isinstance(values[1], ast.Attribute) else "close"
        values = values[2:]
    count = _COMPARED[how]
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    sides = [*values[:count], *(named[name] for name in _NAMES[how] if name in named)]
    return Comparison(label, how, call, tuple(sides), tuple(values[count:]))


def units(statements: Iterable[ast.stmt], control: frozenset[str] = frozenset()) -> Iterator[Unit]:
    """Take statements apart into units; ``control`` are the names that decide whether they run."""
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.ClassDef():
                yield Unit(statement, frozenset({statement.name}), free(statement))
            case ast.For():
                yield Unit(statement.iter, _stored(statement.target), free(statement.iter) | control, False)
                yield from units([*statement.body, *statement.orelse], control | free(statement.iter))
            case ast.While() | ast.If():
                yield from units([*statement.body, *statement.orelse], control | free(statement.test))
            case ast.With():
                for item in statement.items:
                    stored = _stored(item.optional_vars) if item.optional_vars else frozenset()
                    yield Unit(item.context_expr, stored, free(item.context_expr) | control, False)
                within = frozenset().union(*(free(item.context_expr) for item in statement.items))
                yield from units(statement.body, control | within)
            case ast.Assign():
                for target, value in _pairs(statement.targets, statement.value):
                    yield Unit(value, _stored(target), free(value) | _reads(target) | control)
            case ast.AnnAssign(value=ast.expr() as value):
                yield Unit(value, _stored(statement.target), free(value) | control)
            case ast.AugAssign():
                name = _stored(statement.target)
                yield Unit(statement, name, free(statement) | name | control)
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                # `results.append(x)` changes `results`.
                base = _base(method)
                yield Unit(statement.value, base, free(statement.value) | control)
            case ast.Import() | ast.ImportFrom():
                names = frozenset((a.asname or a.name).split(".")[0] for a in statement.names)
                yield Unit(statement, names, frozenset(), False)


def reached(names: frozenset[str], pieces: list[Unit]) -> list[Unit]:
    """Return the units from which the values of some names derive, in order."""
    known, found = set(names), set()
    growing = True
    while growing:
        growing = False
        for unit in pieces:
            if unit not in found and unit.gives & known:
                found.add(unit)
                known |= unit.needs
                growing = True
    return [unit for unit in pieces if unit in found]


def statement_of(comparison: Comparison, pieces: list[Unit]) -> list[Unit]:
    """Return the units that feed exactly one side of a comparison."""
    reaches = [reached(free(side), pieces) for side in comparison.sides]
    example = [unit for value in comparison.example for unit in reached(free(value), pieces)]
    return [
        unit
        for unit in pieces
        if unit.stated
        and not _is_example(unit.node)
        and unit not in example
        and sum(unit in reach for reach in reaches) == 1
    ]


def _is_example(node: ast.AST) -> bool:
    """Tell whether a value is written down without a formula: numbers, lists and arrays of numbers."""
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp():
            return _is_example(node.operand)
        case ast.List() | ast.Tuple():
            return all(map(_is_example, node.elts))
        case ast.Starred():
            return _is_example(node.value)
        case ast.Call(func=ast.Attribute(attr="array" | "tensor") | ast.Name(id="range")):
            return all(map(_is_example, node.args))
    return False


def free(node: Any) -> frozenset[str]:
    """Return the names that a piece of code reads from outside itself."""
    match node:
        case ast.Name(ctx=ast.Load()):
            return frozenset({node.id})
        case ast.FunctionDef() | ast.Lambda():
            signature = node.args
            own = {a.arg for a in [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]}
            own |= {a.arg for a in (signature.vararg, signature.kwarg) if a}
            body = node.body if isinstance(node.body, list) else [node.body]
            inside = frozenset().union(*map(free, body)) - own - _stored(*body)
            defaults = [*signature.defaults, *(d for d in signature.kw_defaults if d)]
            return inside.union(*map(free, defaults))
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            inside = frozenset().union(*map(free, ast.iter_child_nodes(node)))
            return inside - _stored(*(generator.target for generator in node.generators))
    return frozenset().union(*map(free, ast.iter_child_nodes(node)))


def _pairs(targets: list[ast.expr], value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    # `a, b = f(x), g(y)` is two assignments.
    for target in targets:
        if (
            isinstance(target, ast.Tuple)
            and isinstance(value, ast.Tuple)
            and len(target.elts) == len(value.elts)
            and not any(isinstance(e, ast.Starred) for e in [*target.elts, *value.elts])
        ):
            yield from zip(target.elts, value.elts, strict=True)
        else:
            yield target, value


def _stored(*nodes: ast.AST) -> frozenset[str]:
    """Return the names that are assigned, also in part (``x[0] = ...``), outside inner functions."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
            case ast.Subscript(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
                found |= _base(node)
            case ast.FunctionDef():
                found.add(node.name)
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                pass
            case _:
                found |= _stored(*ast.iter_child_nodes(node))
    return frozenset(found)


def _reads(target: ast.expr) -> frozenset[str]:
    return frozenset() if isinstance(target, ast.Name) else free(target)


def _base(node: ast.expr) -> frozenset[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return frozenset({node.id}) if isinstance(node, ast.Name) else frozenset()
