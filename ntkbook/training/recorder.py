"""What is written down at a moment of training, and the record of the whole run that is made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from ntkbook.empirical.routes import layer_of
from ntkbook.training.results import KernelHistory, LinearRun, Movement, TrainingRun
from ntkbook.training.tangent import TangentKernel

Notes = dict[str, Tensor]


class Recorder:
    """Notes on S networks at one moment after another.

    Parameters
    ----------
    start : mapping of str to Tensor
        (S, ...), all parameters and buffers at initialization.
    trained : sequence of str
        Names of the trained parameters.
    kernel : TangentKernel, optional
        Evaluated at each moment.
    keep : collection of str
        As in `ntkbook.training.train`.
    """

    def __init__(
        self,
        start: Mapping[str, Tensor],
        trained: Sequence[str],
        kernel: TangentKernel | None,
        keep: Collection[str],
    ) -> None:
        self._start, self._trained, self._kernel, self._keep = start, trained, kernel, keep
        self._kept = [name for name in start if name in keep or ("parameters" in keep and name in trained)]
        self._notes: dict[str, list[Tensor]] = {}
        self._constant: Notes = {}
        for layer, names in _layers(trained).items():
            self._constant[f"square/{layer}"] = sum_of_squares(start, names)
        if kernel is not None:
            self._first = self._kernels(start)
            self._constant["kernel/first"] = torch.stack([parts["drift"] for parts in self._first])

    def note(self, **values: Tensor | None) -> None:
        """Write down tensors (S, ...) under their names."""
        for name, value in values.items():
            if value is not None:
                self._notes.setdefault(name, []).append(value)

    def look(self, moved: Mapping[str, Tensor]) -> None:
        """Write down where the parameters are, and their kernel."""
        for layer, names in _layers(self._trained).items():
            steps = {name: moved[name] - self._start[name] for name in names}
            self.note(**{f"moved/{layer}": sum_of_squares(steps, names)})
            largest = [step.flatten(1).abs().amax(1) for step in steps.values()]
            self.note(**{f"largest/{layer}": torch.stack(largest).amax(0).double()})
        self.note(**{f"parameter/{name}": moved.get(name, self._start[name]).clone() for name in self._kept})
        if self._kernel is not None:
            kernels = self._kernels({**self._start, **moved})
            for name in kernels[0]:
                pairs = zip(self._first, kernels, strict=True)
                self.note(**{name: torch.stack([_drift(first[name], now[name]) for first, now in pairs])})
            self._constant["kernel/last"] = torch.stack([parts["drift"] for parts in kernels])
            self.note(kernels=self._constant["kernel/last"] if "kernels" in self._keep else None)

    def _kernels(self, state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return each network's kernel and its parts, under the names of their drifts."""
        assert self._kernel is not None
        found = []
        for s in range(len(next(iter(state.values())))):
            layers = self._kernel({name: value[s] for name, value in state.items()})
            parts = {f"drift/{layer}": part for layer, part in layers.items()}
            parts["drift"] = torch.stack(list(layers.values())).sum(0)
            if len(layers) > 1:
                parts["drift_of_rest"] = torch.stack(list(layers.values())[:-1]).sum(0)
            found.append(parts)
        return found

    def result(self) -> Notes:
        """Return everything noted: (S, T, ...) what was noted at each moment, (S, ...) the rest."""
        return {**self._constant, **{name: torch.stack(values, 1) for name, values in self._notes.items()}}


def sum_of_squares(values: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Return the sum over all entries of the named tensors, (S,), float64."""
    squares = [values[name].flatten(1).double().square().sum(1) for name in names]
    total: Tensor = torch.stack(squares).sum(0)
    return total


def _layers(trained: Sequence[str]) -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    for name in trained:
        layers.setdefault(layer_of(name), []).append(name)
    return layers


def _drift(first: Tensor, now: Tensor) -> Tensor:
    first, now = first.double(), now.double()
    ratio: Tensor = torch.linalg.vector_norm(now - first) / torch.linalg.vector_norm(first)
    return ratio


def assemble(
    chunks: Sequence[Notes],
    steps: Sequence[int],
    learning_rate: float,
    sizes: Mapping[str, int],
    networks: Sequence[torch.nn.Module],
) -> TrainingRun:
    """Return the run that the notes on all networks, chunk by chunk, amount to.

    Parameters
    ----------
    chunks : sequence of dict
        From `Recorder.result`.
    steps, learning_rate
        When the notes were taken.
    sizes : mapping of str to int
        The number of entries of each trained parameter.
    networks : sequence of torch.nn.Module
        To hand on.
    """
    notes = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    moments = torch.tensor(steps)
    prefix = "parameter/"
    return TrainingRun(
        steps=moments,
        times=moments.double() * learning_rate,
        outputs_train=notes["outputs_train"],
        outputs_test=notes.get("outputs_test"),
        loss=notes["loss"],
        movement=_movement(notes, sizes),
        kernel=_kernel_history(notes, list(_layers(list(sizes)))),
        linear=_linear_run(notes),
        parameters={name[len(prefix) :]: notes[name] for name in notes if name.startswith(prefix)},
        networks=tuple(networks),
    )


def _movement(notes: Notes, sizes: Mapping[str, int]) -> Movement:
    layers = _layers(list(sizes))
    moved = {layer: notes[f"moved/{layer}"] for layer in layers}  # (S, T)
    square = {layer: notes[f"square/{layer}"] for layer in layers}  # (S,)
    largest = {layer: notes[f"largest/{layer}"] for layer in layers}

    def movement(chosen: Sequence[str], by_layer: Mapping[str, Movement]) -> Movement:
        norm = torch.stack([moved[layer] for layer in chosen]).sum(0).sqrt()
        start = torch.stack([square[layer] for layer in chosen]).sum(0).sqrt()
        return Movement(
            norm=norm,
            relative=norm / start.unsqueeze(1),
            largest=torch.stack([largest[layer] for layer in chosen]).amax(0),
            n_parameters=sum(sizes[name] for layer in chosen for name in layers[layer]),
            by_layer=by_layer,
        )

    return movement(list(layers), {layer: movement([layer], {}) for layer in layers})


def _kernel_history(notes: Notes, layers: Sequence[str]) -> KernelHistory | None:
    if "drift" not in notes:
        return None
    return KernelHistory(
        first=notes["kernel/first"],
        last=notes["kernel/last"],
        drift=notes["drift"],
        drift_by_layer={layer: notes[f"drift/{layer}"] for layer in layers},
        drift_of_rest=notes.get("drift_of_rest"),
        all=notes.get("kernels"),
    )


def _linear_run(notes: Notes) -> LinearRun | None:
    if "linear_train" not in notes:
        return None

    def error(part: str) -> Tensor:
        gap = notes[f"outputs_{part}"].double() - notes[f"linear_{part}"].double()
        norm: Tensor = torch.linalg.vector_norm(gap, dim=(2, 3))
        return norm

    tested = "linear_test" in notes
    return LinearRun(
        outputs_train=notes["linear_train"],
        outputs_test=notes.get("linear_test"),
        error_train=error("train"),
        error_test=error("test") if tested else None,
    )
