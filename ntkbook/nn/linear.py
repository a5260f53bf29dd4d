"""The dense layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook._validation import check_count
from ntkbook.nn._inputs import check_axes
from ntkbook.nn._parametric import ParametricLayer, Scale


class Linear(ParametricLayer):
    r"""Dense layer with an explicit parameterization.

    .. math:: z = \frac{\sigma_w}{\sqrt{n_\mathrm{in}}} W x + \sigma_b b, \qquad W_{ij}, b_i \sim N(0, 1)

    for ``parameterization="ntk"`` (Jacot et al. 2018, section 2). The other parameterizations are tabulated
    in :class:`ntkbook.nn.ParametricLayer`.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last dimension, of the input and of the output.
    w_std, b_std : float or Tensor, optional
        Standard deviations of weights and biases; tensors of no dimensions keep their gradient.
        ``b_std=None`` means no bias.
    parameterization : {"ntk", "standard", "mean_field", "mup"}
        What is drawn and what is multiplied on.
    role : {"input", "hidden", "output"}
        The layer's place in the network, read by ``"mup"`` and ``"mean_field"`` only.
    s : float
        Width multiplier of the input under ``"standard"``: with ``in_features = s * N`` the limit :math:`s
        \to \infty` at fixed ``N`` exists (Sohl-Dickstein et al. 2020, equation 9); ``s = 1`` is the usual
        network.

    Notes
    -----
    Input (..., in_features), output (..., out_features); ``weight`` (out_features, in_features), ``bias``
    (out_features,).

    Examples
    --------
    >>> import torch
    >>> from ntkbook import nn
    >>> layer = nn.Linear(3, 5, w_std=1.5, b_std=0.1)
    >>> layer(torch.ones(2, 3)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        w_std: Scale = 1.0,
        b_std: Scale | None = None,
        parameterization: str = "ntk",
        role: str = "hidden",
        s: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_features = check_count("in_features", in_features)
        self.out_features = check_count("out_features", out_features)
        super().__init__(
            (out_features, in_features),
            (out_features,),
            channels_in=in_features,
            channels_out=out_features,
            area=1,
            w_std=w_std,
            b_std=b_std,
            parameterization=parameterization,
            role=role,
            s=s,
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        check_axes(self, x, "... in_features", in_features=self.in_features)
        return F.linear(x, *self.scaled_parameters())
