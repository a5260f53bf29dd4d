"""The kernel as its definition says, slowly: what the fast routes are compared with."""

import torch
from torch import Tensor, nn


def naive_ntk(net: nn.Module, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    """(N1, N2, K, K), by one backward pass of plain autograd for each sample and output."""
    parameters = [p for p in net.parameters() if p.requires_grad]

    def rows(x: Tensor) -> Tensor:
        jacobian = []
        for i in range(len(x)):
            for entry in net(x[i : i + 1]).reshape(-1):
                gradients = torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True)
                pairs = zip(gradients, parameters, strict=True)
                jacobian.append(
                    torch.cat(
                        [(torch.zeros_like(p) if g is None else g.to_dense()).reshape(-1) for g, p in pairs]
                    )
                )
        return torch.stack(jacobian).reshape(len(x), -1, jacobian[0].numel())

    j1 = rows(x1)
    return torch.einsum("iap,jbp->ijab", j1, j1 if x2 is None else rows(x2))
