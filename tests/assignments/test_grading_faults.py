"""Damaged notebooks, and submissions that attack what surrounds them: a result always comes back."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import pytest
from answers import solution_source

from ntkbook.assignments.codec import CodecError, decode
from ntkbook.assignments.grading import grade, grade_all
from ntkbook.assignments.limits import Limits
from ntkbook.assignments.submission import Submission, UnreadableSubmission, read_submission

sys.path.append(str(Path(__file__).parents[1] / "gram"))
from damage import damage_file, damaged_json


def notebook(path, *sources):
    cells = [{"cell_type": "code", "source": source, "metadata": {}} for source in sources]
    content = {
        "cells": cells,
        "metadata": {"ntkbook": {"assignment": "hw1"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_a_thousand_damaged_notebooks_are_read_or_named(tmp_path):
    seen = set()
    for seed in range(1000):
        folder = tmp_path / "n"
        folder.mkdir()
        path = notebook(folder / "a.ipynb", ["x = 1\n", 'check("hw1/q1", f)'], '%time\nprint("\u00e9")')
        what = damage_file(path, random.Random(seed))
        try:
            seen.add(type(read_submission(path)))
        except UnreadableSubmission:
            seen.add(UnreadableSubmission)
        except Exception as error:
            pytest.fail(f"seed {seed}: {what}: {error!r}")
        shutil.rmtree(folder)
    assert seen == {Submission, UnreadableSubmission}


def test_a_thousand_damaged_messages_are_decoded_or_refused():
    message = {
        "list": [{"array": "AAAAAAAA8D8=", "dtype": "float64", "shape": [1]}, {"dict": {"a": 1.5}}, "b"]
    }
    message["list"].append({"foreign": "Evil"})
    seen = set()
    for seed in range(1000):
        what, text = damaged_json(json.dumps(message), random.Random(seed))
        try:
            decode(json.loads(text))
            seen.add("decoded")
        except (CodecError, ValueError):
            seen.add("refused")
        except Exception as error:
            pytest.fail(f"seed {seed}: {what}: {error!r}")
    assert seen == {"decoded", "refused"}


def test_a_source_that_no_parser_survives_costs_its_own_cell(tmp_path):
    sources = ["-" * 50_000 + "1", "(" * 50_000, "x = '\x00'", "x = 'LONE'", "a" + ".a" * 50_000]
    path = notebook(tmp_path / "a.ipynb", *sources)
    # Half of a pair of surrogates is JSON, and no text that Python could encode.
    path.write_text(path.read_text(encoding="utf-8").replace("LONE", r"\ud800"), encoding="utf-8")
    assert len(read_submission(path).cells) == 5


def test_a_reader_that_fails_stops_nothing(tmp_path, monkeypatch):
    path = notebook(tmp_path / "a.ipynb", "x = 1")
    monkeypatch.setattr("ntkbook.assignments.grading.read_submission", lambda *_: 1 / 0)
    (result,) = grade_all([path])
    assert "ZeroDivisionError" in result.failure


ATTACKS = [
    "import torch\ntorch.set_default_dtype(torch.float64)",
    solution_source("hw1/q1"),
    "import os\nos.kill(os.getppid(), 9)",
    "import os, shutil\nshutil.rmtree(os.getcwd())\nos._exit(0)",
    "while True:\n    print('x' * 100_000)",
    "raise KeyboardInterrupt",
    """
import os, time
os.write(os.open("ALIVE", os.O_WRONLY), b"x")
for _ in range(5):
    if os.fork() == 0:
        time.sleep(600)
""",
]


def test_attacks_on_parent_folder_and_output(tmp_path):
    os.mkfifo(alive := tmp_path / "alive")
    end = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    path = notebook(tmp_path / "a.ipynb", *(source.replace("ALIVE", str(alive)) for source in ATTACKS))
    result = grade(path, seed=1, limits=Limits(cell_seconds=2, call_seconds=2, file_bytes=1 << 20))
    assert not result.failure
    assert [question.points for question in result.questions] == [10, 0, 0, 0]
    assert 2 not in result.cell_errors  # what it killed is not the grader
    assert result.cell_errors[3].startswith("the process ")
    assert "OSError" in result.cell_errors[4]
    assert "KeyboardInterrupt" in result.cell_errors[5]
    # The pipe is at its end when no process that inherited it is left.
    assert os.read(end, 100) == b"x"
    for _ in range(100):
        try:
            assert os.read(end, 100) == b""
            break
        except BlockingIOError:
            time.sleep(0.05)
    else:
        pytest.fail("children of the submission are left")
    os.close(end)


PATCHES = [
    # its own process cannot go on with these
    "import builtins\nbuiltins.isinstance = builtins.len = lambda *_: True\nbuiltins.print = None",
    # with this one it can, and whoever judged in that process would find no difference from what is right
    """
import builtins
number = float
class Kind(type):
    def __instancecheck__(cls, value):
        return type(value) is number
class Zero(number, metaclass=Kind):
    def __new__(cls, *_):
        return super().__new__(cls)
builtins.float = Zero
""",
    "def descent_step(theta, *_):\n    return theta",
]


def test_patched_builtins_give_no_points(tmp_path):
    path = notebook(tmp_path / "a.ipynb", *PATCHES)
    result = grade(path, seed=1, limits=Limits(cell_seconds=2, call_seconds=2, restarts=1))
    assert set(result.cell_errors) == {0}
    assert [criterion.points for criterion in result.questions[0].criteria] == [0, 0, 0]
    hints = " ".join(criterion.hint for criterion in result.questions[0].criteria)
    assert "gradient" in hints, hints  # they were judged
    assert "raised" not in hints, hints
    assert result.points == 0
