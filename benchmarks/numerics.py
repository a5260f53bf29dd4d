"""Errors of every activation and engine by regime, against 50 digits: the numbers of the book's page on them.

``python benchmarks/numerics.py`` measures both kernels of ``infinite_width`` for every activation of the
package, the convolutional engines, ``empirical_ntk`` and ``operators``, in single and in double precision, on
generic inputs, coincident, nearly coincident and antipodal ones, zero, tiny and huge ones, and in networks of
up to 100 layers. It prints the table and writes ``book/numerics.json``, in about eight minutes on one core,
and goes on where it was stopped: a row that is done is kept in ``--store``. ``--quick`` tries a few regimes
in seconds and writes nothing, ``--only relu,tanh`` measures some activations.

The truth. Where the dual activation has a closed form, its textbook formula in mpmath with 50 digits, which
``tests/infinite`` compares with integrals; where it has none, the Gaussian integral in extended precision
(double, for measurements in single), which is compared here with mpmath to 22 digits (the table
``calibration``). Convolutional and finite kernels and derivatives have their own implementations in mpmath.
The truth is that of the inputs as they are rounded to the precision measured.

An error is relative to the root of the product of both inputs' own kernels, which is 1 for a correlation. The
``ratio`` is the error over what rounding alone may do: the change of the exact recursion if each layer's
covariances are off by one unit of rounding, plus one unit. A method that is as good as its problem has a
ratio of a few units.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import mpmath as mp
import numpy as np
import torch
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "book" / "numerics.json"
COMMAND = "python benchmarks/numerics.py"
STORE = ROOT / "_build" / "numerics.jsonl"
Step = Callable[[], dict[str, Any]]
# The formulas in arbitrary precision are those that the tests hold against integrals.
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests" / "infinite")]

from _numerics import activations, convolutional, derivatives, finite, integral, recursion  # noqa: E402
from _numerics.cells import UNITS, Cell  # noqa: E402
from _numerics.regimes import DIMENSION, Regime, regimes  # noqa: E402

QUICK = ("coincident", "1e-04 apart", "1e-08 apart", "antipodal", "zero", "norm 1e6")
# Where the truth takes seconds at huge variances, or a measurement is slow, still fewer.
QUICK_FEW = ("coincident", "1e-08 apart", "zero")
CALIBRATED = (("0.8", "-0.35", "0.4"), ("0.8", "0.8", "0.800001"))


def chosen(dimension: int, *, quick: bool, deep: bool = True) -> list[Regime]:
    """Return the regimes to measure; of the quick ones one pair, and no deep network."""
    rows = regimes(dimension, deep=deep and not quick)
    return [row.only_last() for row in rows if row.title in QUICK] if quick else rows


def calibration(name: str) -> float:
    """Return the error of the integrals that stand for the truth of an activation, against mpmath."""
    case, worst = recursion.CASES[name], mp.mpf(0)
    for digits in CALIBRATED:
        with mp.workdps(recursion.DIGITS):
            q = [mp.mpf(x) for x in digits]
            if name.startswith("elu"):
                exact = integral.elu_integral(case.module.alpha, *q)
            else:
                exact = tuple(integral.integral(f, *q) for f in (case.fn, case.slope))
            found = integral.pair_moments(integral.FUNCTIONS[name], *q)
            worst = max(worst, *(abs(a / b - 1) for a, b in zip(found, exact, strict=True)))
    return float(worst)


def steps(*, quick: bool) -> dict[str, Step]:
    """Return what is measured in one go and stored together, by name."""
    rows = chosen(DIMENSION, quick=quick)
    found: dict[str, Step] = {}
    for name in recursion.CASES:
        slow = quick and name in integral.FUNCTIONS
        few = [row for row in rows if not slow or row.title in QUICK_FEW]
        found[name] = partial(activation, name, few)
    found["convolutions"] = partial(engines, convolutional, rows)
    found["finite networks"] = partial(engines, finite, rows)
    found["operators"] = partial(engines, derivatives, chosen(derivatives.DIMENSION, quick=quick, deep=False))
    return found


def activation(name: str, rows: list[Regime]) -> dict[str, Any]:
    """Measure one activation; where integrals stand for its truth, also these."""
    cells = {dtype: activations.measure(recursion.CASES[name], rows, dtype) for dtype in UNITS}
    row = {dtype: entry(its) for dtype, its in cells.items()}
    if name in integral.FUNCTIONS and len(rows) > len(QUICK):
        row["calibration"] = figure(calibration(name))
    return {"activations": {name: row}}


def engines(module: ModuleType, rows: list[Regime]) -> dict[str, Any]:
    """Measure the engines of one module."""
    found: dict[str, Any] = {}
    for dtype in UNITS:
        for name, cells in module.measure(rows, dtype).items():
            found.setdefault(name, {})[dtype] = entry(cells)
    return {"engines": found}


def figure(value: float) -> float:
    """Return two digits; below 1e-20 an error is that of the truth."""
    return float(f"{value:.1e}") if value > 1e-20 else 0.0


def entry(cells: dict[str, Cell]) -> dict[str, Any]:
    """Return one row: for each regime the errors of K and Theta and the ratio; what was refused has none."""
    row: dict[str, Any] = {
        name: None if cell.refusals else [figure(x) for x in (cell.nngp, cell.ntk, cell.ratio)]
        for name, cell in cells.items()
    }
    for field in ("faults", "refusals"):
        said = {name: getattr(cell, field)[0] for name, cell in cells.items() if getattr(cell, field)}
        row |= {field: said} if said else {}
    return row


def measured(names: Sequence[str], *, quick: bool, store: Path | None = None) -> dict[str, Any]:
    """Run the steps named, except those that the store has for these versions, and return their rows."""
    todo, known = steps(quick=quick), {}
    if store is not None and store.exists():
        lines = [json.loads(line) for line in store.read_text(encoding="utf-8").splitlines()]
        known = {line["step"]: line["rows"] for line in lines if line["versions"] == versions()}
    found: dict[str, Any] = {"activations": {}, "engines": {}}
    for name in (bar := tqdm(names, disable=None)):
        bar.set_description(name)
        rows = known.get(name) or todo[name]()
        for part, its in rows.items():
            found[part] |= its
        if store is not None and name not in known:
            store.parent.mkdir(parents=True, exist_ok=True)
            with store.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": name, "versions": versions(), "rows": rows}) + "\n")
    return found


def versions() -> dict[str, str]:
    """Return the versions on which the numbers depend."""
    packages = ("ntkbook", "torch", "numpy", "mpmath", "numba")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def result(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is written."""
    return {
        "command": COMMAND,
        "versions": versions(),
        "digits": recursion.DIGITS,
        "not_measured": {} if torch.cuda.is_available() else {"cntk, Triton": "no CUDA device"},
        "modules": {name: str(case.module) for name, case in recursion.CASES.items()},
        "regimes": [name for row in regimes() for name in row.names],
        **found,
    }


