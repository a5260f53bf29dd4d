"""Mutate the mathematics of the package and count what the tests notice: `make mutate`.

The record in _mutants/ lets a run be taken up again: a mutant that was killed is not tried twice, a survivor
is tried again when a test has changed, and all mutants of a module when that module has.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from platform import python_version

from baseline import Baseline, measure
from mutants import Mutant, modules, mutants
from score import Part, read_equivalents, table
from session import Session, copy_tree

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]

# Each part's modules, and the tests that have to notice a change in them: the part's own, not its users'.
PARTS = {
    "infinite": (("ntkbook/infinite/*.py",), ("tests/infinite/test_*.py", "ntkbook/infinite")),
    "empirical": (("ntkbook/empirical/*.py",), ("tests/empirical/test_*.py", "ntkbook/empirical")),
    "cntk": (("ntkbook/cntk/*.py",), ("tests/cntk/test_*.py", "ntkbook/cntk")),
    "dynamics": (("ntkbook/dynamics/*.py",), ("tests/dynamics/test_*.py", "ntkbook/dynamics")),
    "verify": (("ntkbook/verify/*.py",), ("tests/verify/test_*.py", "ntkbook/verify")),
    "operators": (
        ("ntkbook/operators.py", "ntkbook/_differential_operator.py"),
        ("tests/test_operators.py", "ntkbook/operators.py"),
    ),
}

# Python's tracer sees nothing of what Numba compiles: any test of the CNTK may notice a mutant there.
COMPILED = ("ntkbook/cntk/_cpu_kernels.py", "ntkbook/cntk/_lanes.py", "ntkbook/cntk/polynomials.py")
# Compiled for a GPU, or interpreted in processes of the tests' own. Not measured, and counted apart.
ON_A_GPU = ("ntkbook/cntk/gpu.py",)

_LIMIT = 60.0  # CPU seconds of the unchanged tests that a mutant has to pass at most

# Imported once; every mutant is then tried in a fork of this process. The package itself is not among them.
_PRELOADED = (
    "torch", "torch.fx", "torch._dynamo", "numpy", "scipy.linalg", "scipy.integrate", "scipy.special",
    "scipy.optimize", "numba", "sympy", "mpmath", "matplotlib", "sklearn.gaussian_process", "hypothesis",
    "doctest", "pdb", "_pytest.junitxml",
)  # fmt: skip


def main() -> None:
    """Run the mutants that are asked for, print the table, and write it if that is asked for too."""
    options = _options()
    for name in _PRELOADED:
        importlib.import_module(name)
    tree = options.folder / "tree"
    copy_tree(_ROOT, tree)
    tests = [test for part in options.parts for test in modules(tree, PARTS[part][1])]
    baseline = measure(tree, tests, "ntkbook", options.folder / "baseline")
    session = Session(
        tree, options.folder / "record.jsonl", baseline, options.limit, _tests_for(baseline), COMPILED
    )
    population = {part: _all_mutants(tree, PARTS[part][0]) for part in options.parts}
    chosen = {part: _sample(found, options.sample, options.seed) for part, found in population.items()}
    _try(session, chosen, time.monotonic() + 60 * options.minutes)
    report = _report(session, population, chosen, options)
    print(report)
    if options.write:
        (_HERE / "results.md").write_text(report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, help="mutants per part, drawn at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, metavar="PART")
    parser.add_argument(
        "--limit", type=float, default=60, help="CPU seconds of tests per mutant (default: 60)"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no mutant after this time")
    parser.add_argument("--folder", type=Path, default=_ROOT / "_mutants", help="of the record")
    parser.add_argument("--write", action="store_true", help="write the table to tests/mutation/results.md")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    return options


def _all_mutants(root: Path, patterns: tuple[str, ...]) -> list[Mutant]:
    names = [name for name in modules(root, patterns) if name not in ON_A_GPU]
    return [mutant for name in names for mutant in mutants(name, (root / name).read_text())]


def _sample(found: list[Mutant], size: int | None, seed: int) -> list[Mutant]:
    """Return ``size`` mutants in random order; a smaller sample is the beginning of a larger one."""
    return sorted(found, key=lambda mutant: mutant.place(seed))[:size]


def _tests_for(baseline: Baseline) -> Callable[[Mutant], list[str]]:
    cntk = baseline.ordered([test for test in baseline.seconds if test.startswith("tests/cntk/")])
    return lambda m: cntk if m.module in COMPILED else baseline.tests(m.module, m.number)


def _try(session: Session, chosen: dict[str, list[Mutant]], end: float) -> None:
    """Try the mutants of all parts in turn, so that a run cut short has something to say on each."""
    known = session.known()
    turns = [mutant for turn in zip_longest(*chosen.values()) for mutant in turn if mutant is not None]
    waiting = [m for m in turns if m.key not in known or not session.valid(m, known[m.key])]
    for count, mutant in enumerate(waiting, start=1):
        if time.monotonic() > end:
            break
        result = session.run(mutant)
        print(
            f"{count}/{len(waiting)} {result.outcome} {mutant.module}:{mutant.number} {result.by}", flush=True
        )
        if not result.detected:
            print(f"    {mutant.line}\n    {result.becomes}", flush=True)


def _report(
    session: Session,
    population: dict[str, list[Mutant]],
    chosen: dict[str, list[Mutant]],
    options: argparse.Namespace,
) -> str:
    known, equivalents = session.known(), read_equivalents(_HERE / "equivalents.toml")
    parts = [
        Part(part, len(population[part]), [known[m.key] for m in drawn if m.key in known], equivalents)
        for part, drawn in chosen.items()
    ]
    apart = sum(len(list(mutants(name, (session.root / name).read_text()))) for name in ON_A_GPU)
    versions = ", ".join(f"{name} {version(name)}" for name in ("cosmic-ray", "coverage", "torch", "numba"))
    sample = f" SAMPLE={options.sample}" if options.sample else ""
    limit = f" LIMIT={options.limit:g}" if options.limit != _LIMIT else ""
    head = ["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True).stdout.strip()
    survivors = "".join(
        f"\n- `{r.module}`, {r.function}: `{r.line}` → `{r.becomes}`" for p in parts for r in p.survivors
    )
    survivors = f"\nSurvivors:\n{survivors}\n" if survivors else ""
    return f"""# Mutation testing of the package

`make mutate{sample} SEED={options.seed}{limit}`, {date.today()}, commit {commit}, Python
{python_version()}, {versions}.

{table(parts, session.known(first=True))}

A mutant is tried with the part's own tests that execute its line, up to {options.limit:g} s of their CPU
time. Those tried are the first of each part in a random order. "Killed at first" counts what the tests
noticed before any was written for a survivor of the sample; "killed" counts what they notice now, and says
less about mutants outside the sample.
Equivalent ones are listed with reasons in `equivalents.toml` and do not enter the score.
Not measured: the {apart} mutants of `{"`, `".join(ON_A_GPU)}`, which needs a GPU.
{survivors}"""


if __name__ == "__main__":
    main()
