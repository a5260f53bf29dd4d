"""The public object: a network's kernel function at infinite width."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ntkbook._validation import has_values
from ntkbook.infinite.fused import Chain, find_chain
from ntkbook.infinite.inputs import (
    Batch,
    TensorPair,
    check_batch,
    check_pair,
    equal_pairs,
    input_kernel,
)
from ntkbook.infinite.interpreter import KernelInterpreter
from ntkbook.infinite.kernel import Kernel, batch_diagonal
from ntkbook.infinite.plan import Plan
from ntkbook.infinite.registry import InfiniteWidthError
from ntkbook.nn._parametric import Scale, check_std

# Entries of one tile: a few such tensors fit a second-level cache, and each outweighs the cost of a call.
_TILE_ENTRIES = 2**16
# A tile computes its inputs' own covariances besides; four inputs a side keep that below half of its work.
_LEAST_SIDE = 4


class InfiniteWidthKernel:
    """What :func:`infinite_width` returns: call it on inputs.

    Attributes
    ----------
    plan : Plan
        The traced network and the layout chosen for every value.
    """

    def __init__(self, net: torch.nn.Module, w_std: Scale | None = None, b_std: Scale | None = None) -> None:
        self.net = net
        self.plain_std = (check_std("w_std", w_std), check_std("b_std", b_std))
        self.plan = Plan(net)
        plain = [name for name, module in self.plan.modules() if isinstance(module, _PLAIN_LAYERS)]
        if plain and w_std is None:
            raise InfiniteWidthError(
                f"plain torch layers ({', '.join(map(repr, plain))}) do not say how their weights are "
                "distributed; pass infinite_width(net, w_std=..., b_std=...), or use the layers of ntkbook.nn"
            )
        if not plain and (w_std is not None or b_std is not None):
            raise InfiniteWidthError(
                "w_std and b_std are for plain torch layers, and this network has none; set them on its "
                "layers"
            )
        self._dropout = any(
            isinstance(module, torch.nn.Dropout) and module.p > 0 for _, module in self.plan.modules()
        ) or any(getattr(n.target, "__name__", "") == "dropout" for n in self.plan.nodes)

    @property
    def chain(self) -> Chain | None:
        """The chain of convolutions and ReLUs that the network is, if it is one, as its layers are now.

        :mod:`ntkbook.cntk` computes it at a fraction of the cost; it does so on its own where the work is
        worth it and no gradient is wanted.
        """
        return find_chain(self.plan)

    def __call__(self, x1: Batch, x2: Batch | None = None) -> Kernel:
        r"""Return the kernel between two batches, or of one with itself.

        Parameters
        ----------
        x1 : Tensor or tuple of Tensor
            (N1, features), (N1, C, H, W), (N1, C, T) for convolutions, (N1, T, features) for dense layers and
            attention; a tuple if the network's ``forward`` takes several tensors.
        x2 : Tensor or tuple of Tensor, optional
            The same with N2. Without it, or with ``x2 is x1``, the symmetric kernel: half the work.

        Returns
        -------
        Kernel
            ``nngp`` and ``ntk`` (N1, N2); for a network with spatial outputs ``(N1, N2, *S, *S)``.

        Raises
        ------
        TypeError, ValueError
            If inputs are no floating-point tensors, not finite, or differ in shape, dtype or device.
        InfiniteWidthError
            If a layer does not fit its input, or has no exact kernel there; if a number overflows where it
            would turn the result into NaN.
        """
        first = check_batch("x1", x1)
        second = None if x2 is None or x2 is x1 else check_batch("x2", x2)
        if second is not None:
            check_pair(first, second)
            if self._dropout and self._same(first, second):
                second = None  # masks are shared: see rules_normalization.drop
        coincident = None
        if len(first) == 1 and has_values(first[0], *(second or ())):
            coincident = equal_pairs(first[0], None if second is None else second[0])
        kernel = self._kernel(first, second, coincident)
        if has_values(kernel.nngp, kernel.ntk) and (kernel.nngp.isnan().any() or kernel.ntk.isnan().any()):
            raise InfiniteWidthError(
                f"the kernel leaves the range of {first[0].dtype}: infinities of both signs met; scale the "
                "inputs or w_std down, or use torch.float64"
            )
        return kernel

    def _kernel(
        self, first: tuple[Tensor, ...], second: tuple[Tensor, ...] | None, coincident: Tensor | None
    ) -> Kernel:
        """Compute the kernel by the route that fits."""
        if self._needs_graph(first, second):
            return self._block(first, second, coincident)
        with torch.no_grad():
            if self.chain is not None and self.chain.pays(first[0], None if second is None else second[0]):
                return self._fused(first[0], None if second is None else second[0])
            return self._tiled(first, second, coincident)

    def __reduce__(
        self,
    ) -> tuple[type[InfiniteWidthKernel], tuple[torch.nn.Module, Scale | None, Scale | None]]:
        """Pickle and copy as the network alone; the plan is made anew."""
        return InfiniteWidthKernel, (self.net, *self.plain_std)

    @staticmethod
    def _same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
        return has_values(*first, *second) and all(
            torch.equal(a, b) for a, b in zip(first, second, strict=True)
        )

    def _block(
        self, x1: tuple[Tensor, ...], x2: tuple[Tensor, ...] | None, coincident: Tensor | None
    ) -> Kernel:
        """Compute one block of the kernel in one go."""
        placeholders = list(self.plan.channels_last)
        if len(x1) > len(placeholders):
            raise InfiniteWidthError(
                f"x1 has {len(x1)} tensors but the network's forward takes {len(placeholders)}; pass as many"
            )
        node = placeholders[0]
        kernel = input_kernel(
            x1[0],
            None if x2 is None else x2[0],
            channels_last=self.plan.channels_last[node],
            flatten=node in self.plan.flattened,
            full=self.plan.full[node],
            coincident=coincident,
        )
        others = [TensorPair(a, b) for a, b in zip(x1[1:], (x2 or x1)[1:], strict=True)]
        out = KernelInterpreter(self.plan, self.plain_std).run(kernel, *others)
        if not isinstance(out, Kernel):
            raise InfiniteWidthError(
                f"forward must return one tensor, got {type(out).__name__}; wrap the network to return one "
                "output"
            )
        if out.width is not None:
            raise InfiniteWidthError(
                "the network ends inside its hidden layers, where the tangent kernel of a mup or mean_field "
                "network grows in proportion to the width and has no limit; end it with a layer with "
                "role='output'"
            )
        return out

    def _needs_graph(self, x1: tuple[Tensor, ...], x2: tuple[Tensor, ...] | None) -> bool:
        """Whether gradients may be asked for, or entries cannot be looked at."""
        tensors = (*x1, *(x2 or ()))
        if not has_values(*tensors):
            return True
        scales = (value for _, module in self.plan.modules() for value in vars(module).values())
        leaves = (*tensors, *self.plain_std, *scales, *self.net.buffers())
        return torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in leaves)

    def _fused(self, x1: Tensor, x2: Tensor | None) -> Kernel:
        """Compute a chain of convolutions and ReLUs by its own engine."""
        assert self.chain is not None
        # One input through the rules checks that it fits, and knows the fields beside the numbers.
        pattern = self._block((x1[:1],), None, None)
        nngp, ntk = self.chain.kernels(x1, x2)
        whole = _empty_like(pattern, len(x1), len(x1 if x2 is None else x2), symmetric=x2 is None)
        own1 = batch_diagonal(nngp).clone() if x2 is None else self.chain.variances(x1)
        own2 = own1 if x2 is None else self.chain.variances(x2)
        return whole.replace(nngp=nngp, ntk=ntk, cov1=own1, cov2=own2)

    def _side(self, x: Tensor) -> int:
        """Return how many inputs a tile has on its side."""
        node = next(iter(self.plan.channels_last))
        if node in self.plan.flattened:
            positions = 1
        else:
            channels = x.shape[-1] if self.plan.channels_last[node] else x.shape[1]
            positions = x[0].numel() // channels
        entries = positions**2 if self.plan.full[node] else positions
        return max(_LEAST_SIDE, math.isqrt(_TILE_ENTRIES // entries))

    def _tiled(
        self, x1: tuple[Tensor, ...], x2: tuple[Tensor, ...] | None, coincident: Tensor | None
    ) -> Kernel:
        """Compute tiles that fit the cache; of the symmetric kernel, only those from the diagonal up."""
        side = self._side(x1[0])
        n1, n2 = len(x1[0]), len((x1 if x2 is None else x2)[0])
        if (n1 <= side and n2 <= side) or x1[0].device.type != "cpu":
            return self._block(x1, x2, coincident)
        whole: Kernel | None = None
        for rows, columns in _tiles(n1, n2, side, symmetric=x2 is None):
            on_diagonal = x2 is None and rows == columns
            a = tuple(t[rows] for t in x1)
            b = None if on_diagonal else tuple(t[columns] for t in (x1 if x2 is None else x2))
            tile = self._block(a, b, None if coincident is None else coincident[rows, columns])
            if whole is None:
                whole = _empty_like(tile, n1, n2, symmetric=x2 is None)
            _write(whole, tile, rows, columns)
        assert whole is not None
        return whole


_PLAIN_LAYERS = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.ConvTranspose2d)


def _tiles(n1: int, n2: int, side: int, *, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n1, side):
        for j in range(i if symmetric else 0, n2, side):
            yield slice(i, min(i + side, n1)), slice(j, min(j + side, n2))


def _empty_like(tile: Kernel, n1: int, n2: int, *, symmetric: bool) -> Kernel:
    nngp = tile.nngp.new_empty((n1, n2, *tile.nngp.shape[2:]))
    cov1 = tile.cov1.new_empty((n1, *tile.cov1.shape[1:]))
    return tile.replace(
        nngp=nngp,
        ntk=torch.empty_like(nngp),
        cov1=cov1,
        cov2=cov1 if symmetric else tile.cov2.new_empty((n2, *tile.cov2.shape[1:])),
        shape1=(n1, *tile.shape1[1:]),
        shape2=(n2, *tile.shape2[1:]),
        symmetric=symmetric,
        coincident=None,
    )


def _write(whole: Kernel, tile: Kernel, rows: slice, columns: slice) -> None:
    """Copy a tile to its place, and to its mirror image in a symmetric kernel."""
    for name in ("nngp", "ntk"):
        target, value = getattr(whole, name), getattr(tile, name)
        target[rows, columns] = value
        if whole.symmetric and rows != columns:
            # Exchanging the two inputs exchanges their positions too.
            n = (value.ndim - 2) // 2 if whole.layout == "full" else 0
            axes = (1, 0, *range(2 + n, 2 + 2 * n), *range(2, 2 + n), *range(2 + 2 * n, value.ndim))
            target[columns, rows] = value.permute(axes)
    whole.cov1[rows] = tile.cov1
    whole.cov2[columns] = tile.cov2


def infinite_width(
    net: torch.nn.Module, w_std: Scale | None = None, b_std: Scale | None = None
) -> InfiniteWidthKernel:
    r"""Return the exact NNGP and NTK of a network as its hidden widths go to infinity.

    .. math::
        \mathcal K(x, x') = \lim_{n \to \infty} \mathbb E[f_c(x) f_c(x')], \qquad
        \Theta(x, x') = \lim_{n \to \infty} \nabla_\theta f_c(x) \cdot \nabla_\theta f_c(x')

    The network is traced once with ``torch.fx``; its graph then runs on covariances instead of tensors, one
    rule per module or function (Jacot et al. 2018, Theorem 1; Arora et al. 2019 for convolutions; Yang 2020
    for everything made of them). Where no exact limit exists, an error says so; nothing is approximated in
    silence.

    Parameters
    ----------
    net : torch.nn.Module
        Made of the layers of :mod:`ntkbook.nn`, torch's activations, ``Flatten``, ``LayerNorm``, pools, sums,
        products and concatenations. The values of its parameters do not matter.
    w_std, b_std : float or Tensor, optional
        What plain ``torch.nn.Linear`` and ``torch.nn.Conv`` layers mean, in the NTK parameterization: weights
        of standard deviation ``w_std / sqrt(fan_in)`` and biases of standard deviation ``b_std``. Both may
        require gradients, as may the layers' own.

    Returns
    -------
    InfiniteWidthKernel
        ``kernel(x1, x2)`` with fields ``nngp`` and ``ntk``, (N1, N2) each; ``kernel(x1)`` for the symmetric
        case. Device and dtype are those of the inputs. Differentiable in the inputs, ``w_std`` and ``b_std``.

    Raises
    ------
    InfiniteWidthError
        A ``ValueError`` that names the operation and the remedy: tied weights, max pooling, batch norm, a
        softmax outside attention, sums of correlated branches, control flow on data, unknown modules, plain
        layers without ``w_std``.

    Notes
    -----
    Cost: L layers on N inputs with P positions take :math:`O(LN^2)` for dense networks, :math:`O(LN^2P)` if
    nothing pools or attends (the spatial covariance's diagonal suffices), else :math:`O(LN^2P^2)`. Without
    gradients, tiles of
    the Gram matrix are computed one by one inside the cache, and memory is that of the result.

    Examples
    --------
    >>> import torch, ntkbook
    >>> from ntkbook import nn
    >>> net = torch.nn.Sequential(
    ...     nn.Linear(2, 512, w_std=2**0.5), torch.nn.ReLU(), nn.Linear(512, 1))
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> k = ntkbook.infinite_width(net)(x)
    >>> k.nngp
    tensor([[0.5000, 0.1592],
            [0.1592, 0.5000]])
    >>> k.ntk
    tensor([[1.0000, 0.1592],
            [0.1592, 1.0000]])
    """
    return InfiniteWidthKernel(net, w_std, b_std)
