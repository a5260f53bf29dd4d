"""Whole submissions, each in a process of its own: right ones, broken ones and hostile ones."""

from __future__ import annotations

import csv
import io
import json

import pytest
from answers import FOLDER, solution_source
from rich.console import Console

from ntkbook.assignments.__main__ import main
from ntkbook.assignments.catalogue import KEYS, assignment
from ntkbook.assignments.grading import Graded, find_notebooks, grade
from ntkbook.assignments.limits import Limits
from ntkbook.assignments.report import as_csv, points_tables
from ntkbook.assignments.submission import UnreadableSubmission, plain_python, read_submission


def notebook(path, *cells, metadata=None):
    cells = [{"cell_type": "code", "source": source, "metadata": {}} for source in cells]
    content = {"cells": cells, "metadata": metadata or {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("key", KEYS)
def test_the_instructors_notebook_runs_and_gets_all_points(key):
    result = grade(FOLDER / f"{key}.ipynb")
    assert not result.failure
    assert not result.cell_errors
    assert result.points == result.out_of == assignment(key).points


# Everything at once, since each process costs seconds: what it answers rightly must count all the same.
HOSTILE = [
    "import torch\ntorch.set_default_dtype(torch.float64)",
    solution_source("hw1/q1"),
    # patches whatever could judge it
    """
import ntkbook.assignments.agreement as agreement, ntkbook.assignments.evaluation as evaluation
agreement.agree = agreement.require = agreement.close = lambda *a, **k: True
evaluation.evaluate = None
torch.equal = torch.allclose = lambda *a, **k: True
from ntkbook.assignments import check
assert check("hw1/q1", None) is None  # says nothing while it is graded
""",
    "!rm -rf something\n%matplotlib inline\nx = 1",
    "bytearray(20 << 30)",
    "while True:\n    try:\n        import time; time.sleep(60)\n    except Exception: pass",
    "raise SystemExit",
    "import os\nos._exit(3)",
    "from google.colab import drive",
    "def training_outputs(*inputs):\n    while True:\n        time.sleep(1)",
    """
class Agreeable:
    __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda *_: True
    __hash__ = None
def flow_limit(X, y, theta0):
    return Agreeable()
""",
    # kills itself; then, started again, forges what the grader reads
    """
def largest_step(X):
    import socket, sys
    socket.socket(fileno=os.dup(int(sys.argv[1]))).sendall(b'{"value": 1e9}\\n{"points": 10}\\nnonsense\\n')
    os.kill(os.getpid(), 9)
""",
]


def test_a_hostile_submission_gets_what_it_earned_and_stops_nothing(tmp_path, capsys):
    folder = tmp_path / "submissions"
    (folder / "late").mkdir(parents=True)
    notebook(folder / "hostile.ipynb", *HOSTILE, metadata={"ntkbook": {"assignment": "hw1"}})
    (folder / "broken.ipynb").write_text("{", encoding="utf-8")
    notebook(folder / "late" / "right.ipynb", "import torch", solution_source("hw1/q4"), 'check("hw1/q4", 0)')
    options = ["--cell-seconds", "1", "--call-seconds", "0.5", "--memory-gb", "2", "--seed", "3"]
    assert main(["grade", str(folder), "--to", str(tmp_path / "out"), *options]) == 1
    table = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert "broken.ipynb the file is not a notebook: it holds no JSON" in rows
    assert "hostile.ipynb 10 0 0 0 10 5 cells with errors" in rows

    records = json.loads((tmp_path / "out" / "points.json").read_text(encoding="utf-8"))
    assert [record["submission"] for record in records] == [
        "broken.ipynb",
        "hostile.ipynb",
        "late/right.ipynb",
    ]
    hostile = records[1]
    assert [question["points"] for question in hostile["questions"]] == [10, 0, 0, 0]
    assert hostile["seed"] == 3
    errors = hostile["cell_errors"]
    assert set(errors) == {"4", "5", "6", "7", "8"}  # not 2: the patches are let be, and change nothing
    assert errors["4"].startswith("MemoryError")
    assert errors["5"] == "stopped after 1 s"
    assert errors["6"].startswith("SystemExit")
    assert errors["7"] == "the process ended itself with status 3"
    assert errors["8"].startswith("ModuleNotFoundError")
    hints = ["\n".join(each["hint"] for each in question["criteria"]) for question in hostile["questions"]]
    assert "had not finished after 0.5 s" in hints[1]
    assert "an object of type Agreeable" in hints[2]

    right = records[2]
    assert [question["points"] for question in right["questions"]] == [0, 0, 0, 10]
    assert "defines no descent_step" in right["questions"][0]["criteria"][0]["hint"]

    told = (tmp_path / "out" / "feedback" / "late" / "right.ipynb.txt").read_text(encoding="utf-8")
    assert "late/right.ipynb: 10 of 40 points" in told

    with open(tmp_path / "out" / "points.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["points"] for row in rows] == ["0", "10", "10"]
    assert rows[1]["hw1/q1"] == "10"
    assert rows[0]["failure"].startswith("the file is not a notebook")


def test_a_submission_that_never_runs_is_given_up_in_time(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "import os", "os.kill(os.getpid(), 9)", 'check("hw1/q1", 0)')
    result = grade(path, limits=Limits(restarts=0))
    assert result.points == 0
    assert result.out_of == 40
    assert "died too often" in result.failure
    assert "SIGKILL" in result.cell_errors[1]


def test_no_submission_takes_more_than_its_time(tmp_path):
    path = notebook(tmp_path / "a.ipynb", 'check("hw1/q1", 0)')
    assert "used up its 0.01 s" in grade(path, limits=Limits(total_seconds=0.01)).failure


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no JSON"),
        ("[]", "no cells"),
        ('{"worksheets": []}', "no cells"),
        ('{"cells": []}', "no known assignment"),
        ('{"cells": [], "metadata": {"ntkbook": {"assignment": "hw99"}}}', "'hw99'"),
        ('{"cells": [{"cell_type": "code", "source": ["check(\\"hw99/q1\\", f)"]}]}', "'hw99'"),
    ],
)
def test_what_is_no_submission_is_named(tmp_path, content, words):
    path = tmp_path / "a.ipynb"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableSubmission, match=words):
        read_submission(path)


