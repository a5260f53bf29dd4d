"""The cost model picks the order of summation, and the route, that measurement finds faster."""

import time
from types import SimpleNamespace

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
from ntkbook.empirical.recorder import site_shape
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


# G = 2, T = 3, I = 5, O = 7: 70 parameters. N1 = 4, N2 = 6 or, where the kernel is symmetric, 4; K = 2.
SHAPE = SiteShape(groups=2, positions=3, features=5, channels=7)


@pytest.mark.parametrize(("outputs", "pairs"), [("full", 4), ("diagonal", 2), ("mean", 2)])
def test_costs_are_those_of_the_formulas(outputs, pairs):
    assert SHAPE.n_parameters == 70
    terms = 1 if outputs == "mean" else pairs
    gram = 2 * 3**2 * (5 + pairs * 7 + 24 * terms)
    assert gram_cost(SHAPE, outputs, 4, 6, 2, False) == 24 * gram
    assert gram_cost(SHAPE, outputs, 4, 4, 2, True) == 8 * gram
    gradients = 2 * 70 * (3 + 24)
    assert gradient_cost(SHAPE, outputs, 4, 6, 2, False) == 10 * gradients + 24 * pairs * 70
    assert gradient_cost(SHAPE, outputs, 4, 4, 2, True) == 4 * gradients + 8 * pairs * 70
    # A forward pass of 11 multiply-adds, 13 parameters.
    assert jacobian_cost(11, 13, outputs, 4, 6, 2, False) == 3 * 10 * 2 * 11 + 24 * pairs * 13
    assert jacobian_cost(11, 13, outputs, 4, 4, 2, True) == 3 * 4 * 2 * 11 + 8 * pairs * 13
    assert vector_product_cost(11, 13, outputs, 4, 6, 2, False) == 6 * 2 * (3 * 11 + 24 * 13 + 3 * 4 * 11)
    assert vector_product_cost(11, 13, outputs, 4, 4, 2, True) == 4 * 2 * (3 * 11 + 24 * 13 + 3 * 2 * 11)


def test_what_a_layer_keeps_is_counted():
    assert not SHAPE.reduces  # gradients of 5 x 7 entries against cotangents of 3 x 7
    assert SHAPE.stored_entries(2) == 2 * 2 * 7 * 3
    many_positions = SiteShape(groups=2, positions=20, features=5, channels=7)
    assert many_positions.reduces
    assert many_positions.stored_entries(2) == 2 * 2 * 7 * 5
    assert not SiteShape(groups=2, positions=19, features=5, channels=7).reduces
    entries = {outputs: SHAPE.gram_entries_per_pair(outputs, 3) for outputs in ("full", "diagonal", "mean")}
    assert entries == {"full": (18 + 2) * 9, "diagonal": (6 + 2) * 9, "mean": (2 + 2) * 9}


def test_a_table_of_embeddings_has_one_feature_for_each_of_its_rows():
    site = SimpleNamespace(layer=nn.Embedding(10, 4), trainable={"weight"})
    tokens, cotangents = torch.zeros(2, 1, 3, 1, dtype=torch.long), torch.zeros(2, 1, 3, 4)
    assert site_shape(site, tokens, cotangents) == SiteShape(1, 3, 10, 4, one_hot=True)
    site = SimpleNamespace(layer=nn.Linear(10, 4), trainable={"weight"})
    assert site_shape(site, torch.zeros(2, 1, 3, 10), cotangents) == SiteShape(1, 3, 10, 4)
