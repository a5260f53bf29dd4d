"""The changes: a sign, a coefficient, an exponent, an index or a transpose, at one place of the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# What only makes an example, shapes an array or calls a solver: its numbers are sizes, grids and starts.
_OTHER_CALLS = """
rand randn rand_like randn_like randint randperm standard_normal normal uniform choice default_rng
manual_seed seed Generator zeros ones eye empty full zeros_like ones_like linspace logspace geomspace
meshgrid reshape view expand unsqueeze squeeze stack cat concatenate flatten chunk split repeat tile
round print isinstance len symbols Symbol Function IndexedBase mlp Dense Conv Sequential minimize
minimize_scalar nsolve quad solve_ivp leggauss hermgauss subplots brentq clamp clip Linear Conv2d topk
lstsq pinv triu_indices tril_indices evalf N set enumerate
"""
_NO_FORMULA = frozenset(_OTHER_CALLS.split())
_JOINING = ("stack", "cat", "concatenate")
_REDUCING = "sum mean prod cumsum cumprod amax amin max min diff std var logsumexp softmax"
_REDUCTIONS = frozenset(_REDUCING.split())
_TRANSPOSES = frozenset(("T", "mT", "H", "mH"))
_TRANSPOSING = frozenset(("t", "transpose", "permute", "adjoint", "swapaxes", "movedim"))
# Keywords whose numbers say how something is computed, not what.
_OPTIONS = """
rtol atol tol tolerance wrong scale bias confidence options bounds method seed generator dtype device
xatol gtol maxiter jac limit epsabs epsrel cite size n n_samples chunk batch_size keepdim keepdims
positive real integer key default out indexing strict ddof rcond x0 t_eval reduction label color
"""
_MACHINERY = frozenset(_OPTIONS.split())
_INDEX_NAMES = frozenset("ijklmnpqrs")
# Smaller numbers are tolerances and step sizes of differences, larger ones counts.
_SMALLEST, _LARGEST = 1e-3, 1000
_WIDTH = 72


@dataclass(frozen=True)
class Place:
    """Where a node stands in its parent."""

    parent: Any
    field: str
    index: int | None = None

    def put(self, node: Any) -> None:
        """Replace the node at this place."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change.

    Attributes
    ----------
    operator : str
        ``sign``, ``coefficient``, ``exponent``, ``index`` or ``transpose``.
    place : Place
    node : ast.AST
        What is put there.
    before, after : str
        The expression around the place, as it was and as it becomes.
    """

    operator: str
    place: Place
    node: ast.AST
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    """A change before its surroundings are known; ``shown`` is how it reads, where that differs."""

    operator: str
    place: Place
    old: ast.AST
    new: ast.AST
    shown: ast.AST


def mutants(root: Any, place: Place, parents: dict[ast.AST, ast.AST], side: bool = False) -> list[Mutant]:
    """Return the changes to one piece of code; of a whole ``side`` also the sign."""
    changes = list(_walk(root, place, "value"))
    if side:
        changes += _negated(root, place)
    made = []
    for change in changes:
        around = _surroundings(change.place.parent, change.old, parents)
        if around is change.old:
            before, after = ast.unparse(change.old), ast.unparse(change.shown)
        else:
            before = ast.unparse(around)
            change.place.put(change.shown)
            after = ast.unparse(around)
            change.place.put(change.old)
        if before != after:
            made.append(Mutant(change.operator, change.place, change.new, before, after))
    return made


def swapped(left: Any, right: Any) -> Any:
    """Return ``right @ left``; of two vectors, where the order says nothing, raise `NoChange`."""
    if getattr(left, "ndim", 2) == 1 and getattr(right, "ndim", 2) == 1:
        raise NoChange
    return right @ left


def untransposed(value: Any) -> Any:
    """Return a matrix for its transpose; raise `NoChange` where there is one axis only."""
    if getattr(value, "ndim", 2) < 2:
        raise NoChange
    return value


class NoChange(Exception):
    """Raised while a mutated cell runs: what was changed has no order."""


def _walk(node: Any, place: Place, role: str) -> Iterator[Change]:
    match node:
        case ast.Constant():
            yield from _number(node, place, role)
        case ast.UnaryOp(op=ast.USub()):
            if role == "index" and isinstance(node.operand, ast.Constant):
                yield _change("index", place, node, ast.UnaryOp(ast.USub(), _plus(node.operand, 1)))
                return
            if role == "axis":
                yield _change("index", place, node, ast.Constant(0))
                return
            yield _change("sign", place, node, node.operand)
            yield from _walk(node.operand, Place(node, "operand"), role)
        case ast.BinOp():
            yield from _binary(node, place)
            yield from _walk(node.left, Place(node, "left"), "index" if role == "index" else "value")
            inner = "exponent" if isinstance(node.op, ast.Pow) else role
            yield from _walk(node.right, Place(node, "right"), inner)
        case ast.AugAssign():
            flipped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
            other = flipped.get(type(node.op))
            if other is not None:
                name = "sign" if isinstance(node.op, (ast.Add, ast.Sub)) else "coefficient"
                yield _change(name, Place(node, "op"), node.op, other())
            yield from _walk(node.value, Place(node, "value"), "value")
        case ast.Attribute():
            if node.attr in _TRANSPOSES:
                yield _removed("transpose", place, node, node.value)
            yield from _walk(node.value, Place(node, "value"), "value")
        case ast.Call():
            yield from _call(node, place)
        case ast.Subscript():
            yield from _subscript(node, place)
        case ast.keyword():
            if node.arg in ("dim", "axis"):
                yield from _walk(node.value, Place(node, "value"), "axis")
            elif node.arg not in _MACHINERY:
                yield from _walk(node.value, Place(node, "value"), "value")
        case ast.JoinedStr() | ast.Compare() | ast.Assert():
            return
        case ast.comprehension(target=ast.Name(id="_")):
            return  # how often something is repeated
        case ast.Assign() | ast.AnnAssign() if node.value is not None:
            yield from _walk(node.value, Place(node, "value"), "value")
        case ast.FunctionDef() | ast.Lambda():
            yield from _each(node.args.defaults, node.args, "defaults")
            if isinstance(node, ast.Lambda):
                yield from _walk(node.body, Place(node, "body"), "value")
            else:
                yield from _each(node.body, node, "body")
        case ast.For():
            yield from _each(node.body, node, "body")
        case _:
            for field, value in ast.iter_fields(node):
                if isinstance(value, list):
                    yield from _each(value, node, field)
                elif isinstance(value, ast.AST):
                    yield from _walk(value, Place(node, field), "value")


def _each(nodes: list[Any], parent: Any, field: str) -> Iterator[Change]:
    for i, node in enumerate(nodes):
        if isinstance(node, ast.AST):
            yield from _walk(node, Place(parent, field, i), "value")


def _number(node: ast.Constant, place: Place, role: str) -> Iterator[Change]:
    value = node.value
    if isinstance(value, (bool, str, bytes, complex)) or not isinstance(value, (int, float)):
        return
    if role == "index":
        yield _change("index", place, node, ast.Constant(value - 1 if value > 0 else value + 1))
    elif role == "axis":
        yield _change("index", place, node, ast.Constant(0 if value else 1))
    elif role == "exponent":
        yield _change("exponent", place, node, _plus(node, 1))
    elif value == 0 or _SMALLEST < abs(value) < _LARGEST:
        new = 2 * value if isinstance(value, float) and value != 0 else value + 1
        yield _change("coefficient", place, node, ast.Constant(new))


def _binary(node: ast.BinOp, place: Place) -> Iterator[Change]:
    left, right = node.left, node.right
    if any(isinstance(e, (ast.List, ast.JoinedStr)) or _is_text(e) for e in (left, right)):
        return
    plain = isinstance(left, ast.Constant) or isinstance(right, ast.Constant)
    match node.op:
        case ast.Add():
            yield _change("sign", place, node, ast.BinOp(left, ast.Sub(), right))
        case ast.Sub():
            yield _change("sign", place, node, ast.BinOp(left, ast.Add(), right))
        case ast.Mult():
            if not isinstance(left, ast.Constant):
                yield _change("coefficient", place, node, ast.BinOp(left, ast.Div(), right))
            if not plain:
                yield _change("coefficient", place, node, left)
        case ast.Div():
            yield _change("coefficient", place, node, ast.BinOp(left, ast.Mult(), right))
        case ast.MatMult():
            shown = ast.BinOp(right, ast.MatMult(), left)
            called = ast.Call(ast.Name("_swapped", ast.Load()), [left, right], [])
            yield Change("transpose", place, node, called, shown)
        case ast.Pow() if not isinstance(right, ast.Constant) and not _is_minus_number(right):
            raised = ast.BinOp(right, ast.Add(), ast.Constant(1))
            yield _change("exponent", place, node, ast.BinOp(left, ast.Pow(), raised))


def _call(node: ast.Call, place: Place) -> Iterator[Change]:
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    # `x.sqrt()` or `torch.sqrt(x)`: what the function is applied to.
    inner = node.args[0] if node.args else owner
    if name in ("sqrt", "square") and inner is not None:
        yield _change("exponent", place, node, inner)
    if owner is not None:
        if name in _TRANSPOSING:
            yield _removed("transpose", place, node, owner)
        if name in ("sum", "mean"):
            other = ast.Attribute(owner, "mean" if name == "sum" else "sum", ast.Load())
            yield _change("coefficient", Place(node, "func"), node.func, other)
        yield from _walk(owner, Place(node.func, "value"), "value")
    if name == "einsum":
        for swap in _index_swaps(node.args[0]):
            yield _change("index", Place(node, "args", 0), node.args[0], ast.Constant(swap))
    if name in _TRANSPOSING:
        return
    for i, argument in enumerate(node.args):
        bare = isinstance(argument, (ast.Constant, ast.UnaryOp, ast.List, ast.Tuple))
        if name in _NO_FORMULA and (bare or name in ("mlp", "print")):
            if name in _JOINING and i == 0:
                yield from _walk(argument, Place(node, "args", i), "value")
            continue
        axis = name in _REDUCTIONS and isinstance(argument, (ast.Constant, ast.UnaryOp, ast.Tuple))
        yield from _walk(argument, Place(node, "args", i), "axis" if axis else "value")
    if name not in _NO_FORMULA:
        yield from _each(node.keywords, node, "keywords")


def _subscript(node: ast.Subscript, place: Place) -> Iterator[Change]:
    yield from _walk(node.value, Place(node, "value"), "value")
    match node.slice:
        case ast.Tuple(elts=[ast.Name(id=first), ast.Name(id=second)]) if first != second:
            turned = ast.Tuple(node.slice.elts[::-1], ast.Load())
            yield _change("index", Place(node, "slice"), node.slice, turned)
        case ast.Name(id=name) if name in _INDEX_NAMES:
            lower = ast.BinOp(node.slice, ast.Sub(), ast.Constant(1))
            yield _change("index", Place(node, "slice"), node.slice, lower)
        case ast.Tuple():
            for i, part in enumerate(node.slice.elts):
                yield from _slice(part, Place(node.slice, "elts", i))
        case _:
            yield from _slice(node.slice, Place(node, "slice"))


def _slice(node: ast.expr, place: Place) -> Iterator[Change]:
    # The bounds of a slice decide a shape; the numbers of single entries are indices.
    if isinstance(node, ast.Slice):
        for field in ("lower", "upper"):
            bound = getattr(node, field)
            if bound is not None:
                yield from _walk(bound, Place(node, field), "index")
    elif not isinstance(node, ast.Name):
        yield from _walk(node, place, "index")


def _negated(root: Any, place: Place) -> Iterator[Change]:
    match root:
        case ast.List() | ast.Tuple():
            if root.elts:
                yield from _negated(root.elts[0], Place(root, "elts", 0))
        case ast.Lambda() | ast.UnaryOp() | ast.Starred():
            return
        case ast.Constant(value=0):
            return
        case ast.Call() if ast.unparse(root.func).rsplit(".")[-1].startswith("zeros"):
            return
        case _:
            yield _change("sign", place, root, ast.UnaryOp(ast.USub(), root))


def _change(operator: str, place: Place, old: Any, new: Any) -> Change:
    return Change(operator, place, old, new, new)


def _removed(operator: str, place: Place, old: Any, inner: Any) -> Change:
    return Change(operator, place, old, ast.Call(ast.Name("_untransposed", ast.Load()), [inner], []), inner)


def _plus(node: ast.Constant, step: int) -> ast.Constant:
    return ast.Constant(node.value + step)  # type: ignore[operator]


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_minus_number(node: Any) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)


def _index_swaps(pattern: ast.expr) -> Iterator[str]:
    """Exchange the first two indices of each operand and of the result of an einsum."""
    if not _is_text(pattern):
        return
    parts = ast.literal_eval(pattern).replace("->", ",>").split(",")
    for i, part in enumerate(parts):
        mark, letters = (">", part[1:]) if part.startswith(">") else ("", part)
        if len(letters) >= 2 and letters[0] != letters[1] and letters.isalpha():
            turned = [*parts]
            turned[i] = mark + letters[1] + letters[0] + letters[2:]
            yield ",".join(turned).replace(",>", "->")


def _surroundings(parent: ast.AST, old: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.AST:
    """Return the widest expression around a place that fits a line."""
    best, node = old if not isinstance(parent, ast.expr) else parent, parent
    if isinstance(old, ast.operator):
        best = parent
    while isinstance(node, ast.expr | ast.keyword | ast.comprehension | ast.arguments) and not _is_check(
        node
    ):
        if isinstance(node, ast.expr) and len(ast.unparse(node)) <= _WIDTH:
            best = node
        if node not in parents:
            break
        node = parents[node]
    return best if not _is_check(best) else old


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("verify.")
