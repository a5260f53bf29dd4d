"""What is mutated, and how: the operators of cosmic-ray that change mathematics."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

# Arithmetic, comparison, sign, logic, numbers, loops. Left out: bit shifts put for arithmetic (they end in an
# error on floating-point numbers, and count as a success that proves nothing), decorators, and exceptions.
_OPERATORS = re.compile(
    r"core/(NumberReplacer|AddNot|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd"
    r"|ReplaceBreakWithContinue|ReplaceContinueWithBreak|ZeroIterationForLoop"
    r"|ReplaceBinaryOperator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(Add|Sub|Mul|Div|Pow)"
    r"|ReplaceBinaryOperator_(BitOr_BitAnd|BitAnd_BitOr)"
    r"|ReplaceComparisonOperator_(Eq|NotEq|Lt|LtE|Gt|GtE)_(Eq|NotEq|Lt|LtE|Gt|GtE)"
    r"|ReplaceComparisonOperator_(Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_(USub_UAdd|Delete_Not|Delete_Invert))"
)


@dataclass(frozen=True)
class Mutant:
    """One change of one place: ``operator`` applied to its ``occurrence``-th place in ``module``.

    The ``key`` names function, line and place among equal ones, not the line's number, so that it stays
    valid when the code around it changes.
    """

    module: str
    function: str
    line: str
    number: int
    operator: str
    occurrence: int
    ordinal: int

    @property
    def key(self) -> str:
        """What identifies the mutant in the record of a run."""
        return f"{self.module} | {self.function} | {self.line} | {self.operator} | {self.ordinal}"

    def place(self, seed: int) -> str:
        """Return the rank in the random order of ``seed``: a larger sample contains the smaller one."""
        return hashlib.sha256(f"{seed} {self.key}".encode()).hexdigest()

    def apply(self, source: str) -> tuple[str, str]:
        """Return the mutated source, and what the mutated line has become."""
        changed = mutate_code(source, _operator(self.operator), self.occurrence)
        if changed is None:
            raise LookupError(f"{self.key}: the place is not in the source any more")
        before, after = source.splitlines(), changed.splitlines()
        return changed, next(new for old, new in zip(before, after, strict=False) if old != new).strip()


def _operator(name: str) -> Operator:
    return get_operator(name)()


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module that compiles and is not in a message, annotation or raise statement."""
    lines, outside = source.splitlines(), _without_mathematics(source)
    tree = parso.parse(source)
    seen: dict[tuple[str, ...], int] = {}
    for name in sorted(filter(_OPERATORS.fullmatch, operator_names())):
        operator = _operator(name)
        places = ((node, place) for node in ast_nodes(tree) for place in operator.mutation_positions(node))
        for occurrence, (node, (start, _)) in enumerate(places):
            # Stars and slashes that separate parameters are no operators.
            if node.parent is not None and node.parent.type in ("parameters", "lambdef"):
                continue
            if any(first <= start < last for first, last in outside):
                continue
            identity = (_function(node), lines[start[0] - 1].strip(), name)
            seen[identity] = seen.get(identity, -1) + 1
            function, line, _ = identity
            yield Mutant(module, function, line, start[0], name, occurrence, seen[identity])


def _function(node: parso.tree.NodeOrLeaf) -> str:
    """Return the dotted name of the definition around a node, '' at the module's level."""
    names, scope = [], node.parent
    while scope is not None:
        if scope.type in ("funcdef", "classdef"):
            names.append(scope.name.value)
        scope = scope.parent
    return ".".join(reversed(names))


def _without_mathematics(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the spans (line, column) of annotations, messages, raise statements and warnings."""
    nodes: list[ast.AST | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes.append(node.returns)
        elif isinstance(node, ast.arg | ast.AnnAssign):
            nodes.append(node.annotation)
        elif isinstance(node, ast.Raise | ast.JoinedStr):
            nodes.append(node)
    lines = [line.encode() for line in source.splitlines()]

    def column(line: int, offset: int) -> tuple[int, int]:
        # ast counts bytes, cosmic-ray characters.
        return line, len(lines[line - 1][:offset].decode())

    return [
        (column(node.lineno, node.col_offset), column(node.end_lineno, node.end_col_offset))
        for node in nodes
        if node is not None
    ]


def modules(root: Path, patterns: tuple[str, ...]) -> list[str]:
    """Return the modules that the glob patterns name, relative to ``root``, in alphabetical order."""
    return sorted(str(path.relative_to(root)) for pattern in patterns for path in root.glob(pattern))
