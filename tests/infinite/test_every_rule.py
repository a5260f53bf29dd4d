"""Every registered rule honours the arguments of its operation or refuses them: none is ignored.

The tables give an example of every operation and module that has a rule, with another value of each argument.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ntkbook import infinite_width, nn
from ntkbook.infinite import Call, InfiniteWidthError, Kernel, dual_activations, registry
from ntkbook.infinite.provenance import fresh_root

STD = {"w_std": 1.3, "b_std": 0.3, "dtype": torch.float64}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


VECTORS = infinite_width(nn.Linear(3, 6, **STD))(random(2, 3))
TOKENS = infinite_width(nn.Linear(3, 6, **STD))(random(2, 4, 3))
SIGNALS = infinite_width(nn.Conv1d(3, 6, 3, padding="same", **STD))(random(2, 3, 5))
IMAGES = infinite_width(nn.Conv2d(3, 6, 3, padding="same", **STD))(random(2, 3, 4, 6))
BRANCH = VECTORS.replace(roots=fresh_root("other", ()))
LARGER = BRANCH.map(lambda t: 2 * t)


@dataclass(frozen=True)
class Example:
    """A call that a rule takes.

    Attributes
    ----------
    first : Kernel or list of Kernel
        The first argument.
    given : dict
        The further arguments that the rule reads, by name and in torch's order.
    other : dict
        Another value of each: with it the kernel is another one, or there is none.
    only_named : set of str
        Those of ``given`` that have no position.
    also : dict of str to str
        NumPy's names of some, which torch takes too.
    spread : bool
        Whether the one argument may be spread over several positions.
    """

    first: Any = VECTORS
    given: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)
    only_named: frozenset[str] = frozenset()
    also: Mapping[str, str] = field(default_factory=dict)
    spread: bool = False

    def positional(self) -> tuple[Any, ...]:
        return (self.first, *(v for name, v in self.given.items() if name not in self.only_named))

    def named(self) -> dict[str, Any]:
        return {name: v for name, v in self.given.items() if name in self.only_named}


def sum_of_branches(**changes: Any) -> Example:
    alpha = {"alpha": 1.5}
    return Example(
        given={"other": BRANCH, **alpha},
        other={"other": LARGER, "alpha": 0.5},
        only_named=frozenset(alpha),
        also={"other": "x2"},
    )


REDUCTION = Example(
    TOKENS,
    {"dim": 1, "keepdim": False},
    {"dim": 2, "keepdim": True},
    also={"dim": "axis", "keepdim": "keepdims"},
)
LAYOUT = Example(
    given={"memory_format": torch.contiguous_format}, other={}, only_named=frozenset({"memory_format"})
)
SWAP = Example(
    TOKENS, {"dim0": 1, "dim1": 2}, {"dim0": 2, "dim1": 1}, also={"dim0": "axis0", "dim1": "axis1"}
)


OPERATIONS: list[tuple[tuple[Any, ...], Example]] = [
    ((torch.relu, F.relu, "relu", torch.tanh, F.tanh, "tanh"), Example()),
    ((torch.sigmoid, F.sigmoid, "sigmoid", F.silu, F.mish, torch.erf, "erf"), Example()),
    ((torch.sin, "sin", torch.cos, "cos", torch.exp, "exp"), Example()),
    ((torch.abs, operator.abs, "abs", torch.sign, "sign", torch.square, "square"), Example()),
    ((operator.neg, torch.neg, "neg"), Example()),
    ((F.leaky_relu,), Example(given={"negative_slope": 0.2}, other={"negative_slope": 0.3})),
    ((F.gelu,), Example(given={"approximate": "none"}, other={"approximate": "tanh"})),
    ((F.softplus,), Example(given={"beta": 1.0, "threshold": 20}, other={"beta": 2.0, "threshold": 5})),
    ((F.elu,), Example(given={"alpha": 1.0}, other={"alpha": 0.5})),
    ((torch.pow, operator.pow, "pow"), Example(given={"exponent": 2}, other={"exponent": 3})),
    ((operator.add, torch.add, "add", operator.sub, torch.sub, "sub"), sum_of_branches()),
    (
        (operator.mul, torch.mul, torch.multiply, "mul"),
        Example(given={"other": 2.0}, other={"other": 3.0}, also={"other": "x2"}),
    ),
    (
        (operator.truediv, torch.div, "div"),
        Example(
            given={"other": 2.0, "rounding_mode": None},
            other={"other": 3.0, "rounding_mode": "floor"},
            only_named=frozenset({"rounding_mode"}),
        ),
    ),
    ((torch.cat, torch.concat), Example([VECTORS, BRANCH], {"dim": 1}, {"dim": 0}, also={"dim": "axis"})),
    (
        (F.layer_norm,),
        Example(
            given={"normalized_shape": (6,), "weight": None, "bias": None, "eps": 1e-5},
            other={"normalized_shape": (3,), "weight": torch.ones(6), "bias": torch.ones(6), "eps": 0.5},
        ),
    ),
    ((F.dropout,), Example(given={"p": 0.5, "training": True}, other={"p": 0.2, "training": False})),
    ((torch.dropout,), Example(given={"p": 0.5, "train": True}, other={"p": 0.2, "train": False})),
    ((torch.mean, "mean", torch.sum, "sum"), REDUCTION),
    (
        (torch.flatten, "flatten"),
        Example(IMAGES, {"start_dim": 1, "end_dim": -1}, {"start_dim": 2, "end_dim": 2}),
    ),
    (
        ("view", "reshape", torch.reshape),
        Example(IMAGES, {"shape": (2, -1)}, {"shape": (4, -1)}, spread=True),
    ),
    (
        ("permute", torch.permute),
        Example(IMAGES, {"dims": (0, 2, 3, 1)}, {"dims": (0, 1, 3, 2)}, spread=True),
    ),
    ((torch.transpose, "transpose", torch.swapaxes, "swapaxes"), SWAP),
    (("clone", torch.clone, "contiguous"), LAYOUT),
]
EXAMPLES = {target: example for targets, example in OPERATIONS for target in targets}


@dataclass(frozen=True)
class Made:
    """A module that a rule takes: what it is made with, and another value of each argument."""

    first: Kernel = VECTORS
    given: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)


def convolution(first: Kernel, **changes: tuple[Any, Any]) -> Made:
    both = {
        "in_channels": (6, 5),
        "out_channels": (4, 5),
        "kernel_size": (3, 2),
        "stride": (2, 1),
        "padding": (1, 0),
        **changes,
    }
    return Made(first, {k: v[0] for k, v in both.items()}, {k: v[1] for k, v in both.items()})


SCALES: dict[str, tuple[Any, Any]] = {
    "w_std": (1.3, 1.2),
    "b_std": (0.3, None),
    "parameterization": ("ntk", "standard"),
}
PLAIN = {"dilation": (1, 2), "groups": (1, 2), "bias": (True, False), "padding_mode": ("zeros", "circular")}
POOL = {"kernel_size": 3, "stride": 1, "padding": 1}
POOL_OTHER = {"kernel_size": 2, "stride": 2, "padding": 0}
PADS = {"ceil_mode": False, "count_include_pad": True}, {"ceil_mode": True, "count_include_pad": False}
WAVE = Made(given={"a": 1.0, "b": 1.0, "c": 0.2}, other={"a": 2.0, "b": 0.5, "c": 0.0})
DEGREE = Made(given={"degree": 2}, other={"degree": 3})
ONE = Made(given={"output_size": 1}, other={"output_size": 2})

MODULES: dict[type[torch.nn.Module], Made] = {
    torch.nn.Linear: Made(
        given={"in_features": 6, "out_features": 5, "bias": True},
        other={"in_features": 5, "out_features": 4, "bias": False},
    ),
    torch.nn.Conv1d: convolution(SIGNALS, **PLAIN),
    torch.nn.Conv2d: convolution(IMAGES, **PLAIN),
    torch.nn.ConvTranspose2d: convolution(IMAGES, output_padding=(0, 1), **PLAIN),
    torch.nn.AvgPool1d: Made(SIGNALS, POOL | PADS[0], POOL_OTHER | PADS[1]),
    torch.nn.AvgPool2d: Made(
        IMAGES, POOL | PADS[0] | {"divisor_override": None}, POOL_OTHER | PADS[1] | {"divisor_override": 3}
    ),
    torch.nn.AdaptiveAvgPool1d: Made(SIGNALS, ONE.given, ONE.other),
    torch.nn.AdaptiveAvgPool2d: Made(IMAGES, ONE.given, ONE.other),
    torch.nn.LayerNorm: Made(
        given={"normalized_shape": 6, "eps": 1e-5, "elementwise_affine": False},
        other={"normalized_shape": 3, "eps": 0.5, "elementwise_affine": True},
    ),
    torch.nn.Dropout: Made(given={"p": 0.5}, other={"p": 0.2}),
    torch.nn.Flatten: Made(IMAGES, {"start_dim": 1, "end_dim": -1}, {"start_dim": 2, "end_dim": 2}),
    torch.nn.Identity: Made(),
    torch.nn.ReLU: Made(),
    torch.nn.Tanh: Made(),
    torch.nn.Sigmoid: Made(),
    torch.nn.SiLU: Made(),
    torch.nn.Mish: Made(),
    torch.nn.LeakyReLU: Made(given={"negative_slope": 0.2}, other={"negative_slope": 0.3}),
    torch.nn.GELU: Made(given={"approximate": "none"}, other={"approximate": "tanh"}),
    torch.nn.Softplus: Made(given={"beta": 1.0, "threshold": 20}, other={"beta": 2.0, "threshold": 5}),
    torch.nn.ELU: Made(given={"alpha": 1.0}, other={"alpha": 0.5}),
    nn.Linear: Made(
        given={"in_features": 6, "out_features": 5} | {k: v[0] for k, v in SCALES.items()},
        other={"in_features": 5, "out_features": 4} | {k: v[1] for k, v in SCALES.items()},
    ),
    nn.Conv1d: convolution(SIGNALS, padding_mode=("zeros", "circular"), dilation=(1, 2), **SCALES),
    nn.Conv2d: convolution(IMAGES, padding_mode=("zeros", "circular"), dilation=(1, 2), **SCALES),
    nn.ConvTranspose2d: convolution(IMAGES, padding_mode=("zeros", "circular"), **SCALES),
    nn.LocallyConnected2d: convolution(
        IMAGES, input_size=((4, 6), (4, 5)), padding_mode=("zeros", "circular"), **SCALES
    ),
    nn.AvgPool2d: Made(
        IMAGES,
        POOL | {"padding_mode": "zeros", "count_include_pad": True},
        POOL_OTHER | {"padding_mode": "circular", "count_include_pad": False},
    ),
    nn.SumPool2d: Made(IMAGES, POOL | {"padding_mode": "zeros"}, POOL_OTHER | {"padding_mode": "circular"}),
    nn.GlobalAvgPool2d: Made(IMAGES),
    nn.GlobalSumPool2d: Made(IMAGES),
    nn.Aggregate: Made(TOKENS, {"adjacency": torch.eye(4)}, {"adjacency": torch.ones(4, 4)}),
    nn.SelfAttention: Made(
        TOKENS, {"in_features": 6, "out_features": 5}, {"in_features": 5, "out_features": 4}
    ),
    nn.Erf: WAVE,
    nn.SigmoidLike: Made(),
    nn.Sin: WAVE,
    nn.Cos: WAVE,
    nn.Rbf: Made(given={"gamma": 1.0}, other={"gamma": 0.5}),
    nn.Exp: Made(given={"a": 1.0, "b": 0.5}, other={"a": 2.0, "b": 0.4}),
    nn.Gaussian: Made(given={"a": 1.0, "b": -0.5}, other={"a": 2.0, "b": -0.4}),
    nn.Gabor: Made(),
    nn.Monomial: DEGREE,
    nn.Hermite: DEGREE,
    nn.RectifiedMonomial: DEGREE,
    nn.Polynomial: Made(given={"coefficients": (0.0, 1.0)}, other={"coefficients": (0.0, 1.0, 1.0)}),
    nn.Abs: Made(),
    nn.Sign: Made(),
    nn.ABReLU: Made(given={"a": 0.5, "b": 1.0}, other={"a": 0.4, "b": 2.0}),
    nn.Elementwise: Made(given={"fn": torch.tanh}, other={"fn": torch.sin}),
}

# What does not concern kernels, or not in the network at hand, with the reason.
NO_CONCERN = {
    # Where and how numbers are kept; what Plan looks at; the signature of modules that take no settings.
    "*": {"device", "dtype", "inplace", "args", "kwargs"},
    "LayerNorm": {"bias"},  # there is none without elementwise_affine
    "Linear": {"role", "s"},  # other parameterizations read them: tests/infinite/test_engine.py
    "Conv1d": {"role", "s"},
    "Conv2d": {"role", "s"},
    "ConvTranspose2d": {"role", "s"},
    "LocallyConnected2d": {"role", "s"},
}


def run(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Kernel:
    entry = registry.find_rule(target)
    assert entry is not None
    return entry.apply(Call("here", target, args, kwargs, True, (1.3, 0.3)))


def same(a: Kernel, b: Kernel) -> bool:
    return a.shape1 == b.shape1 and all(
        getattr(a, name).shape == getattr(b, name).shape and torch.equal(getattr(a, name), getattr(b, name))
        for name in ("nngp", "ntk", "cov1")
    )


def own(target: Any) -> bool:
    """Whether a registered target is the package's, and none that a test registered."""
    return isinstance(target, str) or not str(target.__module__).startswith("test")


