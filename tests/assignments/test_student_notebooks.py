"""The student's notebooks: complete, free of solutions, and worth nothing as they are."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from answers import FOLDER

from ntkbook.assignments.catalogue import KEYS, assignment
from ntkbook.assignments.checking import check
from ntkbook.assignments.rubric import rubric
from ntkbook.assignments.student import BEGIN, END, student_notebook
from ntkbook.assignments.submission import plain_python
from ntkbook.colab.installation import repository_address

ROOT = FOLDER.parents[1]


@pytest.fixture(scope="module", params=KEYS)
def pair(request):
    """Return key, instructor's notebook and student's notebook."""
    path = FOLDER / f"{request.param}.ipynb"
    return (
        request.param,
        json.loads(path.read_text(encoding="utf-8")),
        student_notebook(path, "https://x.org/y"),
    )


def text(cell):
    return "".join(cell["source"])


def test_no_line_of_a_solution_is_left(pair):
    _, instructor, student = pair
    secret: set[str] = set()
    for cell in instructor["cells"]:
        if "solution" in cell["metadata"].get("tags", []):
            secret |= {line.strip() for line in text(cell).splitlines()}
        elif BEGIN in text(cell):
            inside = text(cell).partition(BEGIN)[2].partition(END)[0]
            secret |= {line.strip() for line in inside.splitlines()}
    secret = {line for line in secret if len(line) > 15}
    left = {line.strip() for cell in student["cells"] for line in text(cell).splitlines()}
    assert len(secret) > 10
    # what the experiment at the end shows openly is no secret
    open_code = {
        line.strip()
        for c in instructor["cells"]
        if BEGIN not in text(c)
        for line in text(c).splitlines()
        if c["cell_type"] == "code"
    }
    assert not (secret & left) - open_code
    assert not any("SOLUTION" in text(cell) or "Solution." in text(cell) for cell in student["cells"])


def test_the_rest_is_left_and_the_notebook_is_valid(pair):
    key, instructor, student = pair
    nbformat.validate(nbformat.from_dict(student))
    kept = [cell for cell in instructor["cells"] if "solution" not in cell["metadata"].get("tags", [])]
    assert [cell["id"] for cell in student["cells"][2:]] == [cell["id"] for cell in kept[1:]]
    assert student["metadata"]["ntkbook"] == {"assignment": key}
    assert "git+https://x.org/y" in text(student["cells"][1])
    assert sum("raise NotImplementedError" in text(cell) for cell in student["cells"]) >= len(
        assignment(key).questions
    )


def test_the_empty_notebook_gets_nothing(pair):
    key, _, student = pair
    namespace: dict[str, object] = {}
    for cell in student["cells"]:
        source = plain_python(text(cell))
        if cell["cell_type"] == "code" and (
            "raise NotImplementedError" in source or source.startswith("import")
        ):
            exec(source, namespace)
    for question in assignment(key).questions:
        assert check(question.key, namespace[question.answer]).points == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (END, "", "without '### END SOLUTION'"),
        (BEGIN, "", "no single cell defines"),
        (BEGIN, f"{BEGIN}\n    {BEGIN}", "inside a solution"),
        (END, f"{END}\n    {END}", "without '### BEGIN SOLUTION'"),
        ('check("hw1/q1", descent_step)', "", "no cell ends with"),
    ],
)
def test_a_notebook_with_a_slip_is_refused(tmp_path, old, new, words):
    source = json.dumps(old)[1:-1]
    path = tmp_path / "hw1.ipynb"
    original = (FOLDER / "hw1.ipynb").read_text(encoding="utf-8")
    assert source in original
    path.write_text(original.replace(source, json.dumps(new)[1:-1], 1), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        student_notebook(path, "x")


def test_instructors_notebooks_are_clean_and_name_their_points(pair):
    key, instructor, _ = pair
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in instructor["cells"])
    ids = [cell["id"] for cell in instructor["cells"]]
    assert len(ids) == len(set(ids))
    words = "\n".join(text(cell) for cell in instructor["cells"] if cell["cell_type"] == "markdown")
    # Elsewhere than in a paragraph of its own, a displayed formula is no formula in the pages.
    assert not re.search(r"(?m)(?<!\A)(?<!\n\n)^\$\$|\$\$\n(?!\n)|[^\n$]\$\$[^\n$]", words), key
    target = assignment(key)
    assert f"**Points:** {target.points}" in words
    for number, question in enumerate(target.questions, 1):
        assert question.key == f"{key}/q{number}"
        assert f"## Question {number}: " in words
        heading = next(line for line in words.splitlines() if f"## Question {number}:" in line)
        assert heading.endswith(f"({question.points} points)")


def test_the_rubric_page_is_the_tests_own():
    assert (FOLDER / "rubric.md").read_text(encoding="utf-8") == rubric()


def test_the_address_comes_from_the_books_configuration(tmp_path):
    assert repository_address(ROOT / "_config.yml").startswith("https://")
    with pytest.raises(ValueError, match="--repository"):
        repository_address(tmp_path / "_config.yml")
