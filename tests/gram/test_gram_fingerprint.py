"""A kernel whose code or weights changed is another kernel; an equal one built anew is the same."""

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
