r"""The kernel as a matrix that is never formed: products with vectors, and its largest eigenvalues."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ntkbook._validation import as_numpy, check_count, check_finite, check_positive
from ntkbook.empirical.checks import check_inputs, check_module
from ntkbook.empirical.network import Network, exact_operators
from ntkbook.empirical.tangents import TangentMaps


def ntk_vector_product(
    net: nn.Module,
    x1: Tensor,
    x2: Tensor | None,
    vector: Tensor,
    *,
    chunk_size: int | None = None,
) -> Tensor:
    r"""Return the product of a module's tangent kernel with a vector, without the kernel.

    .. math:: (\hat\Theta v)_{ia} = \sum_{j,b} \hat\Theta_{ab}(x_i, y_j) \, v_{jb}
        = \big[ J(X) \, J(Y)^\top v \big]_{ia}

    Parameters
    ----------
    net : torch.nn.Module
        The network f, as in :func:`ntkbook.empirical_ntk`.
    x1, x2 : Tensor
        The batches X (N1, ...) and Y (N2, ...); ``None`` for ``x2`` means ``x1``.
    vector : Tensor
        v, of the shape of ``net(x2)``: one number for each sample and output.
    chunk_size : int, optional
        Samples processed at a time; by default all.

    Returns
    -------
    Tensor
        Of the shape of ``net(x1)``, not part of any autograd graph.

    Raises
    ------
    TypeError, ValueError
        As :func:`ntkbook.empirical_ntk`; also if ``vector`` does not have the shape, dtype and device of the
        output.

    Notes
    -----
    One backward pass over Y and one forward-mode pass over X: about four forward passes, and memory for one
    more set of parameters.

    Examples
    --------
    >>> import torch, ntkbook
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Linear(3, 2)
    >>> x, v = torch.randn(4, 3), torch.randn(4, 2)
    >>> dense = torch.einsum("ijab,jb->ia", ntkbook.empirical_ntk(net, x), v)
    >>> product = ntkbook.ntk_vector_product(net, x, None, v)
    >>> torch.allclose(product, dense, atol=1e-5)
    True
    """
    operator = NTKOperator(net, x1, x2, chunk_size=chunk_size)
    shape = (operator.n2, *operator.sample_shape)
    if not isinstance(vector, Tensor) or vector.shape != shape:
        got = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
        raise ValueError(f"vector must be a tensor of the shape {shape} of net(x2), got {got}")
    if vector.dtype != operator.torch_dtype or vector.device != operator.device:
        raise ValueError(
            f"vector is {vector.dtype} on {vector.device} but the output of net is {operator.torch_dtype} "
            f"on {operator.device}; convert it with vector.to(net(x2))"
        )
    check_finite("vector", vector)
    product: Tensor = operator @ vector.reshape(-1)
    return product.reshape(operator.n1, *operator.sample_shape)


class NTKOperator:
    r"""A module's tangent kernel as a linear operator of shape (N1 K, N2 K), never formed.

    It has what ``scipy.sparse.linalg`` asks of an operator (``shape``, ``dtype``, ``matvec``, ``rmatvec``,
    ``matmat``), so ``eigsh(operator)`` and ``cg(operator, b)`` work as they stand. Vectors are flat, outputs
    fastest: entry i K + a belongs to sample i and output a.

    Parameters
    ----------
    net : torch.nn.Module
        The network f. Its parameters are those at the time of construction.
    x1, x2 : Tensor
        Batches (N1, ...) and (N2, ...); ``x2=None`` means ``x1``, and a symmetric operator.
    chunk_size : int, optional
        Samples processed at a time; by default all.

    Attributes
    ----------
    shape : tuple of int
        (N1 K, N2 K).
    dtype : numpy.dtype
        Of NumPy vectors; float32 for a network in bfloat16, which NumPy lacks.
    torch_dtype, device
        Of torch vectors: those of the network's output.
    n1, n2, n_outputs : int
        N1, N2, K.
    sample_shape : torch.Size
        The shape of one output before flattening.
    symmetric : bool
        Whether ``x2`` was None.

    Examples
    --------
    >>> import torch, ntkbook
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    >>> x = torch.randn(5, 3, dtype=torch.float64)
    >>> operator = ntkbook.NTKOperator(net, x)
    >>> operator.shape, (operator @ torch.ones(10, dtype=torch.float64)).shape
    ((10, 10), torch.Size([10]))
    >>> dense = ntkbook.empirical_ntk(net, x).transpose(1, 2).reshape(10, 10)
    >>> top = torch.linalg.eigvalsh(dense).flip(0)[:2]
    >>> torch.allclose(operator.top_eigenvalues(2), top)
    True
    """

    def __init__(
        self, net: nn.Module, x1: Tensor, x2: Tensor | None = None, *, chunk_size: int | None = None
    ) -> None:
        if chunk_size is not None:
            check_count("chunk_size", chunk_size)
        check_module(net)
        self._x1, second = check_inputs(net, x1, x2)
        self.symmetric = second is None
        self._x2 = self._x1 if second is None else second
        with exact_operators(), torch.no_grad():
            network = Network(net, self._x1, copy_parameters=True)
            self._maps = TangentMaps(network, self._x1)
        self.n1, self.n2, self.n_outputs = len(self._x1), len(self._x2), network.n_outputs
        self.sample_shape, self.torch_dtype, self.device = network.sample_shape, network.dtype, network.device
        self.shape = (self.n1 * self.n_outputs, self.n2 * self.n_outputs)
        self.dtype: np.dtype[np.float64] = as_numpy(torch.empty(0, dtype=self.torch_dtype)).dtype
        self._chunk = chunk_size or max(self.n1, self.n2)

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with a vector (N2 K,) or the columns of a matrix (N2 K, m)."""
        return self._apply(self._x1, self._x2, v)

    def matvec(self, v: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the product with a NumPy vector (N2 K,)."""
        return self._numpy(self._x1, self._x2, v)

    def rmatvec(self, v: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the product of the transpose with a NumPy vector (N1 K,)."""
        return self._numpy(self._x2, self._x1, v)

    def matmat(self, v: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the product with a NumPy matrix (N2 K, m)."""
        return self._numpy(self._x1, self._x2, v)

    def top_eigenvalues(self, k: int = 1, *, tolerance: float = 0.0) -> Tensor:
        """Return the k largest eigenvalues of a symmetric operator, largest first, by Lanczos iteration.

        Parameters
        ----------
        k : int
            How many; fewer than N K.
        tolerance : float
            Relative accuracy; 0 means that of the dtype.

        Raises
        ------
        ValueError
            If the operator is not symmetric, or ``k`` does not lie between 1 and N K - 1.
        """
        from scipy.sparse.linalg import eigsh

        if not self.symmetric:
            raise ValueError("eigenvalues need a symmetric operator; build NTKOperator with x2=None")
        check_positive("tolerance", tolerance, zero_allowed=True)
        if check_count("k", k) >= self.shape[0]:
            raise ValueError(f"k must lie between 1 and N K - 1 = {self.shape[0] - 1}, got {k}")
        # A fixed start makes the result repeat; an NTK has no reason to be orthogonal to a wave.
        start = np.cos(1.0 + np.arange(self.shape[0], dtype=self.dtype))
        values = eigsh(self, k=k, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)
        return torch.as_tensor(np.sort(values)[::-1].copy(), dtype=self.torch_dtype, device=self.device)

    def _numpy(self, x: Tensor, y: Tensor, v: npt.ArrayLike) -> npt.NDArray[np.float64]:
        array = np.asarray(v)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"v must hold real numbers, got {array.dtype} in {v!r:.40}; pass a float array")
        vector = torch.as_tensor(array, dtype=self.torch_dtype, device=self.device)
        return as_numpy(self._apply(x, y, vector))

    def _apply(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        size = len(y) * self.n_outputs
        if not isinstance(v, Tensor):
            raise TypeError(f"v must be a torch.Tensor, got {type(v).__name__}; use torch.as_tensor(v)")
        if v.dtype != self.torch_dtype or v.device != self.device:
            raise ValueError(
                f"v is {v.dtype} on {v.device} but the output of net is {self.torch_dtype} on {self.device}; "
                f"use v.to({str(self.device)!r}, {self.torch_dtype})"
            )
        if v.ndim not in (1, 2) or len(v) != size:
            raise ValueError(
                f"the kernel has shape {(len(x) * self.n_outputs, size)}, so it multiplies vectors "
                f"({size},) or matrices ({size}, m); got v of shape {tuple(v.shape)}"
            )
        check_finite("v", v)
        columns = v.reshape(size, -1).T
        with exact_operators(), torch.no_grad():
            product = torch.stack([self._one(x, y, column.reshape(len(y), -1)) for column in columns])
        return product.flatten(1).T.reshape(-1, *v.shape[1:])

    def _one(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        parts = [
            self._maps.pull(y[i : i + self._chunk], u[i : i + self._chunk])
            for i in range(0, len(y), self._chunk)
        ]
        direction = parts[0]
        for part in parts[1:]:
            for name, tangent in part.items():
                direction[name] += tangent
        pushed = [self._maps.push(x[i : i + self._chunk], direction) for i in range(0, len(x), self._chunk)]
        return torch.cat(pushed)
