"""A kernel whose code or weights changed is another kernel; an equal one built anew is the same."""

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from ntkbook import infinite_width, nn
from ntkbook._fingerprint import fingerprint

KERNELS = {
    "a class": (
        """
        import torch
        class Kernel:
            def __init__(self, scale):
                self.scale = scale
            def __call__(self, a, b):
                return self.scale * a @ b.T
        kernel = Kernel(2.0)
        """,
        ("a @ b.T", "a @ b.T + 1"),
    ),
    "a base class": (
        """
        class Base:
            def __call__(self, a, b):
                return self.value(a, b)
            @staticmethod
            def value(a, b):
                return a @ b.T
        class Kernel(Base):
            pass
        kernel = Kernel()
        """,
        ("a @ b.T", "a @ b.T + 1"),
    ),
    "a network": (
        """
        import torch
        class Net(torch.nn.Module):
            def forward(self, x):
                return x.sin()
        net = Net()
        kernel = lambda a, b: net(a) @ net(b).T
        """,
        ("x.sin()", "x.cos()"),
    ),
    "a class that is called": (
        """
        class Net:
            @property
            def factor(self):
                return 2
        kernel = lambda a, b: Net().factor * a @ b.T
        """,
        ("return 2", "return 3"),
    ),
    "a module of functions": (
        """
        import types
        mykernels = types.ModuleType("mykernels")
        exec("def rbf(a, b): return a @ b.T", mykernels.__dict__)
        kernel = lambda a, b: mykernels.rbf(a, b)
        """,
        ("return a @ b.T", "return b @ a.T"),
    ),
    "a captured module": (
        """
        import types
        def make():
            mykernels = types.ModuleType("mykernels")
            exec("def rbf(a, b): return a @ b.T", mykernels.__dict__)
            return lambda a, b: mykernels.rbf(a, b)
        kernel = make()
        """,
        ("return a @ b.T", "return b @ a.T"),
    ),
    "a hook": (
        """
        import torch
        net = torch.nn.Identity()
        net.register_forward_hook(lambda module, x, y: 2 * y)
        kernel = lambda a, b: net(a) @ net(b).T
        """,
        ("2 * y", "y.sin()"),
    ),
    "an attribute named like a hook": (
        """
        import torch
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.my_hooks = 2
            def forward(self, x):
                return self.my_hooks * x
        net = Net()
        kernel = lambda a, b: net(a) @ net(b).T
        """,
        ("my_hooks = 2", "my_hooks = 3"),
    ),
    "a constant of a class": (
        """
        class Kernel:
            scale = 2
            def __call__(self, a, b):
                return self.scale * a @ b.T
        kernel = Kernel()
        """,
        ("scale = 2", "scale = 3"),
    ),
    "a constant of a class within a class": (
        """
        class Kernel:
            class Settings:
                scales = {"first": [1, 2]}
            def __call__(self, a, b):
                return self.Settings.scales["first"][1] * a @ b.T
        kernel = Kernel()
        """,
        ("[1, 2]", "[1, 3]"),
    ),
    "a base from elsewhere": (
        """
        import torch
        class Activation(torch.nn.Tanh):
            pass
        net = Activation()
        kernel = lambda a, b: net(a) @ net(b).T
        """,
        ("nn.Tanh", "nn.Sigmoid"),
    ),
    "a cached property": (
        """
        from functools import cached_property
        class Kernel:
            @cached_property
            def scale(self):
                return 2
            def __call__(self, a, b):
                return self.scale * a @ b.T
        kernel = Kernel()
        """,
        ("return 2", "return 3"),
    ),
    "a partial method": (
        """
        from functools import partial
        def scaled(a, b, scale):
            return scale * a @ b.T
        class Kernel:
            value = staticmethod(partial(scaled, scale=2))
            def __call__(self, a, b):
                return self.value(a, b)
        kernel = Kernel()
        """,
        ("scale=2", "scale=3"),
    ),
    "a partial function": (
        """
        from functools import partial
        def scaled(a, b, scale):
            return scale * a @ b.T
        kernel = partial(scaled, scale=2)
        """,
        ("scale * a", "scale + a"),
    ),
    "a default": ("def kernel(a, b, scale=2): return scale * a @ b.T", ("scale=2", "scale=3")),
    "a default by keyword": ("def kernel(a, b, *, scale=2): return scale * a @ b.T", ("=2", "=3")),
    "an attribute of a function": (
        """
        def kernel(a, b):
            return kernel.scale * a @ b.T
        kernel.scale = 2
        """,
        ("scale = 2", "scale = 3"),
    ),
    "a function that is named like one of torch": (
        """
        import functools, torch
        @functools.wraps(torch.nn.functional.relu)
        def doubled(x):
            return 2 * x
        kernel = lambda a, b: doubled(a) @ doubled(b).T
        """,
        ("2 * x", "3 * x"),
    ),
    "a function of a traced network": (
        """
        import torch
        def doubled(x):
            return 2 * x
        graph = torch.fx.Graph()
        graph.output(graph.call_function(doubled, (graph.placeholder("x"),)))
        net = torch.fx.GraphModule(torch.nn.Module(), graph)
        kernel = lambda a, b: net(a) @ net(b).T
        """,
        ("2 * x", "3 * x"),
    ),
    "a method of a tensor": (
        """
        import torch
        scaled = torch.full((1,), 2.0).mul
        kernel = lambda a, b: scaled(a) @ b.T
        """,
        ("2.0", "3.0"),
    ),
    "a number with methods": (
        """
        class Scale(float):
            def times(self, x):
                return 2 * x
        scale = Scale(1.0)
        kernel = lambda a, b: scale.times(a) @ b.T
        """,
        ("2 * x", "3 * x"),
    ),
    "a dictionary with attributes": (
        """
        class Settings(dict):
            pass
        settings = Settings()
        settings.scale = 2
        kernel = lambda a, b: settings.scale * a @ b.T
        """,
        ("scale = 2", "scale = 3"),
    ),
    "a slot": (
        """
        class Kernel:
            __slots__ = ("scale",)
            def __init__(self):
                self.scale = 2
            def __call__(self, a, b):
                return self.scale * a @ b.T
        kernel = Kernel()
        """,
        ("scale = 2", "scale = 3"),
    ),
    "what is caught": (
        """
        def kernel(a, b):
            try:
                a = a / 0
            except ZeroDivisionError:
                pass
            return a @ b.T
        """,
        ("except ZeroDivisionError", "except OSError"),
    ),
    "classes of the standard library's making": (
        """
        import enum, logging
        from abc import ABC, abstractmethod
        from dataclasses import dataclass, field
        from typing import Generic, NamedTuple, TypeVar
        class Kind(enum.IntEnum):
            ONE = 2
        class Pair(NamedTuple):
            scale: float = 1.0
        Pair.default = Pair()
        @dataclass(slots=True)
        class Data:
            scale: float = 1.0
            more: list = field(default_factory=list)
        class Abstract(ABC, Generic[TypeVar("T")]):
            log = logging.getLogger("a")
            @abstractmethod
            def value(self): ...
        class Concrete(Abstract):
            def value(self): return Kind.ONE
        parts = Pair(), Data(), Concrete()
        kernel = lambda a, b: parts[0].scale * parts[1].scale * parts[2].value() * a @ b.T
        """,
        ("ONE = 2", "ONE = 3"),
    ),
    "a function that does not exist yet": (
        """
        def make():
            scaled = lambda x: 2 * later(x)
            kernel = lambda a, b: scaled(a) @ b.T
            if False:
                later = None
            return kernel
        kernel = make()
        """,
        ("2 * later", "3 * later"),
    ),
}


