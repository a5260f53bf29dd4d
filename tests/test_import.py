"""Importing the package is light: what only some users need is loaded when they use it."""

import subprocess
import sys

HEAVY = {
    "IPython",
    "dask",
    "distributed",
    "gpytorch",
    "matplotlib",
    "nbformat",
    "numba",
    "pandas",
    "rich",
    "sklearn",
    "sympy",
    "triton",
    "zarr",
}


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, torch, scipy; before = set(sys.modules); import ntkbook;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "ntkbook" in loaded
    assert loaded & HEAVY == set()
