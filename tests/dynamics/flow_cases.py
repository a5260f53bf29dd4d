"""Small problems with a constant kernel, shared by the tests of this folder."""

import math

import torch


def problem(n=7, features=12, m=3, outputs=2, seed=0):
    """Return a linear-regression problem: inputs, kernels, targets and outputs at time 0."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    x, x_test = normal(n, features) / features**0.5, normal(m, features) / features**0.5
    w = normal(features, outputs)
    return {
        "x": x,
        "x_test": x_test,
        "k": x @ x.T,
        "k_test": x_test @ x.T,
        "y": normal(n, outputs),
        "f0": x @ w,
        "f0_test": x_test @ w,
        "w": w,
    }


def labels(p, rule="one-hot"):
    """Return a copy of the problem whose targets are those of a classification."""
    n, outputs = p["y"].shape
    one_hot = torch.nn.functional.one_hot(torch.arange(n) % outputs, outputs).double()
    soft = torch.softmax(p["y"], 1)
    return {**p, "y": {"one-hot": one_hot, "soft": soft, "signs": p["y"].sign()}[rule]}


def single(p):
    """Return the problem in single precision."""
    return {name: value.float() for name, value in p.items()}


def nan_at(value, place):
    """Return a copy with one entry that is NaN."""
    value = value.clone()
    value[place] = math.nan
    return value


def pinv(k):
    """Return the pseudo-inverse of a kernel whose rank is clear."""
    return torch.linalg.pinv(k, hermitian=True, rtol=1e-10)
