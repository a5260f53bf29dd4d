"""Predictors with scikit-learn's interface, from a network's kernel at infinite width."""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "ntkbook's estimators need scikit-learn; install it with: pip install 'ntkbook[sklearn]'"
    ) from missing

from ntkbook.estimators.classification import NTKClassifier
from ntkbook.estimators.gaussian_process import NNGPRegressor
from ntkbook.estimators.regression import NTKRegressor

__all__ = ["NNGPRegressor", "NTKClassifier", "NTKRegressor"]
