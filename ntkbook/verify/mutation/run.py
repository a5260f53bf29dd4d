"""Execute a chapter once; at every check, fork a process for each change and see what it says."""

from __future__ import annotations

import ast
import contextlib
import gc
import hashlib
import io
import os
import pickle
import random
import re
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkbook.verify import checks, findings
from ntkbook.verify.mutation import flow, operators
from ntkbook.verify.numeric import as_array
from ntkbook.verify.verdict import CheckFailed, PowerlessCheck

# A changed loop may never end, a changed exponent may ask for all memory.
_EXTRA_SECONDS, _EXTRA_BYTES = 20.0, 3 * 2**30


@dataclass(frozen=True)
class Outcome:
    """What became of one change.

    Attributes
    ----------
    label, operator, before, after : str
        Of the check and of the change; a repeated change of one check carries ``#2``, ``#3``, ...
    state : str
        ``check``: the statement was rejected. ``power``: it was accepted, but so was a wrong version.
        ``error``: the code could not run, or the shapes differ. ``rescaled``: a curve whose exponent is
        checked was multiplied by a number. ``proved``: SymPy proved the changed statement. ``survived``.
    detail : str
        The first words of the message.
    """

    label: str
    operator: str
    before: str
    after: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell with checks: its changes, and what was left out for want of time.

    Attributes
    ----------
    key : str
        A hash of the code since the last cell with checks: while it is the same, so are the outcomes.
    checks : tuple of str
        Labels, one for each check.
    unchanged : tuple of str
        Labels of checks in whose code there is nothing to change.
    left_out : int
        Changes that were not tried.
    outcomes : tuple of Outcome
    """

    key: str
    checks: tuple[str, ...]
    unchanged: tuple[str, ...]
    left_out: int
    outcomes: tuple[Outcome, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        """Rebuild what ``dataclasses.asdict`` took apart."""
        outcomes = tuple(Outcome(**outcome) for outcome in data["outcomes"])
        return cls(data["key"], tuple(data["checks"]), tuple(data["unchanged"]), data["left_out"], outcomes)


def mutate(notebook: Path, seconds: float, known: dict[str, Cell]) -> Iterator[Cell]:
    """Execute a notebook and change its checked statements, one place at a time.

    Parameters
    ----------
    notebook : Path
    seconds : float
        Of computing for each cell with checks, at least four changes; where there are more changes
        than fit, a seeded sample of all kinds. One that takes longer alone can be among the four, and
        its time is not counted.
    known : dict of str to Cell
        Cells by their keys, from an earlier run: they are executed, but not changed again.

    Yields
    ------
    Cell
        One for each cell with checks, as soon as it is done.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import torch

    pieces = _pieces(notebook)
    if all(piece.key in known for piece in pieces if piece.key):
        yield from (known[piece.key] for piece in pieces if piece.key)
        return
    mpl.use("agg")
    torch.set_num_threads(1)  # a forked process has one thread
    # The first derivative imports for a second; each forked process would do so anew.
    torch.func.jvp(torch.func.grad(torch.sin), (torch.zeros(()),), (torch.ones(()),))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for piece in pieces:
        if piece.key in known:
            yield known[piece.key]
        elif piece.key:
            yield _examine(piece, namespace, seconds)
        with contextlib.redirect_stdout(io.StringIO()):
            _run(compile(piece.source, piece.name, "exec"), namespace)
        plt.close("all")


@dataclass(frozen=True)
class _Piece:
    """A code cell; with checks, also the code since the last cell with checks, and its hash."""

    name: str
    source: str
    since: str
    key: str


def _pieces(notebook: Path) -> list[_Piece]:
    import nbformat

    pieces, waiting = [], ""
    for index, cell in enumerate(nbformat.read(notebook, as_version=4).cells):
        if cell.cell_type != "code":
            continue
        source = re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE)
        waiting += source + "\n\n"
        checked = bool(flow.comparisons(ast.parse(source)))
        key = hashlib.sha256(waiting.encode()).hexdigest()[:16] if checked else ""
        pieces.append(_Piece(f"{notebook.name}, cell {index}", source, waiting, key))
        if checked:
            waiting = ""
    return pieces


