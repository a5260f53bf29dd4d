"""From a kernel to what training will do."""

from ntkbook.dynamics.mse_flow import MSEFlow

__all__ = ["MSEFlow"]
