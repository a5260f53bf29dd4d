"""Files that claim or unpack to more than there is memory: an error with a name, in bounded memory."""

import os
import subprocess
import sys

import pytest

# Beyond what is loaded, 500 MB of address space.
READ = """
import io, resource, sys, zipfile
import numpy as np
from ntkbook.data import ChecksumError, cifar, cifar10_images

def header(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()

kind = sys.argv[1]
with zipfile.ZipFile(cifar.EXCERPT, "w", zipfile.ZIP_DEFLATED) as file:
    with file.open("labels.npy", "w") as labels:
        labels.write(header((4,)) + bytes(4))
    with file.open("images.npy", "w") as images:
        count = {"bomb": 400_000, "claim": 10**7, "more": 10**15, "whole": 4}[kind]
        images.write(header((count, 32, 32, 3)))
        for _ in range({"bomb": count, "whole": count}.get(kind, 4)):
            images.write(bytes(3072))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (500 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    print(cifar10_images(4, folder=".", download=False).labels.tolist())
except ChecksumError as error:
    print("named:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux")
@pytest.mark.parametrize("kind", ["bomb", "claim", "more", "whole"])
def test_an_excerpt_larger_than_memory(tmp_path, kind):
    done = subprocess.run(
        [sys.executable, "-c", READ, kind], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = (
        "[0, 0, 0, 0]" if kind == "whole" else "named: cifar10_first3000.npz is damaged or another file"
    )
    assert done.stdout.startswith(expected)
    # Where memory has no limit, only a look at the sizes before anything is unpacked helps.
    assert ("it unpacks to 1,228,800,128 bytes" in done.stdout) == (kind == "bomb")
