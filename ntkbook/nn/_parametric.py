"""What every layer with random weights shares: its parameterization."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkbook._validation import check_choice, check_dtype, check_positive, check_square, has_values

PARAMETERIZATIONS = ("ntk", "standard", "mean_field", "mup")
ROLES = ("input", "hidden", "output")

Scale = float | Tensor


def check_std(name: str, value: Scale | None) -> Scale | None:
    """Return a standard deviation: a number >= 0, or a 0-dimensional tensor, which may need gradients.

    Kernels hold its square, which must be a normal number too.
    """
    if isinstance(value, Tensor):
        if value.ndim != 0:
            raise ValueError(
                f"{name} must be a number or a tensor of no dimensions, got shape {tuple(value.shape)}"
            )
        if value.is_floating_point():
            if has_values(value):
                check_positive(name, value.detach(), zero_allowed=True)
                check_square(name, value.detach(), value.dtype)
            return value
    if value is None:
        return None
    return check_square(name, check_positive(name, value, zero_allowed=True))


class ParametricLayer(torch.nn.Module):
    r"""A layer whose forward pass is linear in ``scale * parameter``.

    With fan-in :math:`n_\mathrm{in} = a\,c_\mathrm{in}` (``a`` the kernel's area, 1 for a dense layer) and
    :math:`c_\mathrm{out}` outputs, weights are drawn from :math:`N(0, \mathrm{init}^2)` and enter the forward
    pass as ``weight_scale * weight``; biases likewise. In the table :math:`\sigma_w` is ``w_std``, and
    :math:`\sigma_b` is ``b_std``.

    .. list-table::
        :header-rows: 1

        * - parameterization, role
          - weight init
          - weight scale
          - bias init
          - bias scale
        * - ``ntk``
          - 1
          - :math:`\sigma_w / \sqrt{n_\mathrm{in}}`
          - 1
          - :math:`\sigma_b`
        * - ``standard``
          - :math:`\sigma_w / \sqrt{n_\mathrm{in}/s}`
          - :math:`1/\sqrt s`
          - :math:`\sigma_b`
          - 1
        * - ``mup``, ``mean_field``: input
          - :math:`1/\sqrt{c_\mathrm{out}}`
          - :math:`\sigma_w \sqrt{c_\mathrm{out}/n_\mathrm{in}}`
          - :math:`1/\sqrt{c_\mathrm{out}}`
          - :math:`\sigma_b \sqrt{c_\mathrm{out}}`
        * - ``mup``, ``mean_field``: output
          - :math:`1/\sqrt{c_\mathrm{in}}`
          - :math:`\sigma_w / \sqrt{n_\mathrm{in}}`
          - 1
          - :math:`\sigma_b`
        * - ``mup``: hidden
          - :math:`1/\sqrt{c_\mathrm{in}}`
          - :math:`\sigma_w / \sqrt a`
          - :math:`1/\sqrt{c_\mathrm{out}}`
          - :math:`\sigma_b \sqrt{c_\mathrm{out}}`
        * - ``mean_field``: hidden
          - :math:`1/\sqrt{c_\mathrm{in}}`
          - :math:`\sigma_w / \sqrt{n_\mathrm{in}}`
          - :math:`1/\sqrt{c_\mathrm{out}}`
          - :math:`\sigma_b \sqrt{c_\mathrm{out}}`

    The last four rows are written in the gauge in which one learning rate, independent of the width, serves
    all layers: gradient descent on these parameters is mean-field training with its learning rate multiplied
    by the width.

    Attributes
    ----------
    w_std, b_std : float or Tensor or None
        Standard deviations; a tensor keeps its gradient and is never a parameter of the network.
        ``b_std=None`` means no bias.
    parameterization, role : str
        As in the table.
    s : float
        Width multiplier of the layer's input (Sohl-Dickstein et al. 2020, section 3); only ``"standard"``
        reads it.
    """

    weight: torch.nn.Parameter
    bias: torch.nn.Parameter | None
    w_std: Scale
    b_std: Scale | None

    def __init__(
        self,
        weight_shape: tuple[int, ...],
        bias_shape: tuple[int, ...],
        *,
        channels_in: int,
        channels_out: int,
        area: int,
        w_std: Scale,
        b_std: Scale | None,
        parameterization: str,
        role: str,
        s: float,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.parameterization = check_choice("parameterization", parameterization, PARAMETERIZATIONS)
        self.role = check_choice("role", role, ROLES)
        self.s = check_positive("s", s)
        self.channels_in, self.channels_out, self.area = channels_in, channels_out, area
        # Straight into __dict__: a Parameter given as w_std must not become a parameter of the network.
        self.__dict__["w_std"] = check_std("w_std", w_std)
        self.__dict__["b_std"] = check_std("b_std", b_std)
        if dtype is not None:
            check_dtype("dtype", dtype)
        self.weight = torch.nn.Parameter(torch.empty(weight_shape, device=device, dtype=dtype))
        if b_std is None:
            self.register_parameter("bias", None)
        else:
            self.bias = torch.nn.Parameter(torch.empty(bias_shape, device=device, dtype=dtype))
        self.reset_parameters()

    @property
    def fan_in(self) -> int:
        """Number of inputs to one output, which is channels times the whole window, also at the borders."""
        return self.channels_in * self.area

    @property
    def scales_with_width(self) -> bool:
        """Whether the parameterization has feature learning at infinite width (``mup`` or ``mean_field``)."""
        return self.parameterization in ("mup", "mean_field")

    @property
    def weight_scale(self) -> Scale:
        """The factor on ``weight`` in the forward pass."""
        if self.parameterization == "standard":
            return 1 / math.sqrt(self.s)
        if self.scales_with_width and self.role == "input":
            return self.w_std * math.sqrt(self.channels_out / self.fan_in)
        if self.parameterization == "mup" and self.role == "hidden":
            return self.w_std / math.sqrt(self.area)
        return self.w_std / math.sqrt(self.fan_in)

    @property
    def bias_scale(self) -> Scale:
        """The factor on ``bias`` in the forward pass; 0 without a bias."""
        if self.b_std is None:
            return 0.0
        if self.parameterization == "standard":
            return 1.0
        if self.scales_with_width and self.role != "output":
            return self.b_std * math.sqrt(self.channels_out)
        return self.b_std

    def reset_parameters(self) -> None:
        """Draw weights and biases anew from the distributions of the table, with torch's global generator."""
        weight_init = bias_init = 1.0
        if self.parameterization == "standard":
            weight_init = float(self.w_std) / math.sqrt(self.fan_in / self.s)
            bias_init = 0.0 if self.b_std is None else float(self.b_std)
        elif self.scales_with_width:
            weight_init = 1 / math.sqrt(self.channels_out if self.role == "input" else self.channels_in)
            bias_init = 1.0 if self.role == "output" else 1 / math.sqrt(self.channels_out)
        with torch.no_grad():
            self.weight.normal_(0.0, weight_init)
            if self.bias is not None:
                self.bias.normal_(0.0, bias_init)

    def scaled_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Return ``weight_scale * weight`` and ``bias_scale * bias``, as the forward pass uses them."""
        weight = self.weight * self.weight_scale
        return weight, None if self.bias is None else self.bias * self.bias_scale

    def extra_repr(self) -> str:
        """Show sizes, standard deviations and parameterization."""
        stds = f"w_std={_number(self.w_std)}, b_std={_number(self.b_std)}"
        text = f"{self.channels_in}, {self.channels_out}, {stds}"
        if self.parameterization != "ntk":
            text += f", parameterization={self.parameterization!r}"
        return text + (f", role={self.role!r}" if self.scales_with_width else "")


def _number(value: Scale | None) -> float | None:
    return float(value.detach()) if isinstance(value, Tensor) else value
