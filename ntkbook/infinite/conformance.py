"""Checks that every rule must pass, for ours and for those that users register."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, jacrev, vmap

from ntkbook.infinite.engine import infinite_width

MakeNet = Callable[[int], torch.nn.Module]


def finite_kernels(net: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the two kernels of one network, (N, N) each, by their definition.

    .. math:: \frac1K \sum_k f_k f_k^\top, \qquad \frac1K \sum_k J_k J_k^\top

    The whole Jacobian is computed: for small networks.
    """
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def one(p: dict[str, Tensor], sample: Tensor) -> Tensor:
        output: Tensor = functional_call(net, p, (sample[None],))
        return output[0]

    outputs = vmap(one, (None, 0), randomness="different")(parameters, x).flatten(1)
    jacobians = vmap(jacrev(one), (None, 0), randomness="different")(parameters, x)
    rows = torch.cat([j.reshape(*outputs.shape, -1) for j in jacobians.values()], dim=-1)  # (N, K, P)
    n_outputs = outputs.shape[1]
    return outputs @ outputs.mT / n_outputs, torch.einsum("ikp,jkp->ij", rows, rows) / n_outputs


def check_symmetry(make_net: MakeNet, x: Tensor) -> None:
    """Require symmetric, positive semi-definite kernels that do not change when the batch is given twice."""
    kernel = infinite_width(make_net(8))
    own, cross = kernel(x), kernel(x, x.clone())
    for name in ("nngp", "ntk"):
        k, again = getattr(own, name), getattr(cross, name)
        _require(torch.allclose(k, k.mT, rtol=1e-12, atol=0), f"{name} is not symmetric", k - k.mT)
        _require(torch.allclose(k, again, rtol=1e-9, atol=1e-12), f"{name}(x, x) is not {name}(x)", k - again)
        least = torch.linalg.eigvalsh(k)[0]
        _require(bool(least >= -1e-10 * k.diagonal().max()), f"{name} has a negative eigenvalue", least)
    _require(torch.equal(own.cov1, own.nngp.diagonal()), "cov1 is not the diagonal of nngp", own.cov1)


def check_batching(make_net: MakeNet, x: Tensor) -> None:
    """Require that a pair's kernel does not depend on the other inputs."""
    kernel = infinite_width(make_net(8))
    whole, part = kernel(x), kernel(x[:1], x[1:])
    for name in ("nngp", "ntk"):
        k, block = getattr(whole, name)[:1, 1:], getattr(part, name)
        _require(torch.allclose(k, block, rtol=1e-9, atol=1e-12), f"{name} depends on the batch", k - block)


def check_gradient(make_net: MakeNet, x: Tensor, seed: int = 0) -> None:
    """Require that gradients with respect to inputs agree with central differences, to 1e-6."""
    kernel = infinite_width(make_net(8))
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(x[:1].shape, generator=generator, dtype=x.dtype)
    x1, x2 = x[:1].clone().requires_grad_(), x[1:]
    for name in ("nngp", "ntk"):
        value = getattr(kernel(x1, x2), name).sum()
        (gradient,) = torch.autograd.grad(value, x1)
        step = 1e-5
        with torch.no_grad():
            ahead, behind = (getattr(kernel(x1 + h * direction, x2), name).sum() for h in (step, -step))
        slope, expected = (gradient * direction).sum(), (ahead - behind) / (2 * step)
        gap = (slope - expected).abs()
        _require(bool(gap <= 1e-6 * (1 + expected.abs())), f"gradient of {name} is wrong", gap)


def check_single_precision(make_net: MakeNet, x: Tensor) -> None:
    """Require float32 within 1e-3 of float64 on all pairs, and within 1e-5 on pairs of different inputs."""
    kernel = infinite_width(make_net(8))
    precise, single = kernel(x), kernel(x.float())
    different = ~torch.eye(len(x), dtype=torch.bool)
    for name in ("nngp", "ntk"):
        k = getattr(precise, name)
        error = (getattr(single, name).double() - k).abs() / k.diagonal().max()
        _require(bool(error.max() <= 1e-3), f"{name} in float32 is off", error)
        _require(bool((error * different).max() <= 1e-5), f"{name} in float32 is off between inputs", error)


def check_device(make_net: MakeNet, x: Tensor) -> None:
    """Require that all work stays on the device, with fake CUDA tensors: no GPU is needed."""
    kernel = infinite_width(make_net(8))
    with FakeTensorMode(allow_non_fake_inputs=True):
        first, second = (torch.empty(part.shape, dtype=x.dtype, device="cuda") for part in (x[:2], x))
        for k in (kernel(first, second), kernel(second)):
            for name in ("nngp", "ntk", "cov1", "cov2"):
                value = getattr(k, name)
                _require(value.device.type == "cuda", f"{name} left the inputs' device", value.device)
                _require(value.dtype == x.dtype, f"{name} has another dtype than the inputs", value.dtype)


def check_finite_networks(
    make_net: MakeNet, x: Tensor, *, width: int = 64, n_draws: int = 200, seed: int = 0, bias: float = 4.0
) -> None:
    r"""Require that averages over random finite networks agree with the limit.

    The difference must be within 5 standard errors plus ``bias / width`` of the kernel's size: finite widths
    shift the mean kernels by a term of that order (Hanin and Nica 2020).
    """
    limit = infinite_width(make_net(width))(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draws = [finite_kernels(make_net(width).to(x.dtype), x) for _ in range(n_draws)]
    for i, name in enumerate(("nngp", "ntk")):
        samples = torch.stack([draw[i] for draw in draws])
        error = samples.std(0) / n_draws**0.5
        expected = getattr(limit, name)
        gap = (samples.mean(0) - expected).abs()
        allowed = 5 * error + bias / width * expected.diagonal().max()
        _require(bool((gap <= allowed).all()), f"finite networks disagree with {name}", (gap / allowed).max())


def check_rule(
    make_net: MakeNet, x: Tensor, *, width: int = 64, n_draws: int = 200, seed: int = 0, bias: float = 4.0
) -> None:
    """Run every check of this module on a network that uses a new rule.

    Parameters
    ----------
    make_net : callable
        From a width to a freshly drawn network of float64 parameters, deterministic given the parameters.
    x : Tensor
        At least three different inputs, float64.
    width, n_draws, seed, bias
        For the comparison with finite networks, see :func:`check_finite_networks`.

    Raises
    ------
    AssertionError
        That names the property and the size of its violation.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> from ntkbook.infinite.conformance import check_rule
    >>> def make_net(width):
    ...     return nn.mlp([3, width, width], activation=torch.nn.ReLU(), dtype=torch.float64)
    >>> check_rule(make_net, torch.eye(3, dtype=torch.float64), n_draws=20)
    """
    check_symmetry(make_net, x)
    check_batching(make_net, x)
    check_gradient(make_net, x, seed)
    check_single_precision(make_net, x)
    check_device(make_net, x)
    check_finite_networks(make_net, x, width=width, n_draws=n_draws, seed=seed, bias=bias)


def _require(holds: bool, message: str, size: object) -> None:
    if not holds:
        largest = size.abs().max().item() if isinstance(size, Tensor) else size
        raise AssertionError(f"{message} ({largest})")
