"""Message passing over a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from ntkbook.nn._inputs import check_axes


class Aggregate(torch.nn.Module):
    r"""Sum over the edges of a graph, (N, T, C) to (N, T, C).

    .. math:: y_{n j c} = \sum_i A_{n i j}\, x_{n i c}

    so ``adjacency[n, i, j]`` weighs the edge from vertex ``i`` to vertex ``j`` (Du et al. 2019, equation 1).

    Parameters
    ----------
    adjacency : Tensor, optional
        One graph (T, T) that all inputs share. Without it, ``forward`` takes the adjacency of each input, and
        so does the infinite-width kernel: ``kernel((x1, adjacency1), (x2, adjacency2))``.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> path = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    >>> nn.Aggregate(path)(torch.tensor([[[3.0], [5.0]]]))
    tensor([[[0.],
             [3.]]])
    """

    adjacency: Tensor | None

    def __init__(self, adjacency: Tensor | None = None) -> None:
        super().__init__()
        if adjacency is not None and not isinstance(adjacency, Tensor):
            raise TypeError(
                f"adjacency must be a torch.Tensor (T, T), got {type(adjacency).__name__}; use "
                "torch.as_tensor(adjacency)"
            )
        if adjacency is not None and (adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]):
            raise ValueError(
                f"adjacency must be (T, T), got shape {tuple(adjacency.shape)}; graphs of single inputs "
                "go to forward(x, adjacency)"
            )
        self.register_buffer("adjacency", adjacency)

    def forward(self, x: Tensor, adjacency: Tensor | None = None) -> Tensor:
        """Aggregate over the given graphs (N, T, T), or over the shared one."""
        graph = self.graph(adjacency)
        check_axes(self, x, "N T C", T=graph.shape[-1])
        if adjacency is not None and adjacency.shape != (len(x), x.shape[1], x.shape[1]):
            raise ValueError(
                f"adjacency has shape {tuple(adjacency.shape)} but x has shape {tuple(x.shape)}; pass a "
                f"graph for each input, ({len(x)}, {x.shape[1]}, {x.shape[1]})"
            )
        return graph.transpose(-2, -1).to(x.dtype) @ x

    def graph(self, adjacency: Tensor | None) -> Tensor:
        """Return the given adjacency or the shared one; exactly one of them must exist."""
        if (adjacency is None) == (self.adjacency is None):
            raise ValueError(
                "Aggregate needs one adjacency: pass it to Aggregate(adjacency) when all inputs share a "
                "graph, or to forward(x, adjacency), but not to both"
            )
        graph = self.adjacency if adjacency is None else adjacency
        assert graph is not None
        return graph
