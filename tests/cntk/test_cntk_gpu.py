"""The Triton kernel against the reference, interpreted without a GPU, and compiled for three of them."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import triton
import triton.language
from cntk_engines import pictures, recursion_of, run_engine

HERE = Path(__file__).parent
needs_gather = pytest.mark.skipif(
    not hasattr(triton.language, "gather"), reason="needs Triton 3.3, which torch 2.7 brings"
)


@needs_gather
def test_kernel_agrees_with_the_reference():
    interpret = "0" if torch.cuda.is_available() else "1"
    path = os.pathsep.join([str(HERE), *sys.path])
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "PYTHONPATH": path}
    result = subprocess.run(
        [sys.executable, str(HERE / "triton_cases.py")], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("ok ") == 7


def compiled(capability, rows, columns, readout):
    """Compile the kernel offline for images of one size, as the launcher would ask for it."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ntkbook.cntk import gpu

    types = dict.fromkeys(gpu.cntk_kernel.arg_names, "*fp32")
    types |= dict.fromkeys(("same1", "same2", "slots", "work"), "*i64")
    types |= dict.fromkeys(("n_work", "n1", "n2", "units", "channels", "layers"), "i32")
    pooled = readout == "gap"
    constants = {
        "ROWS": rows,
        "COLUMNS": columns,
        "GROUPS": 32 // columns,
        "SHIFTS": columns if pooled else 1,
        "DOWNS": rows if pooled else 1,
        "LANES": 32,
    }
    types |= {"start": "fp32", **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(fn=gpu.cntk_kernel, signature=types, constexprs=constants)
    return triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": 1, "num_stages": 1, "enable_fp_fusion": True},
    )


def resources(kernel, path):
    """Return (registers, bytes of local memory) as the assembler reports them."""
    path.write_bytes(kernel.asm["cubin"])
    tool = Path(find_spec("triton").origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    report = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    registers, stack, local = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", report).groups()
    return int(registers), int(stack) + int(local)


@needs_gather
@pytest.mark.parametrize("capability", [75, 80, 90])
@pytest.mark.parametrize(
    ("size", "readout", "budget"), [((32, 32), "gap", 96), ((28, 28), "gap", 96), ((8, 8), "flatten", 128)]
)
def test_compiles_without_spills(capability, size, readout, budget, tmp_path):
    kernel = compiled(capability, *size, readout)
    registers, local = resources(kernel, tmp_path / "kernel.cubin")
    assert local == 0
    assert registers <= budget
    assert "shfl.sync" in kernel.asm["ptx"]
    assert ".shared" not in kernel.asm["ptx"]


def test_what_does_not_fit_goes_to_the_reference():
    from ntkbook.cntk import gpu, reference

    x = pictures(2, 1, 4, 5)
    for recursion in (recursion_of(x, (2,)), recursion_of(x, (2,), q=5)):
        for ours, expected in zip(
            run_engine(gpu.block_sums, x, x, recursion),
            run_engine(reference.block_sums, x, x, recursion),
            strict=True,
        ):
            assert torch.equal(ours, expected)


def test_an_old_triton_is_left_alone(monkeypatch):
    from ntkbook.cntk import kernel, reference

    on_gpu = SimpleNamespace(device=torch.device("cuda"), requires_grad=False)
    monkeypatch.delattr(triton.language, "gather", raising=False)
    assert kernel._engine(on_gpu, on_gpu) is reference.block_sums
