"""The network of assignments 3, 4 and 6 by autograd, the route that students' formulas are compared with."""

from __future__ import annotations

import torch
from torch import Tensor


def output(x: Tensor, W: Tensor, a: Tensor) -> Tensor:
    r"""Return :math:`f(x) = a^\top \tanh(W x / \sqrt{n_0}) / \sqrt{n}`.

    Parameters
    ----------
    x : Tensor, (..., n_0)
    W : Tensor, (n, n_0)
    a : Tensor, (n,) or (K, n)
    """
    f: Tensor = (x @ W.T / W.shape[1] ** 0.5).tanh() @ a.movedim(-1, 0) / W.shape[0] ** 0.5
    return f


def jacobian(x: Tensor, W: Tensor, a: Tensor) -> Tensor:
    """Return the gradients of one output, hidden weights first, (N, P), by backpropagation row by row."""
    W, a = W.detach().clone().requires_grad_(), a.detach().clone().requires_grad_()
    rows = []
    with torch.enable_grad():
        for each in x:
            parts = torch.autograd.grad(output(each, W, a), (W, a))
            rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)
