"""The cost model picks the order of summation, and the route, that measurement finds faster."""

import time

import pytest
import torch
from torch import nn

from ntkbook import empirical_ntk
from ntkbook.empirical.accumulator import Accumulator
from ntkbook.empirical.contraction import SiteFactor, contract
from ntkbook.empirical.cost import (
    SiteShape,
    cheaper_order,
    gradient_cost,
    gram_cost,
    jacobian_cost,
    vector_product_cost,
)
from ntkbook.empirical.network import Network
from ntkbook.empirical.structure import forward_cost

# From "few positions, many weights" to "many positions, few weights", with N and K.
LAYERS = [
    (SiteShape(1, 1, 400, 400), "full", 24, 5),
    (SiteShape(1, 4, 600, 128), "full", 12, 4),
    (SiteShape(1, 4, 300, 200), "mean", 24, 4),
    (SiteShape(1, 256, 72, 16), "full", 6, 4),
    (SiteShape(1, 196, 36, 8), "diagonal", 8, 4),
    (SiteShape(1, 144, 100, 32), "mean", 8, 4),
]


def cpu_time(function, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize(("shape", "outputs", "n", "k"), LAYERS)
def test_predicted_order_is_the_faster_one(shape, outputs, n, k):
    sizes = (shape, outputs, n, n, k, True)
    predicted = {"gram": gram_cost(*sizes), "gradient": gradient_cost(*sizes)}
    # Only where the prediction is clear does it have to be right; each of these layers is such a case.
    assert max(predicted.values()) > 3 * min(predicted.values())
    torch.manual_seed(0)
    h = torch.randn(n, shape.groups, shape.positions, shape.features)
    c = torch.randn(n, shape.groups, k, shape.channels, shape.positions)
    factor = SiteFactor(shape, n, h, h, c)

    def run(order):
        total = Accumulator(outputs, n, n, k, torch.float32, torch.device("cpu"))
        contract(factor, factor, total, slice(0, n), slice(0, n), order=order, scratch=2**26)

    measured = {order: cpu_time(lambda order=order: run(order)) for order in predicted}
    assert min(measured, key=measured.get) == cheaper_order(*sizes)


def test_predicted_route_is_the_faster_one():
    # An outputs-to-width ratio at each end: rows win for one output, products for many.
    torch.manual_seed(0)
    for net, x in (
        (nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 1)), torch.randn(24, 40)),
        (nn.Sequential(nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 100)), torch.randn(8, 200)),
    ):
        k = net[-1].out_features
        case = (
            forward_cost(Network(net, x), x),
            sum(p.numel() for p in net.parameters()),
            "full",
            len(x),
            len(x),
        )
        predicted = {
            "jacobian": jacobian_cost(*case, k, True),
            "vector_product": vector_product_cost(*case, k, True),
        }
        measured = {m: cpu_time(lambda m=m, n=net, y=x: empirical_ntk(n, y, method=m), 2) for m in predicted}
        assert min(measured, key=measured.get) == min(predicted, key=predicted.get), (predicted, measured)


def test_forward_cost_counts_multiply_adds():
    net, x = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(4, 7)
    assert forward_cost(Network(net, x), x) == 7 * 5 + 5 * 3
    conv = nn.Conv2d(2, 3, 3)
    assert forward_cost(Network(conv, torch.randn(1, 2, 6, 6)), torch.randn(1, 2, 6, 6)) == 3 * 2 * 9 * 16
