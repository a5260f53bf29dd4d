"""Both orders of summation, tiles and separable cotangents against one einsum."""

import pytest
import torch

from ntkbook.empirical.accumulator import Accumulator
from ntkbook.empirical.contraction import SiteFactor, contract, sample_tiles
from ntkbook.empirical.cost import SiteShape
from ntkbook.empirical.separable import separate

D = torch.float64
SHAPES = [(1, 1, 4, 3), (1, 5, 4, 3), (2, 3, 4, 3), (3, 1, 2, 1), (4, 6, 2, 1)]  # G, T, I, O


def naive(h1, c1, h2, c2):
    """(n1, n2, K, K), by per-sample gradients; c is (n, G, K, O, T)."""
    w1, w2 = (torch.einsum("ngkot,ngti->nkgoi", c, h).flatten(2) for h, c in ((h1, c1), (h2, c2)))
    return torch.einsum("iap,jbp->ijab", w1, w2)


def draw(n, k, shape, seed, separable=False):
    generator = torch.Generator().manual_seed(seed)
    g, t, i, o = shape
    h = torch.randn(n, g, t, i, generator=generator, dtype=D)
    if not separable:
        return h, torch.randn(n, g, k, o, t, generator=generator, dtype=D)
    weights = torch.randn(n, g, k, o, 1, generator=generator, dtype=D)
    profiles = torch.randn(n, g, 1, o, t, generator=generator, dtype=D)
    profiles[0, 0, 0, 0] = 0.0  # a dead channel
    return h, weights * profiles


def factor(h, c, compress):
    g, t, i = h.shape[1:]
    made = SiteFactor(SiteShape(g, t, i, c.shape[3]), len(h), h, h, c)
    if compress:
        made.weights, profiles = separate(c)
        made.cotangents = profiles.unsqueeze(2)
    return made


def total(outputs, n1, n2, k):
    return Accumulator(outputs, n1, n2, k, D, torch.device("cpu"))


def expected(blocks, outputs):
    diagonal = blocks.diagonal(dim1=2, dim2=3)
    return {"full": blocks, "diagonal": diagonal, "mean": diagonal.mean(-1)}[outputs]


@pytest.mark.parametrize("outputs", ["full", "diagonal", "mean"])
@pytest.mark.parametrize("scratch", [1, 2000, 10**9])
@pytest.mark.parametrize("order", ["gram", "gradient", "separable", "half separable"])
def test_orders_agree_with_einsum(order, scratch, outputs):
    for shape in SHAPES:
        if "separable" in order and shape[1] == 1:
            continue
        h1, c1 = draw(7, 3, shape, 1, "separable" in order)
        h2, c2 = draw(4, 3, shape, 2, "separable" in order)
        blocks = expected(naive(h1, c1, h2, c2), outputs)
        found = total(outputs, 7, 4, 3)
        u, v = factor(h1, c1, "separable" in order), factor(h2, c2, order == "separable")
        how = "gram" if order == "gram" else "gradient"
        contract(u, v, found, slice(0, 7), slice(0, 4), order=how, scratch=scratch)
        assert torch.allclose(found.result(), blocks, rtol=1e-12, atol=1e-11), shape

        symmetric = total(outputs, 7, 7, 3)
        contract(u, u, symmetric, slice(0, 7), slice(0, 7), order=how, scratch=scratch)
        symmetric.mirror()
        blocks = expected(naive(h1, c1, h1, c1), outputs)
        assert torch.allclose(symmetric.result(), blocks, rtol=1e-12, atol=1e-11), shape


@pytest.mark.parametrize("order", ["gram", "gradient"])
def test_integer_features_are_one_hot(order):
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(-1, 5, (6, 1, 4), generator=generator)
    one_hot = (tokens.unsqueeze(-1) == torch.arange(5)).to(D)  # -1 is the zero feature
    c = torch.randn(6, 1, 2, 3, 4, generator=generator, dtype=D)
    made = SiteFactor(SiteShape(1, 4, 5, 3, one_hot=True), 6, tokens, tokens, c)
    found = total("full", 6, 6, 2)
    contract(made, made, found, slice(0, 6), slice(0, 6), order=order, scratch=500)
    found.mirror()
    assert torch.allclose(found.result(), naive(one_hot, c, one_hot, c), atol=1e-11)


def test_identity_cotangents():
    h = torch.randn(5, 1, 1, 4, generator=torch.Generator().manual_seed(4), dtype=D)
    c = torch.eye(3, dtype=D).expand(5, 1, 3, 3).unsqueeze(-1)
    made = SiteFactor(SiteShape(1, 1, 4, 3), 5, h, h)
    for outputs in ("full", "diagonal", "mean"):
        found = total(outputs, 5, 5, 3)
        contract(made, made, found, slice(0, 5), slice(0, 5), order="gram", scratch=10**6)
        found.mirror()
        assert torch.allclose(found.result(), expected(naive(h, c, h, c), outputs), atol=1e-12)


def test_separation_is_exact_or_refused():
    _, c = draw(5, 4, (2, 6, 3, 3), 5, separable=True)
    weights, profiles = separate(c)
    assert torch.allclose(weights.unsqueeze(-1) * profiles.unsqueeze(2), c, rtol=0, atol=1e-14)
    for entry in ((0, 0, 0, 1, 2), (4, 1, 3, 2, 5)):
        spoiled = c.clone()
        spoiled[entry] += 1e-9
        assert separate(spoiled) is None
    assert separate(draw(5, 1, (2, 6, 3, 3), 5)[1]) is None  # one output: nothing to gain
    zero_weights, zero_profiles = separate(torch.zeros(2, 1, 3, 4, 5, dtype=D))
    assert not zero_weights.any()
    assert not zero_profiles.any()


@pytest.mark.parametrize(
    ("n1", "n2", "pairs", "side"),
    [(7, 5, 1, None), (7, 5, 6, None), (7, 5, 99, None), (3, 20, 31, None), (9, 9, 4, 3)],
)
def test_tiles_cover_every_pair_once(n1, n2, pairs, side):
    seen = torch.zeros(n1, n2, dtype=torch.long)
    for i, j in sample_tiles(n1, n2, pairs, side):
        assert (i.stop - i.start) * (j.stop - j.start) <= pairs
        seen[i, j] += 1
    if side is None:
        assert bool((seen == 1).all())
    else:
        assert bool((seen.triu() == torch.ones_like(seen).triu()).all())
        assert int(seen.max()) == 1
