"""Independently drawn networks of one architecture, seen as one function of stacked parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ntkbook.empirical.checks import check_module, check_output
from ntkbook.empirical.graph import saved_tensors

State = dict[str, Tensor]
Trained = str | Callable[[str], float]
_Result = TypeVar("_Result")


def draw(make_net: Callable[[], nn.Module], seed: int, device: torch.device) -> nn.Module:
    """Return ``make_net()`` after ``torch.manual_seed(seed)``, and leave the caller's random state alone."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        net = make_net()
    if not isinstance(net, nn.Module):
        raise TypeError(f"make_net must return a torch.nn.Module, got {type(net).__name__}")
    return check_module(net)


def state_of(net: nn.Module) -> State:
    """Return all parameters and buffers, detached; a tied parameter appears once."""
    return {name: value.detach() for name, value in (*net.named_parameters(), *net.named_buffers())}


def over_networks(function: Callable[..., Tensor], name: str, values: State | Tensor) -> Tensor:
    """Apply a function of one network's values to those of S networks, stacked along the first axis.

    Raises
    ------
    ValueError
        If it cannot be vectorized; a single network is served without.
    """
    single = {key: value[0] for key, value in values.items()} if isinstance(values, dict) else values[0]
    count = len(next(iter(values.values()))) if isinstance(values, dict) else len(values)
    if count == 1:
        return function(single).unsqueeze(0)
    try:
        result: Tensor = vmap(function)(values)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise not_together(name, error) from error
    return result


def not_together(name: str, error: RuntimeError) -> ValueError:
    """Return the error that says what cannot be vectorized over networks, and the remedy."""
    return ValueError(
        f"{name} cannot be computed for several networks at once; train one at a time with chunk_size=1 "
        f"({str(error).splitlines()[0]})"
    )


