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


def test_the_list_of_names_has_those_that_are_loaded_later():
    code = (
        "import sys, ntkbook; names = dir(ntkbook);"
        "assert names == sorted(set(names)) and 'infinite_width' in names and '__version__' in names;"
        "assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules;"
        "print(*(name for name in [*ntkbook._LAZY_MODULES, *ntkbook._LAZY_NAMES] if name not in names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
