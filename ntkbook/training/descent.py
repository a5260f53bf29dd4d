"""The descent of networks that are trained together, step by step."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ntkbook._warn import warn
from ntkbook.dynamics import max_learning_rate
from ntkbook.dynamics.losses import LossFunction
from ntkbook.training.ensemble import Ensemble, not_together
from ntkbook.training.integrator import Integrator
from ntkbook.training.linear import LinearDescent
from ntkbook.training.losses import ensemble_loss
from ntkbook.training.recorder import Notes, Recorder
from ntkbook.training.tangent import TangentKernel


@dataclass(frozen=True)
class Experiment:
    """What is done to every network alike; the arguments of `ntkbook.training.train`, checked.

    Attributes
    ----------
    x_train, y_train, x_test, loss, reduction, learning_rate, steps, momentum, centre, output_scale, keep
        As there.
    midpoint : bool
        Whether the integrator is the midpoint rule.
    factors : dict of str to float
        The factor on the learning rate of each trained parameter.
    moments : list of int
        The steps to record.
    kernel : TangentKernel or None
        To be recorded.
    linear_kernel : TangentKernel or None
        Between all points and the training points, if the linearized networks are to be trained.
    stop : bool
        Whether to raise an error when a loss is not finite.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor | None
    loss: str | LossFunction
    reduction: str
    learning_rate: float
    steps: int
    momentum: float
    midpoint: bool
    centre: bool
    output_scale: float
    factors: Mapping[str, float]
    moments: Sequence[int]
    keep: frozenset[str]
    kernel: TangentKernel | None
    linear_kernel: TangentKernel | None
    stop: bool


