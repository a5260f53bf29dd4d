"""Trajectories as neural-tangents computes them, for `test_reference_library`; run by hand, not by pytest.

Written by ``python tests/dynamics/golden_neural_tangents.py > tests/dynamics/neural_tangents.json`` with
neural-tangents 0.6.5, jax 0.4.30, scipy 1.12.0 and Python 3.11, on inputs made of sines so that no random
generator has to agree. The tolerance of JAX's ODE solver is set to 1e-11 instead of its default 1.4e-8.
"""

import json
import sys
from collections import namedtuple
from functools import partial

import numpy as np

N, M, K, D = 4, 2, 3, 6
TIMES = [0.0, 0.3, 2.0, 9.0, 40.0, 200.0, 3000.0]
ODE_TIMES = [0.5, 4.0, 30.0, 300.0]
REGULARIZERS = [0.0, 0.1]
LEARNING_RATE = 0.7


def waves(rows, columns, phase):
    """Return a matrix of numbers in [-1, 1] that any library computes alike."""
    return np.sin(phase + 3.0 * np.arange(rows)[:, None] + 5.1 * np.arange(columns)[None, :] ** 1.5)


def inputs():
    """Return inputs, one-hot targets and outputs at time 0 as NumPy arrays."""
    return {
        "x_train": waves(N, D, 0.3),
        "x_test": waves(M, D, 1.9),
        "y_train": np.eye(K)[[0, 2, 1, 2]],
        "f0_train": waves(N, K, 0.8),
        "f0_test": waves(M, K, 2.3),
    }


def nngp(x1, x2, exp):
    """Return a Gaussian kernel; ``exp`` is the library's."""
    return exp(-0.25 * ((x1[:, None] - x2[None]) ** 2).sum(-1))


def ntk(x1, x2, exp):
    """Return the Gaussian kernel and a polynomial one, added."""
    return nngp(x1, x2, exp) + (1 + x1 @ x2.T / D) ** 2


def main():
    """Print all trajectories as JSON."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import ode

    jax.config.update("jax_enable_x64", True)
    ode.odeint = partial(ode.odeint, rtol=1e-11, atol=1e-11)
    from neural_tangents import predict

    a = {name: jnp.array(value) for name, value in inputs().items()}
    x, y = a["x_train"], a["y_train"]
    k, k_test = ntk(x, x, jnp.exp), ntk(a["x_test"], x, jnp.exp)
    start = a["f0_train"], a["f0_test"], k_test
    golden = {}

    for reg in REGULARIZERS:
        flow = predict.gradient_descent_mse(k, y, diag_reg=reg)
        for t, label in ((jnp.array(TIMES), "times"), (None, "inf")):
            golden[f"mse reg={reg} {label}"] = flow(t, *start)

    losses = {
        "mse": lambda f, y: 0.5 * jnp.mean((f - y) ** 2),
        "cross_entropy": lambda f, y: -jnp.sum(jax.nn.log_softmax(f) * y) / N,
    }
    for name, loss in losses.items():
        for momentum in (None, 0.9):
            flow = predict.gradient_descent(loss, k, y, LEARNING_RATE, momentum)
            golden[f"ode {name} momentum={momentum}"] = flow(jnp.array(ODE_TIMES), *start)

    def kernel(x1, x2, get):
        names = (get,) if isinstance(get, str) else get
        x2 = x1 if x2 is None else x2
        values = [{"nngp": nngp, "ntk": ntk}[one](x1, x2, jnp.exp) for one in names]
        return values[0] if isinstance(get, str) else namedtuple("Both", names)(*values)

    for reg in REGULARIZERS:
        ensemble = predict.gradient_descent_mse_ensemble(kernel, x, y, diag_reg=reg)
        for get in ("nngp", "ntk"):
            for t, label in ((jnp.array(ODE_TIMES[1:3]), "times"), (None, "inf")):
                golden[f"ensemble {get} reg={reg} {label} test"] = ensemble(t, a["x_test"], get, True)
                golden[f"ensemble {get} reg={reg} {label} train"] = ensemble(t, None, get, True)
    for momentum in (0.0, 0.9):
        rate = predict.max_learning_rate(k, N * K, momentum)
        golden[f"max_learning_rate momentum={momentum}"] = [jnp.array(rate)]
    rounded = {
        name: [np.round(np.asarray(v), 11).tolist() for v in values] for name, values in golden.items()
    }
    json.dump(rounded, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
