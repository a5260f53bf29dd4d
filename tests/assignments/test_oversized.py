"""Submissions that are huge, deep or full of output: a reason in words, soon, in bounded memory."""

import os
import subprocess
import sys

import pytest

READ = """
import json, resource, sys, time
from pathlib import Path
from ntkbook.assignments.grading import grade
path, kind = Path("a.ipynb"), sys.argv[1]
cell = {"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": []}
notebook = {"cells": [cell], "metadata": {"ntkbook": {"assignment": "hw1"}}, "nbformat": 4}
with path.open("w") as file:
    if kind == "large":
        file.truncate(200 << 20)
    elif kind == "deep":
        file.write('{"cells": ' + "[" * 100_000)
    elif kind == "deep and closed":
        file.write('{"cells": ' + "[" * 100_000 + "]" * 100_000 + "}")
    elif kind == "output":
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * (90 << 20)}]
        json.dump(notebook, file)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
if kind == "output":
    from ntkbook.assignments.submission import read_submission
    print(read_submission(path).cells)
else:
    print(grade(path).failure)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("large", "the file is larger than 100 MB; clear the outputs"),
        ("deep", "the file is not a notebook: it holds no JSON"),
        ("deep and closed", "the file is not a notebook: it holds no JSON"),
        ("output", "((0, 'x = 1'),)"),
    ],
)
def test_an_oversized_notebook_has_a_reason(tmp_path, kind, expected):
    done = subprocess.run(
        [sys.executable, "-c", READ, kind], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected
