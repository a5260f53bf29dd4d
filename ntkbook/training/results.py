"""What a training run leaves behind, as immutable records with the shape of every field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Movement:
    r"""How far trained parameters are from where they started; :math:`\Delta\theta_t = \theta_t - \theta_0`.

    Attributes
    ----------
    norm : Tensor
        (S, T), :math:`\lVert \Delta\theta_t \rVert_2`.
    relative : Tensor
        (S, T), :math:`\lVert \Delta\theta_t \rVert_2 / \lVert \theta_0 \rVert_2`.
    largest : Tensor
        (S, T), :math:`\max_p \lvert \Delta\theta_{t,p} \rvert`, the largest entry.
    n_parameters : int
        P, how many entries move; their root mean square is ``norm / P**0.5``.
    by_layer : dict of str to Movement
        The same for each layer that is trained; empty in the movement of a layer.
    """

    norm: Tensor
    relative: Tensor
    largest: Tensor
    n_parameters: int
    by_layer: Mapping[str, Movement]


@dataclass(frozen=True)
class KernelHistory:
    r"""The empirical tangent kernel :math:`\hat\Theta_t` of each network along its training.

    It sums over the trained parameters, each weighted with the factor on its learning rate, so that it is
    the kernel of the dynamics: :math:`\dot f = -\hat\Theta_t \nabla_f \mathcal L`. An output scale does not
    enter. A kernel has the shape (N, N, K, K), or (N, N) with ``kernel_outputs="mean"``.

    Attributes
    ----------
    first, last : Tensor
        (S, N, N, K, K), at initialization and at the last record.
    drift : Tensor
        (S, T), :math:`\lVert \hat\Theta_t - \hat\Theta_0 \rVert_F / \lVert \hat\Theta_0 \rVert_F`.
    drift_by_layer : dict of str to Tensor
        (S, T) for each trained layer, the same ratio for its part of the kernel: the sum over its
        parameters.
    drift_of_rest : Tensor or None
        (S, T), the same ratio for all layers but the last together. The last layer's part is the Gram of the
        features; the rest carries the derivatives of the activations. None if a single layer is trained.
    all : Tensor or None
        (S, T, N, N, K, K), the kernels at all records, if ``"kernels"`` is kept.
    """

    first: Tensor
    last: Tensor
    drift: Tensor
    drift_by_layer: Mapping[str, Tensor]
    drift_of_rest: Tensor | None
    all: Tensor | None


@dataclass(frozen=True)
class LinearRun:
    r"""The networks linearized at their initialization, trained by the same steps.

    Attributes
    ----------
    outputs_train : Tensor
        (S, T, N, K).
    outputs_test : Tensor or None
        (S, T, M, K).
    error_train : Tensor
        (S, T), :math:`\lVert f_t(X) - f_t^{\mathrm{lin}}(X) \rVert_2` over all N K entries.
    error_test : Tensor or None
        (S, T), the same at the test points. ``error_test.amax(1)`` is the supremum over the records.
    """

    outputs_train: Tensor
    outputs_test: Tensor | None
    error_train: Tensor
    error_test: Tensor | None


@dataclass(frozen=True)
class TrainingRun:
    """S networks trained alike, seen at T moments on N training and M test points with K outputs.

    Outputs and parameters are in the networks' dtype and on their device, everything that is derived from
    them is float64, except for kernels.

    Attributes
    ----------
    steps : Tensor
        (T,), whole numbers of steps taken before each record.
    times : Tensor
        (T,), ``steps * learning_rate``, float64.
    outputs_train : Tensor
        (S, T, N, K).
    outputs_test : Tensor or None
        (S, T, M, K), None without test points.
    loss : Tensor
        (S, T), the loss on the training set, in the convention of ``loss`` and ``reduction``.
    movement : Movement
        Of the trained parameters.
    kernel : KernelHistory or None
        If ``"kernel"`` or ``"kernels"`` is kept.
    linear : LinearRun or None
        If ``"linearization"`` is kept.
    parameters : dict of str to Tensor
        (S, T, ...) for each parameter that is kept, by name.
    networks : tuple of torch.nn.Module
        The S trained networks, if ``"networks"`` are kept, otherwise empty.
    """

    steps: Tensor
    times: Tensor
    outputs_train: Tensor
    outputs_test: Tensor | None
    loss: Tensor
    movement: Movement
    kernel: KernelHistory | None
    linear: LinearRun | None
    parameters: Mapping[str, Tensor]
    networks: tuple[torch.nn.Module, ...]