def test_the_assignment_is_named_by_the_option_the_metadata_or_the_calls(tmp_path):
    path = notebook(tmp_path / "a.ipynb", 'check("hw2/q1", f)', "check('hw2/q2', f); check('hw3/q1', f)")
    assert read_submission(path).assignment == "hw2"
    assert read_submission(path, "hw4").assignment == "hw4"
    notebook(path, 'check("hw2/q1", f)', metadata={"ntkbook": {"assignment": "hw5"}})
    assert read_submission(path).assignment == "hw5"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 7\ny = x %2", "x = 7\ny = x %2"),
        ('text = """\n%d apples\n"""', 'text = """\n%d apples\n"""'),  # Python as it is stays as it is
        ("if True:\n    %pip install x", "if True:\n    pass"),
        ("!ls\nx = 1", "pass\nx = 1"),
        ("%%time\nx = 1", "pass\nx = 1"),
        ("%%bash\nls", ""),
    ],
)
def test_magics_are_left_out(source, expected):
    assert plain_python(source) == expected


def test_notebooks_are_found_and_missing_ones_named(tmp_path, capsys):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a.ipynb").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no notebooks"):
        find_notebooks([tmp_path])
    (tmp_path / "b.ipynb").write_text("{}", encoding="utf-8")
    assert [name for _, name in find_notebooks([tmp_path])] == ["b.ipynb"]
    assert main(["grade", str(tmp_path / "c.ipynb")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["grade", str(tmp_path), str(tmp_path / "b.ipynb")]) == 2
    assert "two submissions are called b.ipynb" in capsys.readouterr().err


def test_names_in_tables_do_no_harm():
    name = "=cmd()|[bold]" + "x" * 60 + ".ipynb"
    result = Graded(name, failure="-1")
    assert f"'{name}" in as_csv([result])
    assert "'-1" in as_csv([result])
    console = Console(width=40, file=io.StringIO())
    console.print(*points_tables([result]))
    told = console.file.getvalue()
    assert "[bold]" in told  # not taken for a style
    assert told.count("x") == name.count("x")  # folded, not cut
