"""The kernels of a module at its own width and weights: ``empirical_ntk`` and ``empirical_nngp``."""

from __future__ import annotations

import logging
from typing import Literal, overload

import torch
from torch import Tensor, nn

from ntkbook._validation import check_choice, check_count, check_dtype
from ntkbook.empirical.accumulator import Accumulator, Outputs
from ntkbook.empirical.checks import check_inputs, check_module
from ntkbook.empirical.network import Network, exact_operators
from ntkbook.empirical.plan import Plan, Problem, Remainder, make_plan
from ntkbook.empirical.routes import carry_out, layer_of
from ntkbook.empirical.structure import Structure, find_structure

Method = Literal["auto", "jacobian", "vector_product", "structured"]

logger = logging.getLogger("ntkbook.empirical")
# How parameters are served that no rule explains, or that are not asked to be explained.
_REMAINDER: dict[Method, Remainder] = {
    "auto": "cheaper",
    "structured": "jacobian",
    "jacobian": "jacobian",
    "vector_product": "vector_product",
}
_reported: set[tuple[type[nn.Module], str]] = set()


@overload
def empirical_ntk(
    net: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Outputs = "full",
    method: Method = "auto",
    chunk_size: int | None = None,
    dtype: torch.dtype | None = None,
    by_layer: Literal[False] = False,
    memory_limit: int | None = None,
    explain: bool = False,
) -> Tensor: ...


@overload
def empirical_ntk(
    net: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Outputs = "full",
    method: Method = "auto",
    chunk_size: int | None = None,
    dtype: torch.dtype | None = None,
    by_layer: Literal[True],
    memory_limit: int | None = None,
    explain: bool = False,
) -> dict[str, Tensor]: ...


def empirical_ntk(
    net: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Outputs = "full",
    method: Method = "auto",
    chunk_size: int | None = None,
    dtype: torch.dtype | None = None,
    by_layer: bool = False,
    memory_limit: int | None = None,
    explain: bool = False,
) -> Tensor | dict[str, Tensor]:
    r"""Return the tangent kernel of a module at its present weights.

    .. math::

        \hat\Theta_{ab}(x, x') = \langle \nabla_\theta f_a(x; \theta), \nabla_\theta f_b(x'; \theta) \rangle
        = \sum_{p} \frac{\partial f_a(x; \theta)}{\partial \theta_p}
        \frac{\partial f_b(x'; \theta)}{\partial \theta_p}

    over the parameters that require grad. The module must compute a deterministic function of one sample;
    otherwise it may be any ``torch.nn.Module``. Outputs of shape (N, ...) are flattened to (N, K), outputs of
    shape (N,) have K = 1.

    Parameters
    ----------
    net : torch.nn.Module
        The network f; neither changed nor moved.
    x1, x2 : Tensor
        Batches (N1, ...) and (N2, ...) on the network's device, floating point in its dtype, or integers.
        With ``x2=None`` the kernel of ``x1`` with itself, at half the work.
    outputs : {"full", "diagonal", "mean"}
        All pairs of outputs, pairs a = b, or the mean over a = b (the trace over K).
    method : {"auto", "jacobian", "vector_product", "structured"}
        ``"structured"`` contracts layer by layer without forming gradients; parameters that no layer's rule
        explains (used on their own, tied, in a layer called twice, in a layer of unknown type) take the
        Jacobian route, and a log line at level WARNING says so once. ``"jacobian"`` forms per-sample
        gradients, ``"vector_product"`` never holds more than a few directions in parameter space. ``"auto"``
        is ``"structured"``, with the cheaper of the other two for the remaining parameters.
    chunk_size : int, optional
        Samples of each batch processed at a time; by default as many as the memory allows.
    dtype : torch.dtype, optional
        In which products are summed and returned; by default that of the output. Gradients themselves are
        computed in the network's dtype. No TF32 is used.
    by_layer : bool
        Return a dict from layer names to their contributions, which add up to the kernel. Parameters held by
        the network itself count under ``""``.
    memory_limit : int, optional
        Bytes that the call may use beyond the module and the batches, its result included; by default 2 GiB
        beyond the result.
    explain : bool
        Print the plan: the route of each parameter and why, tiles and predicted memory.

    Returns
    -------
    Tensor
        (N1, N2, K, K) with entry [i, j, a, b] as above, (N1, N2, K), or (N1, N2); not part of any autograd
        graph. The first two may be views with permuted strides. With ``by_layer``, a dict of them.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or the output has no gradient.
    ValueError
        If a batch is empty, not finite, on another device, or does not fit the other; if the network is in
        train mode with batch normalization or dropout, its output changes from call to call or with the
        batch, nothing requires grad, or a parameter is not finite; if ``memory_limit`` is too small.

    Notes
    -----
    With P parameters and K outputs, for N samples: the Jacobian route takes N K backward passes of one
    sample, :math:`N^2 K^2 P` multiply-adds and N K P numbers; vector products take :math:`N^2 K` forward
    passes and P numbers; the structured route takes N K backward passes and, at a dense layer with I inputs
    and O outputs, :math:`N^2 (I + K^2 O)` multiply-adds and N (I + K O) numbers, a factor min(I, O) fewer
    than its I O parameters suggest. At layers with shared weights it chooses between Grams and gradients
    (``ntkbook.empirical.cost``).

    The contraction of layers with shared weights follows the structure of derivatives in Novak,
    Sohl-Dickstein and Schoenholz, "Fast Finite Width Neural Tangent Kernel", ICML 2022, section 3.

    Examples
    --------
    >>> import torch, ntkbook
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    >>> x = torch.randn(4, 3)
    >>> ntkbook.empirical_ntk(net, x).shape
    torch.Size([4, 4, 2, 2])
    >>> ntkbook.empirical_ntk(net, x, x[:3], outputs="mean").shape
    torch.Size([4, 3])
    >>> parts = ntkbook.empirical_ntk(net, x, by_layer=True)
    >>> whole = ntkbook.empirical_ntk(net, x)
    >>> sorted(parts), torch.allclose(parts["0"] + parts["2"], whole, atol=1e-6)
    (['0', '2'], True)
    """
    check_choice("outputs", outputs, ("full", "diagonal", "mean"))
    check_choice("method", method, ("auto", "jacobian", "vector_product", "structured"))
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    if memory_limit is not None:
        check_count("memory_limit", memory_limit)
    if dtype is not None:
        check_dtype("dtype", dtype)
    check_module(net)
    x1, x2 = check_inputs(net, x1, x2)
    with exact_operators(), torch.no_grad():
        probe = x1 if x2 is None or len(x1) > 1 else x2
        network = Network(net, probe)
        structure = find_structure(network, probe, rules=method in ("auto", "structured"))
        layers = list(dict.fromkeys(layer_of(name) for name in network.parameters)) if by_layer else [""]
        n1, n2 = len(x1), len(x1 if x2 is None else x2)
        dtype = network.dtype if dtype is None else dtype
        item = max(dtype.itemsize, network.dtype.itemsize)
        problem = Problem(outputs, n1, n2, network.n_outputs, x2 is None, item, len(layers))
        plan = make_plan(
            problem,
            network,
            structure,
            probe,
            remainder=_REMAINDER[method],
            chunk_size=chunk_size,
            memory_limit=memory_limit,
        )
        _report(net, structure, plan, explain)
        totals = {
            name: Accumulator(outputs, n1, n2, network.n_outputs, dtype, network.device) for name in layers
        }
        carry_out(plan, network, structure, x1, x2, lambda name: totals[name if by_layer else ""])
        if x2 is None:
            for total in totals.values():
                total.mirror()
    results = {name: total.result() for name, total in totals.items()}
    return results if by_layer else results[""]


