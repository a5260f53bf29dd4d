"""Layers' kernels against their formulas, written out by another route and to rounding."""

from __future__ import annotations

import pytest
import torch
from network_zoo import Apply, dense, norm, relu, seq

from ntkbook import infinite_width, nn

F64 = torch.float64


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("scaling", ["linear", "sqrt"])
def test_attention(scaling):
    """The tangent kernel: the covariance map's derivative along Theta, plus one term per weight matrix."""
    x = rand(3, 4, 5)
    before = seq(dense(5, 8), relu(), dense(8, 8))
    stds = {"w_query_std": 1.1, "w_key_std": 0.9, "w_value_std": 1.2, "w_out_std": 0.8, "b_std": 0.3}
    layer = nn.SelfAttention(8, 4, weighting="identity", scaling=scaling, dtype=F64, **stds)
    inner, outer = infinite_width(before)(x), infinite_width(seq(before, layer))(x)
    scores, values = 1.1 * 0.9, 1.2 * 0.8

    def forward(k):
        if scaling == "sqrt":
            return (scores * values) ** 2 * torch.einsum("nmab,nmab,nmtu->nmtu", k, k, k)
        # Attention weights are constants in the limit: they do not move with Theta.
        own = scores * inner.nngp.diagonal(dim1=0, dim2=1).movedim(-1, 0)
        return values**2 * torch.einsum("nta,nmab,mub->nmtu", own, k, own)

    nngp, along = torch.func.jvp(forward, (inner.nngp,), (inner.ntk,))
    n_matrices = 4 if scaling == "sqrt" else 2
    torch.testing.assert_close(outer.nngp, nngp + 0.09, rtol=1e-12, atol=0)
    torch.testing.assert_close(outer.ntk, along + n_matrices * nngp + 0.09, rtol=1e-12, atol=0)


def test_concatenation_weighs_by_width():
    x = rand(4, 5)
    a, b, last = dense(5, 8), dense(5, 24, w_std=0.7), dense(32, 2, w_std=1.1, b_std=None)
    joined = infinite_width(Apply(lambda x, a, b, c: c(torch.cat([a(x).relu(), b(x)], 1)), a=a, b=b, c=last))(
        x
    )
    first, second = infinite_width(seq(a, relu()))(x), infinite_width(b)(x)
    nngp, ntk = (0.25 * getattr(first, f) + 0.75 * getattr(second, f) for f in ("nngp", "ntk"))
    torch.testing.assert_close(joined.nngp, 1.21 * nngp, rtol=1e-12, atol=0)
    torch.testing.assert_close(joined.ntk, 1.21 * (nngp + ntk), rtol=1e-12, atol=0)


def test_layer_norm_divides_by_the_deviation():
    x = rand(4, 3, 5)
    plain = infinite_width(dense(5, 8))(x)
    over_channels = infinite_width(seq(dense(5, 8), norm(8)))(x)
    over_all = infinite_width(seq(dense(5, 8), norm(3, 8)))(x)
    variances = torch.einsum("nntt->nt", plain.nngp)
    for result, v in [(over_channels, variances), (over_all, variances.mean(1, keepdim=True).expand(-1, 3))]:
        deviation = (v + 1e-5).sqrt()
        for name in ("nngp", "ntk"):
            expected = torch.einsum("nmtu,nt,mu->nmtu", getattr(plain, name), 1 / deviation, 1 / deviation)
            torch.testing.assert_close(getattr(result, name), expected, rtol=1e-12, atol=0)


def test_dense_relu_against_the_arc_cosine_recursion():
    x, depth, w2, b2 = rand(5, 3), 4, 1.69, 0.09
    nngp = ntk = w2 * x @ x.mT / 3 + b2
    for _ in range(depth):
        scale = (nngp.diagonal()[:, None] * nngp.diagonal()).sqrt()
        angle = torch.arccos((nngp / scale).clamp(-1, 1))
        after = scale * (angle.sin() + (torch.pi - angle) * angle.cos()) / (2 * torch.pi)
        nngp, ntk = w2 * after + b2, w2 * ntk * (torch.pi - angle) / (2 * torch.pi)
        ntk = ntk + nngp
    k = infinite_width(nn.mlp([3, *[8] * depth, 1], w_std=1.3, b_std=0.3))(x)
    torch.testing.assert_close(k.nngp, nngp, rtol=1e-7, atol=0)  # the arccos of a rounded ratio loses half
    torch.testing.assert_close(k.ntk, ntk, rtol=1e-6, atol=0)
