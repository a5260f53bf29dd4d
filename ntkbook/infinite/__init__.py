"""The exact kernels of a module as its width goes to infinity."""

# Rules, duals and refusals enter their registries when imported.
from ntkbook.infinite import (  # noqa: F401
    dual_polynomial,
    dual_quadrature,
    dual_rectified,
    dual_smooth,
    refusals,
    rules_activations,
    rules_attention,
    rules_merge,
    rules_normalization,
    rules_pooling,
    rules_shape,
    rules_weights,
)
from ntkbook.infinite.dual_activations import DualMoments, dual, dual_diagonal, has_dual, register_dual
from ntkbook.infinite.engine import InfiniteWidthKernel, infinite_width
from ntkbook.infinite.kernel import Kernel
from ntkbook.infinite.registry import Call, InfiniteWidthError, register_refusal, register_rule

__all__ = [
    "Call",
    "DualMoments",
    "InfiniteWidthError",
    "InfiniteWidthKernel",
    "Kernel",
    "dual",
    "dual_diagonal",
    "has_dual",
    "infinite_width",
    "register_dual",
    "register_refusal",
    "register_rule",
]
