"""Operations in place are their out-of-place forms, or refused where somebody still reads the old value."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ntkbook import infinite_width, nn
from ntkbook.infinite import InfiniteWidthError, register_rule

X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Passed(torch.nn.Module):
    """A module whose rule does not say that its output is new memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@register_rule(Passed)
def passed(call):
    return call.kernel


class Net(torch.nn.Module):
    """A step on the outputs h, b of two layers, with a third at hand, and a last layer behind it."""

    def __init__(self, step: Callable[[Tensor, Tensor, Net], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = (nn.Linear(4, 6, w_std=1.2, b_std=0.3, dtype=torch.float64) for _ in range(2))
        self.more, self.last = (nn.Linear(6, 6, w_std=0.9, b_std=0.3, dtype=torch.float64) for _ in range(2))
        self.passed, self.relu, self.step = Passed(), torch.nn.ReLU(inplace=True), step

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.step(self.one(x), self.two(x), self))


def residual(h, b, net):
    out = net.more(torch.relu(h))
    out += h
    return out


def difference(h, b, net):
    out = net.more(torch.relu(h))
    out -= h
    return out


def chain(h, b, net):
    h += b
    h *= 2.5
    h /= 3
    h -= 0
    return h


def power(h, b, net):
    h **= 2
    return h


def read_before(h, b, net):
    k = net.more(torch.sin(h))
    h += b
    return torch.sin(k)


def sizes(h, b, net):
    n = h.size(1)
    m = n
    n *= 2
    h /= m
    return h * n * h.size(1)


def view_alone(h, b, net):
    v = h.flatten(1)
    v *= 2.0
    return v


def new_memory(h, b, net):
    k = net.more(torch.relu(h))
    k *= 2.0
    return k + h


# (in place, the same with new tensors)
TAKEN = {
    "residual": (residual, lambda h, b, net: net.more(torch.relu(h)) + h),
    "difference": (difference, lambda h, b, net: net.more(torch.relu(h)) - h),
    "chain": (chain, lambda h, b, net: (h + b) * 2.5 / 3),
    "power": (power, lambda h, b, net: h**2),
    "methods": (lambda h, b, net: h.mul_(2.0).add_(b).relu_(), lambda h, b, net: torch.relu(h * 2.0 + b)),
    "function": (lambda h, b, net: torch.relu_(h), lambda h, b, net: torch.relu(h)),
    "module": (lambda h, b, net: net.relu(h), lambda h, b, net: torch.relu(h)),
    "read before": (read_before, lambda h, b, net: torch.sin(net.more(torch.sin(h)))),
    "sizes": (sizes, lambda h, b, net: h / 6 * 12 * 6),
    "view alone": (view_alone, lambda h, b, net: h * 2.0),
    "new memory": (new_memory, lambda h, b, net: net.more(torch.relu(h)) * 2.0 + h),
}


@pytest.mark.parametrize(("in_place", "plain"), TAKEN.values(), ids=TAKEN)
def test_an_old_value_that_nobody_reads_does_not_matter(in_place, plain):
    with torch.no_grad():
        torch.testing.assert_close(Net(in_place)(X), Net(plain)(X), rtol=1e-14, atol=1e-14)
    found, expected = infinite_width(Net(in_place))(X), infinite_width(Net(plain))(X)
    torch.testing.assert_close(found.nngp, expected.nngp, rtol=1e-14, atol=0)
    torch.testing.assert_close(found.ntk, expected.ntk, rtol=1e-14, atol=0)


def both(k, h, net):
    return net.more(k) + h


def other_name(change):
    """Change ``k``, another name of ``h``, by a function that works in place, and read both."""

    def step(h, b, net):
        k = h
        k = change(k, b)
        return both(k, h, net)

    return step


def iadd(k, b):
    k += b
    return k


def isub(k, b):
    k -= b
    return k


def imul(k, b):
    k *= 2.5
    return k


def itruediv(k, b):
    k /= 3
    return k


def ipow(k, b):
    k **= 2
    return k


def doubled(view):
    """Double a value that is, or may be, ``h`` under another name, and return ``h``."""

    def step(h, b, net):
        v = view(h, net)
        v *= 2.0
        return h

    return step


def base_changes(h, b, net):
    v = h.flatten(1)
    h *= 2.0
    return v


def second_change(h, b, net):
    h += b
    k = h
    k *= 2.0
    return both(torch.relu(k), h, net)


# (in place, what it would be without the change under the other name, the operation)
REFUSED = {
    "sum": (other_name(iadd), lambda h, b, net: both(h + b, h, net), "iadd"),
    "difference": (other_name(isub), lambda h, b, net: both(h - b, h, net), "isub"),
    "product": (other_name(imul), lambda h, b, net: both(h * 2.5, h, net), "imul"),
    "quotient": (other_name(itruediv), lambda h, b, net: both(h / 3, h, net), "itruediv"),
    "power": (other_name(ipow), lambda h, b, net: both(h**2, h, net), "ipow"),
    "method": (other_name(lambda k, b: k.mul_(2)), lambda h, b, net: both(h * 2, h, net), "mul_"),
    "function": (other_name(lambda k, b: torch.relu_(k)), lambda h, b, net: both(h.relu(), h, net), "relu_"),
    "inplace=": (
        other_name(lambda k, b: F.relu(k, inplace=True)),
        lambda h, b, net: both(h.relu(), h, net),
        "relu",
    ),
    "module": (lambda h, b, net: both(net.relu(h), h, net), lambda h, b, net: both(h.relu(), h, net), "ReLU"),
    "a view": (doubled(lambda h, net: h.flatten(1)), lambda h, b, net: h, "imul"),
    "no copy": (doubled(lambda h, net: h.contiguous()), lambda h, b, net: h, "imul"),
    "dropout off": (doubled(lambda h, net: F.dropout(h, training=False)), lambda h, b, net: h, "imul"),
    "a user's module": (doubled(lambda h, net: net.passed(h)), lambda h, b, net: h, "imul"),
    "view of a view": (doubled(lambda h, net: h.flatten(1).contiguous()), lambda h, b, net: h, "imul"),
    "the base of a view": (base_changes, lambda h, b, net: h, "imul"),
    "second change": (second_change, lambda h, b, net: both(torch.relu((h + b) * 2), h + b, net), "imul"),
}


@pytest.mark.parametrize(("in_place", "ignored", "name"), REFUSED.values(), ids=REFUSED)
def test_an_old_value_that_is_read_is_refused(in_place, ignored, name):
    with torch.no_grad():
        difference = (Net(in_place)(X) - Net(ignored)(X)).abs().max()
    assert difference > 0.01  # there is something to get wrong
    with pytest.raises(InfiniteWidthError, match=rf"^{name} \(.* in place.* after that; .*k = h \+ b"):
        infinite_width(Net(in_place))


def test_a_copy_is_another_value():
    net = Net(doubled(lambda h, net: h.clone()))
    torch.testing.assert_close(infinite_width(net)(X).ntk, infinite_width(Net(lambda h, b, net: h))(X).ntk)


def entry(h, b, net):
    h[:, 0] = 0.0
    return h


def attribute(h, b, net):
    h.data = 2.0 * h
    return h


@pytest.mark.parametrize(("step", "name"), [(entry, "entries of 'one'"), (attribute, r"one\.data")])
def test_writing_past_the_operations_is_refused(step, name):
    with pytest.raises(InfiniteWidthError, match=f"{name}.*compute a new tensor"):
        infinite_width(Net(step))


class Counting(Net):
    """Counts its calls in a buffer, and uses the count."""

    def __init__(self, count: Callable[[Counting, Tensor], None]) -> None:
        super().__init__(lambda h, b, net: h / self.calls)
        self.register_buffer("calls", torch.ones((), dtype=torch.float64))
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        self.count(self, x)
        return super().forward(x)


def in_place(net, x):
    net.calls += 1


def anew(net, x):
    net.calls = net.calls + 1


def by_features(net, x):
    net.calls = net.one(x)


@pytest.mark.parametrize("count", [in_place, anew, by_features])
def test_a_network_that_writes_to_its_buffers_is_refused(count):
    net = Counting(count)
    assert not torch.equal(net(X), net(X)) or count is by_features
    ours = r"changes its buffer 'calls'.*without writing to buffers"
    older_torch = r"cannot be traced \(cannot assign .* as buffer 'calls'"  # refuses a proxy by itself
    with pytest.raises(
        InfiniteWidthError, match=ours if count is not by_features else f"{ours}|{older_torch}"
    ):
        infinite_width(Counting(count))
    net = Counting(anew)
    with pytest.raises(InfiniteWidthError):
        infinite_width(net)
    assert net.calls == 1  # the network got it back


@pytest.mark.parametrize("change", [iadd, lambda k, b: k.mul_(b)])
def test_writing_to_a_tensor_of_the_network_is_refused(change):
    net = Net(lambda h, b, net: change(net.scale, h))
    net.register_buffer("scale", torch.ones((), dtype=torch.float64))
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        net(X)
    with pytest.raises(InfiniteWidthError, match=r"writes to 'scale', a tensor .* returns a new tensor"):
        infinite_width(net)


def frozen(h, b, net):
    with torch.no_grad():
        return torch.relu(h)


def test_a_part_without_gradients_is_refused():
    net = Net(frozen)
    net(X).sum().backward()
    assert net.one.weight.grad is None  # the tangent kernel has no such part
    with pytest.raises(InfiniteWidthError, match=r"'relu'.*no_grad"):
        infinite_width(net)
    with torch.no_grad():  # around the call it says nothing about the network
        infinite_width(Net(lambda h, b, net: torch.relu(h)))(X)
