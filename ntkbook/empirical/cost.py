r"""What each route costs: multiplications and bytes, from the shapes of a layer.

Costs are counted in multiply-adds of a large matrix product. Other work is weighted by how much slower an
entry of it is, as measured on CPUs; only ratios matter, and only where they are large
(``tests/empirical/test_cost.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ntkbook.empirical.accumulator import Outputs

# An entry that is read, multiplied and summed outside a matrix product costs about as much as this many
# multiply-adds inside one: the first is bound by memory, the second by arithmetic.
ENTRY = 24.0


@dataclass(frozen=True)
class SiteShape:
    """Sizes of one layer's features (n, G, T, I) and cotangents (n, K, G, T, O).

    Attributes
    ----------
    groups, positions, features, channels : int
        G, T, I, O.
    one_hot : bool
        Whether features are given as integers: a Gram of them is then a comparison.
    """

    groups: int
    positions: int
    features: int
    channels: int
    one_hot: bool = False

    @property
    def n_parameters(self) -> int:
        """G O I, the number of parameters."""
        return self.groups * self.channels * self.features

    @property
    def reduces(self) -> bool:
        """Whether gradients, much smaller than cotangents, are formed during the backward pass."""
        return 4 * self.features <= self.positions

    def stored_entries(self, n_outputs: int) -> int:
        """Return the entries that one sample leaves behind, beside its features."""
        return n_outputs * self.groups * self.channels * (self.features if self.reduces else self.positions)

    def gram_entries_per_pair(self, outputs: Outputs, n_outputs: int) -> int:
        """Return the entries of temporary tensors per pair of samples, when Grams are multiplied."""
        heads = {"full": n_outputs**2, "diagonal": n_outputs, "mean": 1}[outputs]
        return (2 * heads + self.groups) * self.positions**2


def gram_cost(shape: SiteShape, outputs: Outputs, n1: int, n2: int, n_outputs: int, symmetric: bool) -> float:
    r"""Return the cost of multiplying Grams.

    .. math:: G N_1 N_2 T^2 \, (I + K' O + 24 K''), \qquad K' = K^2, K, K; \quad K'' = K^2, K, 1

    for all outputs, their diagonal, their mean; half of it if the kernel is symmetric.
    """
    heads = n_outputs**2 if outputs == "full" else n_outputs
    entries = 1 if outputs == "mean" else heads
    per_pair = (ENTRY if shape.one_hot else shape.features) + heads * shape.channels + ENTRY * entries
    return (0.5 if symmetric else 1.0) * n1 * n2 * shape.groups * shape.positions**2 * per_pair


def gradient_cost(
    shape: SiteShape, outputs: Outputs, n1: int, n2: int, n_outputs: int, symmetric: bool
) -> float:
    r"""Return the cost of building per-sample gradients and multiplying them.

    .. math:: (N_1 + N_2) K \, G O I \, (T + 24) + N_1 N_2 K' \, G O I, \qquad K' = K^2, K, K
    """
    heads = n_outputs**2 if outputs == "full" else n_outputs
    build = (n1 if symmetric else n1 + n2) * n_outputs * shape.n_parameters * (shape.positions + ENTRY)
    return build + (0.5 if symmetric else 1.0) * n1 * n2 * heads * shape.n_parameters


def cheaper_order(
    shape: SiteShape, outputs: Outputs, n1: int, n2: int, n_outputs: int, symmetric: bool
) -> Literal["gram", "gradient"]:
    """Return the order of summation with the smaller predicted cost."""
    gram = gram_cost(shape, outputs, n1, n2, n_outputs, symmetric)
    return "gram" if gram <= gradient_cost(shape, outputs, n1, n2, n_outputs, symmetric) else "gradient"


def jacobian_cost(
    forward: float, n_parameters: int, outputs: Outputs, n1: int, n2: int, n_outputs: int, symmetric: bool
) -> float:
    r"""Return the cost of the Jacobian route, for a forward pass of ``forward`` multiply-adds a sample.

    .. math:: 3 (N_1 + N_2) K F + N_1 N_2 K' P, \qquad K' = K^2, K, K

    A backward pass to weights and inputs costs two forward passes, after one forward pass.
    """
    heads = n_outputs**2 if outputs == "full" else n_outputs
    passes = 3.0 * (n1 if symmetric else n1 + n2) * n_outputs * forward
    return passes + (0.5 if symmetric else 1.0) * n1 * n2 * heads * n_parameters


def vector_product_cost(
    forward: float, n_parameters: int, outputs: Outputs, n1: int, n2: int, n_outputs: int, symmetric: bool
) -> float:
    r"""Return the cost of one pull and one push for each of the N2 K columns.

    .. math:: N_2 K \, (3 F + 24 P + 3 N_1 F)

    A direction is as large as the parameters, and is written and read in memory. Half the pushes are needed
    if the kernel is symmetric; only K of the K x K products are used for the diagonal or the mean, but all
    are made.
    """
    pushes = (0.5 if symmetric else 1.0) * 3.0 * n1 * forward
    return n2 * n_outputs * (3.0 * forward + ENTRY * n_parameters + pushes)
