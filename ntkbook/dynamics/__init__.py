"""From a kernel to what training will do."""

from ntkbook.dynamics.ensemble import Gaussian, ensemble, nngp_posterior
from ntkbook.dynamics.loss_flow import LossFlow
from ntkbook.dynamics.mse_flow import Modes, MSEFlow
from ntkbook.dynamics.rates import critical_learning_rate, max_learning_rate

__all__ = [
    "Gaussian",
    "LossFlow",
    "MSEFlow",
    "Modes",
    "critical_learning_rate",
    "ensemble",
    "max_learning_rate",
    "nngp_posterior",
]