def show(found: dict[str, Any]) -> None:
    """Print the table: errors of K and Theta, and the ratio to rounding, by regime."""
    for part, rows in found.items():
        for name, row in rows.items():
            print(f"\n{part}: {name}")
            print(f"  {'':28}" + "".join(f"{d + ':':>11}{'K':>6}{'Theta':>9}{'ratio':>9}" for d in UNITS))
            for regime in [r for r in row["float64"] if r not in ("faults", "refusals")]:
                cells = [row[dtype][regime] for dtype in UNITS]
                print(f"  {regime:28}" + "".join(_numbers(cell) for cell in cells))
            for dtype in UNITS:
                for kind in ("faults", "refusals"):
                    for regime, text in row[dtype].get(kind, {}).items():
                        print(f"  {kind}, {dtype}, {regime}: {text}")


def _numbers(cell: list[float] | None) -> str:
    if cell is None:
        return f"{'refused':>35}"
    nngp, ntk, ratio = cell
    return f"{nngp:17.1e}{ntk:9.1e}{ratio:9.1f}"


def written(report: dict[str, Any]) -> str:
    """Return the file's text, with the numbers of a regime on one line."""
    text = json.dumps(report, indent=1)
    return re.sub(r'\[\s+([^][{}"]*?)\s+\]', lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command, and return what it measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few regimes, in seconds; writes nothing")
    parser.add_argument("--only", help="what to measure, with commas between the names")
    parser.add_argument("--store", type=Path, default=STORE, help=f"where finished rows are kept, {STORE}")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.quick and np.finfo(np.longdouble).eps > 1e-18:
        raise SystemExit("numpy's longdouble is no longer than a double here; measure on x86-64 Linux")
    names = options.only.split(",") if options.only else list(steps(quick=options.quick))
    # Gradients at the edge of the range of single precision warn of overflow.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measured(names, quick=options.quick, store=None if options.quick else options.store)
    show(found)
    if not options.quick and not options.only:
        RESULT.write_text(written(result(found)), encoding="utf-8")
        print(f"\n{RESULT.relative_to(ROOT)} is written.")
    return found


if __name__ == "__main__":
    main()