def kernel_of(source):
    space = {"__name__": "mine"}
    exec(source, space)
    return space["kernel"]


@pytest.mark.parametrize("name", KERNELS)
def test_edited_code_is_another_kernel(name):
    source, (before, after) = textwrap.dedent(KERNELS[name][0]), KERNELS[name][1]
    assert before in source
    assert fingerprint(kernel_of(source)) == fingerprint(kernel_of(source))
    assert fingerprint(kernel_of(source)) != fingerprint(kernel_of(source.replace(before, after)))


def test_an_equal_kernel_of_another_process_is_recognized(tmp_path):
    sources = [textwrap.dedent(source) for source, _ in KERNELS.values()]
    script = tmp_path / "script.py"
    script.write_text(
        "from ntkbook._fingerprint import fingerprint\n"
        f"for source in {sources!r}:\n"
        "    space = {'__name__': 'mine'}\n"
        "    exec(source, space)\n"
        "    print(fingerprint(space['kernel']))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": path}
    run = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [fingerprint(kernel_of(source)) for source in sources]


def traced(seed):
    torch.manual_seed(seed)
    return torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 3)))


def test_a_traced_network_has_its_weights():
    assert fingerprint(traced(0)) == fingerprint(traced(0))
    assert fingerprint(traced(0)) != fingerprint(traced(1))


def infinite(w_std):
    torch.manual_seed(0)
    return infinite_width(torch.nn.Sequential(nn.Linear(2, 8, w_std=w_std), torch.nn.ReLU(), nn.Linear(8, 1)))


def test_an_infinite_width_kernel_has_its_settings():
    assert fingerprint(infinite(1.0)) == fingerprint(infinite(1.0))
    assert fingerprint(infinite(1.0)) != fingerprint(infinite(2.0))


IMPORTS = {
    "the module": ("import mykernels", "mykernels.rbf(a, b)"),
    "a name": ("from mykernels import rbf as f", "f(a, b)"),
    "a module of a package": ("import mypackage.kernels", "mypackage.kernels.rbf(a, b)"),
    "a module by another name": ("import mypackage.kernels as k", "k.rbf(a, b)"),
    "a name from a package": ("from mypackage.kernels import rbf", "rbf(a, b)"),
    "a module from a package": ("from mypackage import kernels", "kernels.rbf(a, b)"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_module_that_is_imported_when_the_kernel_runs(tmp_path, monkeypatch, name):
    statement, call = IMPORTS[name]
    source = f"def kernel(a, b):\n    {statement}\n    return (lambda: {call})()\n"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").touch()
    found = []
    for factor in (1, 1, 2):
        for place in ("mykernels.py", "mypackage/kernels.py"):
            (tmp_path / place).write_text(f"scale = {factor}\ndef rbf(a, b):\n    return scale * a @ b.T\n")
        importlib.invalidate_caches()
        found.append(fingerprint(kernel_of(source)))
        for module in ("mykernels", "mypackage", "mypackage.kernels"):
            sys.modules.pop(module, None)
    assert found[0] == found[1] != found[2]


def test_what_is_not_the_callers_own_is_not_imported(monkeypatch):
    """A package that is installed counts by its name, and one that is missing by its absence."""
    asked, really = [], importlib.__import__
    monkeypatch.setattr(
        importlib, "__import__", lambda name, *rest: asked.append(name) or really(name, *rest)
    )

    def kernel(a, b):
        import xml.dom.minidom

        import matplotlib.pyplot
        import nowhere.to_be_found

        return xml, matplotlib, nowhere

    fingerprint(kernel)
    assert asked == ["nowhere.to_be_found"]