def _examine(piece: _Piece, namespace: dict[str, Any], seconds: float) -> Cell:
    """Change what the checks of a cell state, in it and in the cells since the checks before."""
    statements = ast.parse(piece.since).body
    count = len(ast.parse(piece.source).body)
    compared = flow.comparisons(ast.Module(statements[len(statements) - count :], []))
    chosen = _changes(statements, compared)
    none = [c.label for c in compared if not any(c in owners for _, _, owners in chosen)]
    needed = _needed(statements, compared)
    base = _forked(partial(_baseline, needed, namespace))
    if base is None or base[2]:
        needed = statements
        base = _forked(partial(_baseline, needed, namespace))
    if base is None or base[2]:
        raise RuntimeError(f"{compared[0].label}: the cell fails unchanged: {base[2] if base else 'it died'}")
    times, curves, _ = base
    left = [sum(times[i:]) for i in range(len(times))]
    where = {id(statement): i for i, statement in enumerate(needed)}
    plan: dict[int, list[tuple[operators.Mutant, list[flow.Comparison]]]] = {}
    spent, taken = 0.0, 0
    for statement, mutant, owners in _interleaved(chosen, piece.key):
        at = where.get(id(statement))
        if at is None or (taken >= 4 and spent + left[at] > seconds):
            continue
        taken += 1
        if left[at] <= seconds:  # what exceeds the time alone does not use up that of the others
            spent += left[at]
        plan.setdefault(at, []).append((mutant, owners))
    outcomes = _forked(partial(_walk, needed, namespace, plan, left, curves)) if plan else []
    if outcomes is None:
        raise RuntimeError(f"{compared[0].label}: the process that makes the changes died")
    labels = tuple(comparison.label for comparison in compared)
    return Cell(piece.key, labels, tuple(none), len(chosen) - taken, tuple(_numbered(outcomes)))


def _changes(
    statements: list[ast.stmt], compared: list[flow.Comparison]
) -> list[tuple[ast.stmt, operators.Mutant, list[flow.Comparison]]]:
    parents: dict[ast.AST, ast.AST] = {}
    tops: dict[int, ast.stmt] = {}
    places: dict[int, operators.Place] = {}
    for top in statements:
        for node in ast.walk(top):
            tops[id(node)] = top
            for field, value in ast.iter_fields(node):
                for i, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                    if isinstance(child, ast.AST):
                        parents[child] = node
                        places[id(child)] = operators.Place(node, field, i)
    pieces = list(flow.units(statements))
    owners: dict[int, tuple[ast.AST, bool, list[flow.Comparison]]] = {}
    for comparison in compared:
        for expression in comparison.sides:
            owners[id(expression)] = (expression, True, [comparison])
        for unit in flow.statement_of(comparison, pieces):
            owners.setdefault(id(unit.node), (unit.node, False, []))[2].append(comparison)
    found = []
    for root, side, owning in owners.values():
        place = places.get(id(root), operators.Place(None, ""))
        found += [(tops[id(root)], m, owning) for m in operators.mutants(root, place, parents, side)]
    return found


def _needed(statements: list[ast.stmt], compared: list[flow.Comparison]) -> list[ast.stmt]:
    """Return the statements on which the checks depend, and those that seed."""
    pieces = list(flow.units(statements))
    names = frozenset().union(*(flow.free(comparison.call) for comparison in compared))
    nodes = {id(node) for c in compared for node in [c.call]}
    nodes |= {id(unit.node) for unit in flow.reached(names, pieces)}
    return [
        top
        for top in statements
        if any(id(node) in nodes for node in ast.walk(top))
        or (isinstance(top, ast.Expr) and re.search(r"seed\(|set_default", ast.unparse(top)))
    ]


def _interleaved(
    chosen: list[tuple[ast.stmt, operators.Mutant, list[flow.Comparison]]], key: str
) -> Iterator[tuple[ast.stmt, operators.Mutant, list[flow.Comparison]]]:
    """Shuffle, then take the kinds in turn, so that a sample holds all of them."""
    rng = random.Random(key)
    kinds: dict[str, list[Any]] = {}
    for item in rng.sample(chosen, len(chosen)):
        kinds.setdefault(item[1].operator, []).append(item)
    queues = list(kinds.values())
    while queues:
        for queue in queues:
            yield queue.pop()
        queues = [queue for queue in queues if queue]


def _numbered(outcomes: list[Outcome]) -> list[Outcome]:
    seen: dict[tuple[str, str, str], int] = {}
    named = []
    for outcome in outcomes:
        change = (outcome.label, outcome.before, outcome.after)
        seen[change] = seen.get(change, 0) + 1
        suffix = f" #{seen[change]}" if seen[change] > 1 else ""
        named.append(Outcome(**{**asdict(outcome), "after": outcome.after + suffix}))
    return named


