"""Equations and checks are found without running anything, and text and check are locked together."""

from pathlib import Path

import nbformat
import pytest

from ntkbook.verify import __main__ as command
from ntkbook.verify import lock, source

BOOK = Path(__file__).parents[2] / "book"

TEXT = r"""# A chapter

$$ \dot r = -\lambda r. $$ (eq-a)

:::{prf:theorem} Decay
:label: thm-a

$$\begin{aligned}
r(t) &= e^{-\lambda t} r(0)
\end{aligned}$$ (eq-b)
:::

```{math}
:label: eq-c
a = b
```

Not numbered: $$ 1 = 1 $$ and in code `$$ x $$ (eq-no)`.
"""
CODE = """verify.identity("eq-a", a, b)  # a comment
verify.close('eq-b', a, b, rtol=1e-9)
%time verify.theorem("eq-c", "key", verify.rate, x, y, 1)
verify.rate("eq-c", x, y, 1)
"""


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, TEXT, CODE)
    return tmp_path


def write(folder, text, code):
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "01_chapter.ipynb")


def accepted(folder):
    lock.accept(source.read_book(folder), folder / lock.FILE_NAME, ["*"])


def test_all_notations_of_an_equation_are_found():
    found = dict(source.equations_in(TEXT))
    assert list(found) == ["eq-a", "eq-b", "eq-c"]
    assert found["eq-a"].strip() == r"\dot r = -\lambda r."
    assert r"e^{-\lambda t} r(0)" in found["eq-b"]
    assert found["eq-c"].strip() == "a = b"


def test_all_checks_of_a_cell_are_found():
    assert [(label, kind) for label, kind, _ in source.checks_in(CODE)] == [
        ("eq-a", "identity"),
        ("eq-b", "close"),
        ("eq-c", "rate"),
    ]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("verify.identity(label, a, b)", "string literal"),
        ("verify.close()", "string literal"),
        ("verify.close('eq-a', f(x), f(x), rtol=1)", "compares 'f(x)' with itself"),
        ("verify.identity('eq-a', a,", "was never closed"),
    ],
)
def test_a_check_that_cannot_be_read_is_named_with_page_and_cell(tmp_path, code, message):
    write(tmp_path, TEXT, code)
    with pytest.raises(ValueError, match=r"01_chapter\.ipynb, cell 1") as caught:
        source.read_book(tmp_path)
    assert message in str(caught.value)


def test_equations_without_a_check_and_misspelt_labels_are_problems(tmp_path):
    write(tmp_path, TEXT, CODE.replace("eq-b", "eq-bb"))
    problems = source.read_book(tmp_path).problems()
    assert problems == [
        "01_chapter.ipynb, cell 0: equation 'eq-b' has no check",
        "01_chapter.ipynb, cell 1: check 'eq-bb' names no numbered equation; did you mean 'eq-b'?",
    ]


def test_a_label_used_twice_is_a_problem(tmp_path):
    write(tmp_path, TEXT + "\n\n$$ 2 = 2 $$ (eq-a)\n", CODE)
    (problem,) = source.read_book(tmp_path).problems()
    assert "'eq-a' is used already" in problem


def test_a_fresh_book_has_drifted_until_it_is_accepted(folder):
    book, file = source.read_book(folder), folder / lock.FILE_NAME
    assert [drift.reason for drift in lock.drifts(book, file)] == ["is new and not accepted yet"] * 3
    accepted(folder)
    assert lock.drifts(book, file) == []


@pytest.mark.parametrize("position", range(len(r"\dot r = -\lambda r.")))
def test_any_one_character_of_a_formula_is_noticed(folder, position):
    accepted(folder)
    formula = r"\dot r = -\lambda r."
    changed = formula[:position] + ("x" if formula[position] != "x" else "z") + formula[position + 1 :]
    write(folder, TEXT.replace(formula, changed), CODE)
    (drift,) = lock.drifts(source.read_book(folder), folder / lock.FILE_NAME)
    assert (drift.label, drift.reason) == ("eq-a", "the equation changed since both were accepted")


def test_a_changed_check_is_noticed_and_both_sides_are_shown(folder, capsys):
    accepted(folder)
    write(folder, TEXT, CODE.replace("rtol=1e-9", "rtol=1e-8"))
    assert command.main(["--book", str(folder), "check"]) == 1
    shown = capsys.readouterr().out
    assert "eq-b: the check changed" in shown
    assert r"e^{-\lambda t} r(0)" in shown
    assert "rtol=1e-08" in shown
    assert "make accept-equations LABEL=eq-b" in shown


def test_comments_and_layout_of_a_check_do_not_count(folder):
    accepted(folder)
    write(folder, TEXT, CODE.replace("  # a comment", "").replace("a, b)", "a,\n    b)", 1))
    assert lock.drifts(source.read_book(folder), folder / lock.FILE_NAME) == []


def test_a_removed_equation_is_noticed_and_leaves_the_lock_when_accepted(folder):
    accepted(folder)
    write(folder, TEXT.replace("(eq-a)", ""), CODE.replace('verify.identity("eq-a", a, b)', ""))
    book, file = source.read_book(folder), folder / lock.FILE_NAME
    reasons = {drift.label: drift.reason for drift in lock.drifts(book, file)}
    assert reasons["eq-a"] == "is in the lock file but no longer in the book"
    lock.accept(book, file, ["*"])
    assert sorted(lock.read(file)) == ["eq-b", "eq-c"]


def test_accepting_takes_only_what_is_named(folder, capsys):
    assert command.main(["--book", str(folder), "accept", "eq-a"]) == 0
    assert "accepted" in capsys.readouterr().out
    assert list(lock.read(folder / lock.FILE_NAME)) == ["eq-a"]
    assert command.main(["--book", str(folder), "check"]) == 1
    assert command.main(["--book", str(folder), "accept", "eq-[bc]"]) == 0
    assert command.main(["--book", str(folder), "check"]) == 0


def test_accepting_a_misspelt_label_names_the_nearest(folder, capsys):
    assert command.main(["--book", str(folder), "accept", "eq-aa"]) == 1
    assert "did you mean 'eq-a'?" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[1]", '{"eq-a": 3}'])
def test_a_damaged_lock_file_is_named(folder, content, capsys):
    (folder / lock.FILE_NAME).write_text(content)
    assert command.main(["--book", str(folder), "check"]) == 1
    assert "equations.lock is damaged" in capsys.readouterr().err


def test_the_book_is_covered_and_accepted():
    book = source.read_book(BOOK)
    assert [*book.problems(), *map(str, lock.drifts(book, BOOK / lock.FILE_NAME))] == []
    assert len(book.equations) >= 25