class Ensemble:
    """S networks as one function.

    Attributes
    ----------
    net : torch.nn.Module
        The first of them.
    state : dict of str to Tensor
        (S, ...), copies of all parameters and buffers.
    n_outputs : int
        How many outputs, K.

    Parameters
    ----------
    nets : sequence of torch.nn.Module
        Of one architecture; the first one's forward serves all.
    x : Tensor
        A batch on which they are compared with that.

    Raises
    ------
    ValueError
        If parameters differ in name, shape, dtype or device, or the networks compute different functions
        of them, or the network cannot be vectorized.
    """

    def __init__(self, nets: Sequence[nn.Module], x: Tensor) -> None:
        self.net = nets[0]
        states = [state_of(net) for net in nets]
        for s, state in enumerate(states):
            _check_same_architecture(states[0], state, s)
        self.state = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        with torch.no_grad():
            alone = [check_output(net(x), len(x)).reshape(len(x), -1) for net in nets]
            self.n_outputs = alone[0].shape[1]
            self._check_agreement(alone, self.outputs({}, x))

    def outputs(self, moved: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the outputs (S, N, K) with some of the stacked parameters replaced."""
        state = {**self.state, **moved}
        output = over_networks(lambda one: self._one(one, x), type(self.net).__name__, state)
        return output.reshape(*output.shape[:2], -1)

    def holding(self, moved: Mapping[str, Tensor], function: Callable[[], _Result]) -> _Result:
        """Call a function while the module itself holds the values of a single network.

        What is computed anew on the way back, as by ``torch.utils.checkpoint``, then finds them there.
        """
        if len(next(iter(self.state.values()))) > 1:
            return function()
        state = {f"net.{name}": value[0] for name, value in {**self.state, **moved}.items()}
        result: _Result = functional_call(_Holder(self.net), state, (function,))
        return result

    def _one(self, state: State, x: Tensor) -> Tensor:
        output: Tensor = functional_call(self.net, state, (x,))
        return output

    def _check_agreement(self, alone: Sequence[Tensor], together: Tensor) -> None:
        for s, (own, shared) in enumerate(zip(alone, together, strict=True)):
            tolerance = min(1e3 * torch.finfo(own.dtype).eps, 0.05) * float(own.abs().max())
            if not torch.allclose(own, shared, rtol=0.0, atol=tolerance):
                raise ValueError(
                    f"network {s} computes another function of its weights than network 0 does (outputs "
                    f"differ by {float((own - shared).abs().max()):.3g}): make_net must draw only parameters "
                    "and buffers at random; if all networks are alike, try chunk_size=1"
                )


class _Holder(nn.Module):
    """A module that lets a function run while it is given other values."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, function: Callable[[], _Result]) -> _Result:
        return function()


def _check_same_architecture(first: State, other: State, s: int) -> None:
    for name in sorted(first.keys() | other.keys()):
        a, b = first.get(name), other.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
            kinds = [None if t is None else (tuple(t.shape), t.dtype, str(t.device)) for t in (a, b)]
            raise ValueError(
                f"make_net must draw networks of one architecture, but {name!r} is {kinds[0]} in the first "
                f"and {kinds[1]} in network {s}"
            )


def check_draws(first: nn.Module, again: nn.Module, second: nn.Module | None) -> None:
    """Refuse draws that differ although the seed is the same, or are the same although it differs.

    Parameters
    ----------
    first, again : torch.nn.Module
        Drawn with the same seed.
    second : torch.nn.Module, optional
        Drawn with another seed.

    Raises
    ------
    ValueError
        Saying where the random numbers must come from.
    """
    if not _equal(first, again):
        raise ValueError(
            "make_net returned different weights for the same torch.manual_seed, so that a run would not "
            "repeat: it must draw all of them from torch's global generator"
        )
    if second is not None and _equal(first, second):
        raise ValueError(
            "make_net returned the same weights twice: it must draw them anew at each call, from torch's "
            "global generator; take torch.manual_seed out of it, and build the network inside it"
        )


def _equal(first: nn.Module, second: nn.Module) -> bool:
    a, b = state_of(first), state_of(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def working_bytes(net: nn.Module, x: Tensor) -> int:
    """Return about how many bytes one network needs for a step: weights, gradients and what is saved."""
    with torch.enable_grad():
        output = net(x)
    saved = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in saved_tensors([output])
        if t.ndim  # numbers in a formula are no working memory
    }
    weights = sum(value.nbytes for value in state_of(net).values())
    return int(3 * weights + sum(saved.values()) + output.nbytes)


def rate_factors(net: nn.Module, trained: Trained, x: Tensor) -> dict[str, float]:
    """Return the factor on the learning rate of each trained parameter.

    Parameters
    ----------
    net : torch.nn.Module
        The network; parameters that do not require grad are not trained.
    trained : {"all", "last_layer"} or callable
        A callable maps a parameter's name to its factor; ``False`` and 0 freeze it.
    x : Tensor
        A batch, on which ``"last_layer"`` is checked to enter linearly.

    Raises
    ------
    TypeError, ValueError
        If a factor is not a number of at least 0, if nothing is trained, or if the layer that is registered
        last is not the last one to be applied.
    """
    names = [name for name, p in net.named_parameters() if p.requires_grad]
    if callable(trained):
        factors = {name: _factor(name, trained(name)) for name in names}
    elif trained == "all":
        factors = dict.fromkeys(names, 1.0)
    elif trained == "last_layer":
        layer = names[-1].rpartition(".")[0]
        factors = {name: 1.0 for name in names if name.rpartition(".")[0] == layer}
        _check_affine(net, factors, x, layer)
    else:
        raise ValueError(
            f"trained must be 'all', 'last_layer' or a function from a parameter's name to the factor on its "
            f"learning rate, got {trained!r}"
        )
    factors = {name: factor for name, factor in factors.items() if factor > 0}
    if not factors:
        raise ValueError(f"trained leaves no parameter to train; the names are {', '.join(names)}")
    return factors


def _factor(name: str, value: object) -> float:
    if not isinstance(value, bool | int | float):
        raise TypeError(f"trained({name!r}) must return a number or a bool, got {type(value).__name__}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"trained({name!r}) must be finite and not negative, got {value}")
    return float(value)


def _check_affine(net: nn.Module, factors: Mapping[str, float], x: Tensor, layer: str) -> None:
    state = state_of(net)
    with torch.no_grad():
        none, once, twice = (
            functional_call(net, {**state, **{name: c * state[name] for name in factors}}, (x,))
            for c in (0, 1, 2)
        )
    gap = float((twice - 2 * once + none).abs().max())
    if gap > torch.finfo(once.dtype).eps ** 0.5 * float(twice.abs().max()):
        raise ValueError(
            f"trained='last_layer' takes the layer that is registered last, here {layer!r}, but the outputs "
            "are not linear in its parameters; select the readout by name: "
            "trained=lambda name: name.startswith(...)"
        )