def _baseline(needed: list[ast.stmt], namespace: dict[str, Any]) -> tuple[list[float], list[Any], str]:
    times, curves = [], _watch_rates()
    try:
        for statement in needed:
            start = time.process_time()
            _run(_compiled([statement]), namespace)
            times.append(time.process_time() - start)
    except Exception as problem:
        return times, curves, f"{type(problem).__name__}: {problem}"
    return times, curves, ""


def _walk(
    needed: list[ast.stmt],
    namespace: dict[str, Any],
    plan: dict[int, list[tuple[operators.Mutant, list[flow.Comparison]]]],
    left: list[float],
    curves: list[Any],
) -> list[Outcome]:
    """Run the statements; before each, fork a process for every change of it that runs on to the end."""
    outcomes = []
    for at, statement in enumerate(needed):
        for mutant, owners in plan.get(at, []):
            attempt = partial(_tried, mutant, needed[at:], namespace, curves)
            answer = _forked(attempt, 8 * left[at])
            state, detail = answer or ("error", "out of time or memory")
            if state == "same":
                continue
            if state == "survived" and all(c.kind == "identity" for c in owners):
                state = "proved"
            outcomes.append(
                Outcome(owners[0].label, mutant.operator, mutant.before, mutant.after, state, detail)
            )
        if at < max(plan):
            _run(_compiled([statement]), namespace)
    return outcomes


def _tried(
    mutant: operators.Mutant, rest: list[ast.stmt], namespace: dict[str, Any], curves: list[Any]
) -> tuple[str, str]:
    changed = _watch_rates()
    namespace |= {"_swapped": operators.swapped, "_untransposed": operators.untransposed}
    try:
        mutant.place.put(mutant.node)
        _run(_compiled(rest), namespace)
    except operators.NoChange:
        return "same", ""
    except CheckFailed as problem:
        text = str(problem)
        shapes = re.search(r"shapes? (differ|\()|has shape|NaN", text)
        return ("error" if shapes else "check"), text[:200]
    except PowerlessCheck as problem:
        return "power", str(problem)[:200]
    except BaseException as problem:  # whatever a wrong formula does, it was noticed
        return "error", f"{type(problem).__name__}: {problem}"[:200]
    return ("rescaled" if _only_rescaled(curves, changed) else "survived"), ""


def _watch_rates() -> list[Any]:
    """Keep the curves whose exponents are fitted in this process."""
    kept: list[Any] = []
    original = findings.rate

    def watched(x: Any, y: Any, exponent: float, **options: Any) -> findings.Findings:
        found = original(x, y, exponent, **options)
        kept.append((as_array("x", x), as_array("y", y), float(exponent)))
        return found

    findings.rate = watched
    checks._FINDERS[checks.rate] = watched
    return kept


def _only_rescaled(before: list[Any], after: list[Any]) -> bool:
    """Tell whether every fitted curve is a multiple of what it was, and some factor is not 1."""
    if len(before) != len(after) or not before:
        return False
    factors = []
    for old, new in zip(before, after, strict=True):
        if old[2] != new[2] or old[0].shape != new[0].shape or old[1].shape != new[1].shape:
            return False
        for a, b in zip(old[:2], new[:2], strict=True):
            ratio = b / a
            if np.ptp(np.log(np.abs(ratio)), axis=0).max() > 1e-6:
                return False
            factors.append(float(np.abs(ratio - 1).max()))
    return max(factors) > 1e-9


def _compiled(statements: list[ast.stmt]) -> Any:
    return compile(ast.fix_missing_locations(ast.Module(list(statements), [])), "changed", "exec")


def _run(code: Any, namespace: dict[str, Any]) -> None:
    exec(code, namespace)


def _forked(task: Callable[[], Any], seconds: float | None = None) -> Any:
    """Return what a task returns in a forked process, or None if the process died."""
    # What the collector marks, it writes to, and the child would get its own copy of all memory.
    gc.freeze()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            gc.disable()
            os.close(reading)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            if seconds is not None:
                limit = int(seconds + _EXTRA_SECONDS)
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                size = pages * resource.getpagesize() + _EXTRA_BYTES
                resource.setrlimit(resource.RLIMIT_AS, (size, size))
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(task(), pipe)
        finally:
            os._exit(0)
    gc.unfreeze()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(answer) if answer else None
