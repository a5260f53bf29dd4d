"""Agreement with neural-tangents 0.6.5 on numbers that `golden_neural_tangents` has it compute."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import golden_neural_tangents as golden
import numpy as np
import pytest
import torch

from ntkbook.dynamics import LossFlow, MSEFlow, ensemble, max_learning_rate

NUMBERS = json.loads(Path(golden.__file__).with_name("neural_tangents.json").read_text())
A = {name: torch.from_numpy(value) for name, value in golden.inputs().items()}
K_TRAIN = golden.ntk(A["x_train"], A["x_train"], torch.exp)
K_TEST = golden.ntk(A["x_test"], A["x_train"], torch.exp)
# The numbers are rounded to 11 decimals.
ROUNDED = 1e-10
# They were integrated with a tolerance of 1e-11; ours is 1e-9, relative to outputs up to 8.
INTEGRATED = 1e-8


def times(values):
    return torch.tensor(values, dtype=torch.float64)


def assert_equal(name, values, tolerance):
    for value, number in zip(values, NUMBERS[name], strict=True):
        np.testing.assert_allclose(value, number, rtol=0, atol=tolerance)


@pytest.mark.parametrize("reg", golden.REGULARIZERS)
@pytest.mark.parametrize("label", ["times", "inf"])
def test_squared_loss_in_closed_form(reg, label):
    t = math.inf if label == "inf" else times(golden.TIMES)
    flow = MSEFlow(K_TRAIN, A["y_train"], diag_reg=reg)
    train, test = flow.train(t, A["f0_train"]), flow.test(t, K_TEST, A["f0_test"], A["f0_train"])
    assert_equal(f"mse reg={reg} {label}", (train, test), ROUNDED)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_any_loss_by_ode(loss, momentum):
    flow = LossFlow(K_TRAIN, A["y_train"], loss, momentum, golden.LEARNING_RATE)
    t = times(golden.ODE_TIMES)
    train, test = flow.train(t, A["f0_train"]), flow.test(t, K_TEST, A["f0_test"], A["f0_train"])
    assert_equal(f"ode {loss} momentum={momentum}", (train, test), INTEGRATED)


@pytest.mark.parametrize("reg", golden.REGULARIZERS)
@pytest.mark.parametrize(("get", "train"), [("nngp", "last_layer"), ("ntk", "all")])
@pytest.mark.parametrize("label", ["times", "inf"])
def test_ensembles(reg, get, train, label):
    def kernel(x1, x2=None):
        x2 = x1 if x2 is None else x2
        return SimpleNamespace(nngp=golden.nngp(x1, x2, torch.exp), ntk=golden.ntk(x1, x2, torch.exp))

    t = math.inf if label == "inf" else times(golden.ODE_TIMES[1:3])
    for points, x_test in (("test", A["x_test"]), ("train", None)):
        result = ensemble(kernel, A["x_train"], A["y_train"], x_test, t, train, diag_reg=reg)
        assert_equal(f"ensemble {get} reg={reg} {label} {points}", result, ROUNDED)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_largest_learning_rate(momentum):
    rate = max_learning_rate(K_TRAIN, n_outputs=golden.K, momentum=momentum)
    assert_equal(f"max_learning_rate momentum={momentum}", [rate], ROUNDED)