class Descent:
    """Networks trained together.

    Parameters
    ----------
    experiment : Experiment
        What to do.
    nets : sequence of torch.nn.Module
        S networks at initialization.
    index : int
        The number of the first of them, for messages.
    """

    def __init__(self, experiment: Experiment, nets: Sequence[nn.Module], index: int) -> None:
        self._do, self._index, self._taken = experiment, index, 0
        self._ensemble = Ensemble(nets, experiment.x_train)
        self._names = list(experiment.factors)
        self._values = [self._ensemble.state[name].clone() for name in self._names]
        start = [self._ensemble.outputs({}, x) for x in self._batches]
        self._start = start if experiment.centre else None
        self._loss = ensemble_loss(experiment.loss, experiment.reduction, experiment.y_train, start[0])
        rates = [experiment.learning_rate * factor for factor in experiment.factors.values()]
        self._integrator = Integrator(rates, experiment.momentum, experiment.midpoint)
        self._recorder = Recorder(self._ensemble.state, self._names, experiment.kernel, experiment.keep)
        self._linear = None
        if experiment.linear_kernel is not None:
            kernels = self._kernels(experiment.linear_kernel)
            self._warn_if_unstable(kernels[:, : len(experiment.x_train)])
            self._linear = LinearDescent(
                kernels,
                torch.cat([self._outputs(i) for i in range(len(self._batches))], 1),
                len(experiment.x_train),
                self._loss,
                Integrator([experiment.learning_rate], experiment.momentum, experiment.midpoint),
            )

    @property
    def _batches(self) -> list[Tensor]:
        return [self._do.x_train] if self._do.x_test is None else [self._do.x_train, self._do.x_test]

    def _kernels(self, kernel: TangentKernel) -> Tensor:
        """Return the networks' kernels at initialization, (S, ...)."""
        state = self._ensemble.state
        count = len(self._values[0])
        parts = [kernel({name: value[s] for name, value in state.items()}) for s in range(count)]
        return torch.stack([torch.stack(list(part.values())).sum(0) for part in parts])

    def _outputs(self, batch: int, values: Sequence[Tensor] | None = None) -> Tensor:
        """Return the outputs, centred and scaled, (S, N, K), at the present parameters or at those given."""
        moved = dict(zip(self._names, self._values if values is None else values, strict=True))
        outputs = self._ensemble.outputs(moved, self._batches[batch])
        if self._start is not None:
            outputs = outputs - self._start[batch]
        return outputs if self._do.output_scale == 1 else self._do.output_scale * outputs

    def _gradient(self, values: Sequence[Tensor]) -> Sequence[Tensor]:
        leaves = [value.detach().requires_grad_() for value in values]
        moved = dict(zip(self._names, leaves, strict=True))
        with torch.enable_grad():
            return self._ensemble.holding(moved, lambda: self._pulled_back(leaves))

    def _pulled_back(self, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        losses = self._loss(self._outputs(0, leaves))
        if not losses.requires_grad:
            raise ValueError(
                f"the loss does not depend on the trained parameters {', '.join(self._names)}; take "
                "detach() and torch.no_grad() out of the network and the loss"
            )
        self._check(losses)
        total = losses.sum()
        if self._do.output_scale != 1:
            total = total / self._do.output_scale**2
        try:
            return torch.autograd.grad(total, leaves, materialize_grads=True)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # such as of torch.utils.checkpoint, which computes anew in here
            if len(leaves[0]) == 1:
                raise
            raise not_together(f"the gradient of {type(self._ensemble.net).__name__}", error) from error

    def _check(self, losses: Tensor) -> None:
        good = torch.isfinite(losses.detach())
        if self._do.stop and not bool(good.all()):
            s = int((~good).nonzero()[0])
            raise FloatingPointError(
                f"training diverged: the loss of network {self._index + s} is {losses[s].item()} after "
                f"{self._taken} of {self._do.steps} steps with learning_rate={self._do.learning_rate:g}; "
                f"{self._advice()}, or pass diverged='nan' to go on with the other networks"
            )

    def _advice(self) -> str:
        do = self._do
        if do.loss != "mse":
            return "lower it"
        kernels = self._kernels(TangentKernel(self._ensemble.net, do.factors, do.x_train))
        return f"the linearized networks are stable below {self._limit(kernels):.3g}"

    def _limit(self, kernels: Tensor) -> float:
        """Return the largest stable learning rate on the squared loss, of kernels (S, N, N, K, K)."""
        s, n, _, k, _ = kernels.shape
        matrices = kernels.permute(0, 1, 3, 2, 4).reshape(s, n * k, n * k)
        do = self._do
        return min(max_learning_rate(m, reduction=do.reduction, momentum=do.momentum) for m in matrices)

    def _warn_if_unstable(self, kernels: Tensor) -> None:
        limit = self._limit(kernels) if self._do.loss == "mse" else float("inf")
        if self._do.learning_rate >= limit:
            warn(
                f"learning_rate={self._do.learning_rate:g} is not below {limit:.6g}, the stable limit of the "
                "linearized networks: the outputs of one or more of them grow without bound"
            )

    def run(self, bar: tqdm[NoReturn]) -> Notes:
        """Take all steps and return the notes; the bar moves by one for each network and step."""
        due = set(self._do.moments)
        for step in range(self._do.steps + 1):
            self._taken = step
            if step in due:
                self._record()
            if step < self._do.steps:
                self._integrator.step(self._values, self._gradient)
                if self._linear is not None:
                    self._linear.step()
                bar.update(len(self._values[0]))
        return self._recorder.result()

    def _record(self) -> None:
        outputs = self._outputs(0)
        losses = self._loss(outputs)
        self._check(losses)
        tested = None if self._do.x_test is None else self._outputs(1)
        self._recorder.note(outputs_train=outputs, outputs_test=tested, loss=losses)
        if self._linear is not None:
            train, test = self._linear.outputs
            self._recorder.note(linear_train=train, linear_test=test)
        self._recorder.look(dict(zip(self._names, self._values, strict=True)))

    def trained(self, s: int, net: nn.Module) -> nn.Module:
        """Return a copy of the s-th network with its parameters as they are now."""
        net = copy.deepcopy(net)
        parameters = dict(net.named_parameters())
        for name, value in zip(self._names, self._values, strict=True):
            parameters[name].data.copy_(value[s])
        return net