def _report(net: nn.Module, structure: Structure, plan: Plan, explain: bool) -> None:
    if explain:
        print(plan.describe())
    for name, reason in structure.unexplained.items():
        key = (type(net), f"{name}: {reason}")
        if key not in _reported:
            _reported.add(key)
            logger.warning(
                "parameter %r of %s takes the slower route through its Jacobian: %s",
                name,
                type(net).__name__,
                reason,
            )


def empirical_nngp(net: nn.Module, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    r"""Return the second moment of a module's outputs, averaged over the output axis.

    .. math:: \hat\Sigma(x, x') = \frac{1}{K} \sum_{a=1}^K f_a(x; \theta) \, f_a(x'; \theta)

    For a network with random weights, its mean over draws is the covariance between inputs that a Gaussian
    process of the same architecture has at infinite width.

    Parameters
    ----------
    net : torch.nn.Module
        The network f, with outputs of shape (N, ...), flattened to (N, K).
    x1, x2 : Tensor
        Batches (N1, ...) and (N2, ...); ``x2=None`` means ``x1``.

    Returns
    -------
    Tensor
        (N1, N2), in the output's dtype, not part of any autograd graph.

    Raises
    ------
    TypeError, ValueError
        As :func:`empirical_ntk`, except that no parameter needs to require grad.

    Examples
    --------
    >>> import torch, ntkbook
    >>> x = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    >>> ntkbook.empirical_nngp(torch.nn.Identity(), x)
    tensor([[2.5000, 1.0000],
            [1.0000, 0.5000]])
    """
    check_module(net, needs_gradient=False)
    x1, x2 = check_inputs(net, x1, x2)
    with exact_operators(), torch.no_grad():
        network = Network(net, x1)
        f1 = network(network.parameters, x1)
        f2 = f1 if x2 is None else network(network.parameters, x2)
        return f1 @ f2.T / network.n_outputs
