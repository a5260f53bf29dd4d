"""Neural tangent kernels in PyTorch: finite width, infinite width, and training dynamics."""

__version__ = "0.1.0"

from ntkbook import dynamics, nn
from ntkbook.cntk import cntk
from ntkbook.empirical.expansion import linearize, taylor_expand
from ntkbook.empirical.kernel import empirical_nngp, empirical_ntk
from ntkbook.empirical.monte_carlo import monte_carlo_kernel
from ntkbook.empirical.products import NTKOperator, ntk_vector_product
from ntkbook.empirical.tracking import track_ntk
from ntkbook.gram import gram
from ntkbook.infinite import Kernel, dual, dual_diagonal, infinite_width, register_dual
from ntkbook.seeding import seed
from ntkbook.solve import solve

__all__ = [
    "Kernel",
    "NTKOperator",
    "cntk",
    "dual",
    "dual_diagonal",
    "dynamics",
    "empirical_nngp",
    "empirical_ntk",
    "gram",
    "infinite_width",
    "linearize",
    "monte_carlo_kernel",
    "nn",
    "ntk_vector_product",
    "register_dual",
    "seed",
    "solve",
    "taylor_expand",
    "track_ntk",
]


# These pull in matplotlib, SymPy or scikit-learn: loaded when first used.
_LAZY_MODULES = {"assignments", "data", "estimators", "operators", "plotting", "training", "verify"}
_LAZY_NAMES = {"NNGPRegressor": "estimators", "NTKClassifier": "estimators", "NTKRegressor": "estimators"}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _LAZY_MODULES:
        return import_module(f"ntkbook.{name}")
    if name in _LAZY_NAMES:
        return getattr(import_module(f"ntkbook.{_LAZY_NAMES[name]}"), name)
    raise AttributeError(f"module 'ntkbook' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES, *_LAZY_NAMES})
