"""Self-attention whose width can go to infinity."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ntkbook._validation import check_choice, check_count, check_dtype, check_number
from ntkbook.nn._inputs import check_axes
from ntkbook.nn._parametric import Scale, check_std

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: torch.softmax(scores, dim=-1),
    "relu": torch.relu,
    "abs": torch.abs,
    "identity": lambda scores: scores,
}


class SelfAttention(torch.nn.Module):
    r"""Multi-head self-attention over a sequence, (N, T, C) to (N, T, C').

    .. math::
        f(x) = \sigma_o\, \big[\zeta(Q_h K_h^\top)\, V_h\big]_{h} W^O + \sigma_b b, \qquad
        Q_h = \sigma_q\, \tilde x\, W^Q_h, \quad K_h = \sigma_k\, \tilde x\, W^K_h, \quad V_h = \sigma_v\, x\,
        W^V_h

    all in the NTK parameterization (every sum divided by the root of its fan-in), :math:`\tilde x` the input
    with its positions. ``scaling="sqrt"`` divides the scores by :math:`\sqrt{d_k}` with independent queries
    and keys; its limit over heads is known in closed form for ``weighting="identity"`` only.
    ``scaling="linear"`` divides by :math:`d_k` and ties queries to keys, so that scores converge to
    :math:`\sigma_q \sigma_k \mathcal K(t, t')` and any weighting :math:`\zeta` has a limit. Hron et al. 2020,
    sections 3 and 4.

    Parameters
    ----------
    in_features, out_features : int
        The channels C of the input and C' of the output.
    n_heads, key_features, value_features : int
        How many heads, and the sizes of one head's keys and values; the limit takes all three to infinity.
    weighting : {"softmax", "relu", "abs", "identity"}
        :math:`\zeta`, by rows.
    scaling : {"linear", "sqrt"}
        See above.
    w_query_std : float or Tensor
        :math:`\sigma_q`, of the queries' weights.
    w_key_std : float or Tensor
        :math:`\sigma_k`, of the keys' weights.
    w_value_std : float or Tensor
        :math:`\sigma_v`, of the values' weights.
    w_out_std : float or Tensor
        :math:`\sigma_o`, of the weights that join the heads.
    b_std : float or Tensor, optional
        :math:`\sigma_b`; None means no bias.
    positions : {None, "sum", "concat"}
        Whether random positions are added to the channels or concatenated with them.
    n_tokens : int, optional
        Length T, needed with positions.
    position_features : int, optional
        Channels of concatenated positions; defaults to ``in_features``.
    position_std : float or Tensor
        Standard deviation of the positions.
    position_decay : callable, optional
        Maps the matrix of distances :math:`|t - t'|^p` to the positions' covariance (T, T); without it
        positions are independent.
    position_norm : float
        The power p.
    positions_in_values : bool
        Whether values see the positions too.

    Notes
    -----
    Parameters ``query_weight`` and ``key_weight`` (heads, key_features, C or C + positions), ``value_weight``
    (heads, value_features, C or C + positions), ``out_weight`` (C', heads * value_features), ``bias`` (C',),
    ``positions`` (T, channels). No ``query_weight`` under linear scaling.

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> nn.SelfAttention(5, 7, n_heads=4)(torch.ones(2, 3, 5)).shape
    torch.Size([2, 3, 7])
    """

    query_weight: torch.nn.Parameter | None
    positions: torch.nn.Parameter | None
    bias: torch.nn.Parameter | None
    position_root: Tensor | None
    parameterization = "ntk"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_heads: int = 8,
        key_features: int | None = None,
        value_features: int | None = None,
        *,
        weighting: str = "softmax",
        scaling: str = "linear",
        w_query_std: Scale = 1.0,
        w_key_std: Scale = 1.0,
        w_value_std: Scale = 1.0,
        w_out_std: Scale = 1.0,
        b_std: Scale | None = None,
        positions: str | None = None,
        n_tokens: int | None = None,
        position_features: int | None = None,
        position_std: Scale = 1.0,
        position_decay: Callable[[Tensor], Tensor] | None = None,
        position_norm: float = 2.0,
        positions_in_values: bool = False,
        parameterization: str = "ntk",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if parameterization != "ntk":
            raise ValueError(
                f"SelfAttention is defined for parameterization='ntk' only, got {parameterization!r}: its "
                "limit takes heads, keys and values to infinity together, for which no other "
                "parameterization is established"
            )
        if positions is not None:
            check_choice("positions", positions, ("sum", "concat"))
            if n_tokens is None:
                raise ValueError("positions need n_tokens, the length of the sequences")
            if positions == "sum" and position_features not in (None, in_features):
                raise ValueError(
                    f"positions='sum' have in_features={in_features} channels; got {position_features=}"
                )
        sizes = {
            "in_features": in_features,
            "out_features": out_features,
            "n_heads": n_heads,
            "key_features": in_features if key_features is None else key_features,
            "value_features": in_features if value_features is None else value_features,
        }
        for name, size in sizes.items():
            setattr(self, name, check_count(name, size))
        if position_features is not None:
            check_count("position_features", position_features)
        if n_tokens is not None:
            check_count("n_tokens", n_tokens)
        check_number("position_norm", position_norm)
        if dtype is not None:
            check_dtype("dtype", dtype)
        self.weighting = check_choice("weighting", weighting, tuple(WEIGHTINGS))
        self.scaling = check_choice("scaling", scaling, ("linear", "sqrt"))
        self.position_mode, self.n_tokens = positions, n_tokens
        self.position_features = 0 if positions is None else (position_features or in_features)
        self.position_decay, self.position_norm = position_decay, position_norm
        self.positions_in_values = positions_in_values and positions is not None
        scales = {"w_query_std": w_query_std, "w_key_std": w_key_std, "w_value_std": w_value_std}
        scales |= {"w_out_std": w_out_std, "position_std": position_std}
        for name, value in {**scales, "b_std": b_std}.items():
            self.__dict__[name] = check_std(name, value)

        def parameter(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        key_in = in_features + (self.position_features if positions == "concat" else 0)
        value_in = key_in if self.positions_in_values else in_features
        self.key_weight = parameter(n_heads, self.key_features, key_in)
        if scaling == "sqrt":
            self.query_weight = parameter(n_heads, self.key_features, key_in)
        else:
            self.register_parameter("query_weight", None)
        self.value_weight = parameter(n_heads, self.value_features, value_in)
        self.out_weight = parameter(out_features, n_heads * self.value_features)
        self.register_parameter("bias", None if b_std is None else parameter(out_features))
        if positions is None:
            self.register_parameter("positions", None)
            self.register_buffer("position_root", None)
        else:
            assert n_tokens is not None
            self.positions = parameter(n_tokens, self.position_features)
            covariance = self.position_covariance(n_tokens, self.positions)
            root, failed = torch.linalg.cholesky_ex(covariance)
            if bool(failed):
                smallest = float(torch.linalg.eigvalsh(covariance.detach()).min())
                raise ValueError(
                    "position_decay must give a positive definite covariance, but the smallest eigenvalue of "
                    f"that of n_tokens={n_tokens} is {smallest:.3g}; take a kernel of the distance, such as "
                    "lambda d: torch.exp(-d)"
                )
            self.register_buffer("position_root", root.detach())
        self.reset_parameters()

    in_features: int
    out_features: int
    n_heads: int
    key_features: int
    value_features: int
    w_query_std: Scale
    w_key_std: Scale
    w_value_std: Scale
    w_out_std: Scale
    position_std: Scale
    b_std: Scale | None

    def reset_parameters(self) -> None:
        """Draw all parameters anew from N(0, 1), with torch's global generator."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_()

    def position_covariance(self, n_tokens: int, like: Tensor) -> Tensor:
        """Return the covariance (T, T) of one channel of the positions, before ``position_std``."""
        if self.position_decay is None:
            return torch.eye(n_tokens, dtype=like.dtype, device=like.device)
        steps = torch.arange(n_tokens, dtype=like.dtype, device=like.device)
        covariance = self.position_decay((steps.unsqueeze(1) - steps).abs() ** self.position_norm)
        if not isinstance(covariance, Tensor) or covariance.shape != (n_tokens, n_tokens):
            got = tuple(covariance.shape) if isinstance(covariance, Tensor) else type(covariance).__name__
            raise ValueError(
                f"position_decay must map distances ({n_tokens}, {n_tokens}) to a tensor of the same shape, "
                f"got {got}; act on each entry"
            )
        return covariance

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, C) to (N, T, C')."""
        check_axes(self, x, "N T C", C=self.in_features)
        located = self._with_positions(x)
        keys = torch.einsum("ntc,hkc->nhtk", located, self.key_weight)
        queries = keys
        if self.query_weight is not None:
            queries = torch.einsum("ntc,hkc->nhtk", located, self.query_weight)
        divisor = self.key_features if self.scaling == "linear" else math.sqrt(self.key_features)
        scores = queries @ keys.mT * (self.w_query_std * self.w_key_std / (located.shape[-1] * divisor))
        source = located if self.positions_in_values else x
        values = torch.einsum("ntc,hvc->nhtv", source, self.value_weight) / math.sqrt(source.shape[-1])
        heads = (
            (WEIGHTINGS[self.weighting](scores) @ values).transpose(1, 2).flatten(2)
        )  # (N, T, heads * values)
        out = heads @ self.out_weight.mT * (self.w_value_std * self.w_out_std / math.sqrt(heads.shape[-1]))
        return out if self.bias is None or self.b_std is None else out + self.b_std * self.bias

    def _with_positions(self, x: Tensor) -> Tensor:
        if self.positions is None or self.position_root is None:
            return x
        if x.shape[1] != self.n_tokens:
            raise ValueError(
                f"x must have {self.n_tokens} tokens, as the positions have; got shape {tuple(x.shape)}"
            )
        positions = self.position_root @ self.positions * self.position_std
        if self.position_mode == "sum":
            return x + positions
        return torch.cat([x, positions.expand(x.shape[0], -1, -1)], dim=-1)

    def extra_repr(self) -> str:
        """Show sizes, weighting and scaling."""
        return (
            f"{self.in_features}, {self.out_features}, n_heads={self.n_heads}, weighting={self.weighting!r}, "
            f"scaling={self.scaling!r}, positions={self.position_mode!r}"
        )