def name_of(target: Any) -> str:
    return registry.target_name(target)


FUNCTIONS = [target for target in registry._entries if not isinstance(target, type) and own(target)]
TYPES = [target for target in registry._entries if isinstance(target, type) and own(target)]
TYPES += [kind for kind in dual_activations._RULES if kind not in TYPES and own(kind)]


def calls() -> list[Any]:
    cases: list[Any] = []
    for target in FUNCTIONS:
        example = EXAMPLES[target]
        cases.append(
            pytest.param(target, example.positional(), example.named(), id=f"function-{name_of(target)}")
        )
    for kind in TYPES:
        made = MODULES[kind]
        cases.append(pytest.param(kind(**made.given), (made.first,), {}, id=f"module-{kind.__name__}"))
    return cases


@pytest.mark.parametrize(("target", "args", "kwargs"), calls())
def test_an_argument_that_a_rule_does_not_know_is_refused(
    target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    expected = run(target, args, kwargs)
    for nothing in ({"surplus": None}, {"inplace": False}):
        assert same(run(target, args, {**kwargs, **nothing}), expected)
    with pytest.raises(InfiniteWidthError, match=r"argument surplus=3 has no rule; leave it out"):
        run(target, args, {**kwargs, "surplus": 3})
    with pytest.raises(InfiniteWidthError, match=r"argument out=a tensor of shape \(2, 2\) has no rule"):
        run(target, args, {**kwargs, "out": torch.ones(2, 2)})
    if EXAMPLES.get(target, Example()).spread:
        return
    number = "3" if isinstance(target, nn.Aggregate) else str(len(args) + 1)
    surplus = (None, 77) if isinstance(target, nn.Aggregate) else (77,)
    with pytest.raises(InfiniteWidthError, match=rf"argument {number}, 77, has no rule"):
        run(target, (*args, *surplus), kwargs)


@pytest.mark.parametrize("target", FUNCTIONS, ids=name_of)
def test_by_position_by_name_and_by_numpys_name_are_one(target: Any) -> None:
    example = EXAMPLES[target]
    expected = run(target, example.positional(), example.named())
    assert same(run(target, (example.first,), example.given), expected)
    renamed = {example.also.get(name, name): value for name, value in example.given.items()}
    assert same(run(target, (example.first,), renamed), expected)
    first = "tensors" if isinstance(example.first, list) else "input"
    assert same(run(target, (), {**dict(reversed(example.given.items())), first: example.first}), expected)
    if example.spread:
        (values,) = example.given.values()
        assert same(run(target, (example.first, *values), {}), expected)


def changed(call: Callable[[], Kernel], plain: Kernel) -> bool:
    """Whether a call gives another kernel than the plain one, or none."""
    try:
        return not same(call(), plain)
    except (ValueError, TypeError):
        return True


@pytest.mark.parametrize("target", FUNCTIONS, ids=name_of)
def test_every_argument_of_an_operation_is_honoured_or_refused(target: Any) -> None:
    example = EXAMPLES[target]
    plain = run(target, (example.first,), example.given)
    for name, value in example.other.items():
        if target in (torch.transpose, "transpose", torch.swapaxes, "swapaxes"):
            value = 0
        assert changed(
            lambda n=name, v=value: run(target, (example.first,), {**example.given, n: v}), plain
        ), name


@pytest.mark.parametrize("kind", TYPES, ids=name_of)
def test_every_setting_of_a_module_is_honoured_or_refused(kind: type[torch.nn.Module]) -> None:
    made = MODULES[kind]
    plain = run(kind(**made.given), (made.first,), {})
    for name, value in made.other.items():
        assert changed(lambda n=name, v=value: run(kind(**{**made.given, n: v}), (made.first,), {}), plain), (
            name
        )


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind is not nn.SelfAttention], ids=name_of)
def test_every_setting_of_a_module_has_another_value(kind: type[torch.nn.Module]) -> None:
    settings = set(inspect.signature(kind).parameters)
    settings -= NO_CONCERN["*"] | NO_CONCERN.get(kind.__name__, set())
    assert settings == set(MODULES[kind].other)
