"""The checks' own test: a change of a statement must be noticed, and one that is not must be named."""

import ast

import nbformat
import pytest

from ntkbook.verify import mutation
from ntkbook.verify.mutation import flow, operators, report
from ntkbook.verify.mutation.__main__ import main

SETUP = """
import numpy as np
import sympy as sp
from ntkbook import verify
points = np.linspace(0.1, 2.0, 7)
tall = np.arange(1.0, 7.0).reshape(3, 2)
"""
# At the points 0 and 1 a square is its own square root: the check of "eq-weak" cannot see the exponent.
WEAK = """
ends = np.array([0.0, 1.0])
verify.close("eq-weak", ends * ends, ends**2, rtol=1e-12, wrong={"sign": -ends})
"""
STRONG = """
verify.close("eq-strong", points * points, points**2, rtol=1e-12, wrong={"sign": -points})
"""


def chapter(folder, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *cells)])
    nbformat.write(notebook, folder / "01_toy.ipynb")
    return folder / "01_toy.ipynb"


def outcomes(folder, *cells, seconds=60.0):
    return [o for cell in mutation.mutate(chapter(folder, *cells), seconds, {}) for o in cell.outcomes]


def changes(code):
    """Return what is changed in the sides of the only check of some code, as 'before → after'."""
    tree = ast.parse(code)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    (comparison,) = flow.comparisons(tree)
    made = []
    for i, side in enumerate(comparison.sides):
        place = operators.Place(comparison.call, "args", i + 1)
        made += operators.mutants(side, place, parents, side=True)
    return {f"{m.operator}: {m.before} → {m.after}" for m in made}


def stated(code):
    (comparison,) = flow.comparisons(tree := ast.parse(code))
    return {ast.unparse(unit.node) for unit in flow.statement_of(comparison, list(flow.units(tree.body)))}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", {"sign: a + b → a - b", "sign: a + b → -(a + b)"}),
        ("-a", {"sign: -a → a"}),
        ("a * b", {"coefficient: a * b → a / b", "coefficient: a * b → a", "sign: a * b → -(a * b)"}),
        ("3 * a", {"coefficient: 3 * a → 4 * a", "sign: 3 * a → -(3 * a)"}),
        ("a ** 2", {"exponent: a ** 2 → a ** 3", "sign: a ** 2 → -a ** 2"}),
        ("a ** p", {"exponent: a ** p → a ** (p + 1)", "sign: a ** p → -a ** p"}),
        ("a.sqrt()", {"exponent: a.sqrt() → a", "sign: a.sqrt() → -a.sqrt()"}),
        ("f[i, j]", {"index: f[i, j] → f[j, i]", "sign: f[i, j] → -f[i, j]"}),
        ("f[-1]", {"index: f[-1] → f[-2]", "sign: f[-1] → -f[-1]"}),
        ("s.sum()", {"coefficient: s.sum() → s.mean()", "sign: s.sum() → -s.sum()"}),
        ("amax(s, 1)", {"index: amax(s, 1) → amax(s, 0)", "sign: amax(s, 1) → -amax(s, 1)"}),
        ("A.T", {"transpose: A.T → A", "sign: A.T → -A.T"}),
        ("A @ B", {"transpose: A @ B → B @ A", "sign: A @ B → -(A @ B)"}),
        (
            "torch.einsum('ij,k->ik', A, b)",
            {
                "index: torch.einsum('ij,k->ik', A, b) → torch.einsum('ji,k->ik', A, b)",
                "index: torch.einsum('ij,k->ik', A, b) → torch.einsum('ij,k->ki', A, b)",
                "sign: torch.einsum('ij,k->ik', A, b) → -torch.einsum('ij,k->ik', A, b)",
            },
        ),
        ("torch.randn(5, generator=g)", {"sign: torch.randn(5, generator=g) → -torch.randn(5, generator=g)"}),
    ],
)  # fmt: skip
def test_each_kind_of_change(expression, expected):
    assert changes(f"verify.close('eq', {expression}, known, rtol=1e-9)") == {
        *expected,
        "sign: known → -known",
    }


def test_what_feeds_both_sides_is_the_example_and_what_feeds_one_is_the_statement():
    code = """
x = 2 * y
left = x + 1
total = 0
for k in range(3):
    total += k * x
def right(s):
    return s * factor
factor = 4 * x
a, b = x - 5, x - 6
unused = x - 7
verify.close("eq", left + total + a, right(x) + b, rtol=1e-9, wrong={"sign": -unused})
"""
    expected = {
        "x + 1",
        "total += k * x",
        "4 * x",
        "x - 5",
        "x - 6",
        "def right(s):\n    return s * factor",
    }
    assert stated(code) == expected


def test_names_inside_a_function_are_its_own():
    code = "x = 1\ndef f(x):\n    return 2 * x\nverify.close('eq', f(3), [x + q for q in y], rtol=1e-9)"
    assert stated(code) == {"def f(x):\n    return 2 * x"}


def test_of_a_powerful_and_a_powerless_check_the_powerless_one_is_named(tmp_path, capsys):
    notebook = chapter(tmp_path, STRONG, WEAK)
    assert main([str(notebook), "--book", str(tmp_path), "--store", str(tmp_path / "store")]) == 1
    printed = capsys.readouterr().out
    assert "eq-weak accepts\n    ends ** 2 → ends ** 3" in printed
    assert "eq-strong accepts" not in printed


def test_a_change_listed_as_equivalent_does_not_count_and_its_reason_is_in_the_table(tmp_path):
    notebook, table = chapter(tmp_path, WEAK), tmp_path / "table.md"
    kept = ["ends ** 2 → ends ** 3", "ends * ends → ends"]
    entry = f"- label: eq-weak\n  reason: 0 and 1 are their own squares.\n  changes: {kept}\n"
    (tmp_path / report.EQUIVALENTS).write_text(entry)
    again = [
        str(notebook),
        "--book",
        str(tmp_path),
        "--store",
        str(tmp_path / "store"),
        "--table",
        str(table),
    ]
    assert main(again) == 0
    assert "0 and 1 are their own squares." in table.read_text()


def test_an_entry_without_a_reason_is_refused(tmp_path):
    (tmp_path / "list.yml").write_text("- label: eq-weak\n  changes: [a → b]\n")
    with pytest.raises(ValueError, match="needs label, reason and changes"):
        report.equivalents(tmp_path / "list.yml")


def test_how_each_change_was_noticed(tmp_path):
    code = 'verify.close("eq", tall @ tall.T, np.einsum("ik,jk->ij", tall, tall), rtol=1e-12)'
    found = {(o.before, o.after.split(" #")[0]): o.state for o in outcomes(tmp_path, code)}
    assert found["tall @ tall.T", "-(tall @ tall.T)"] == "check"
    assert found["tall @ tall.T", "tall.T @ tall"] == "error"  # the shapes differ
    assert found["tall @ tall.T", "tall @ tall"] == "error"


def test_a_changed_statement_that_accepts_a_wrong_version_is_noticed_by_its_power(tmp_path):
    code = 'verify.bound("eq", points, points + 0, wrong={"half": points / 2})'
    found = {(o.before, o.after): o.state for o in outcomes(tmp_path, code)}
    assert found["points", "-points"] == "power"


def test_the_height_of_a_curve_is_no_part_of_its_exponent(tmp_path):
    code = 'verify.rate("eq", points, 5.0 * points**2, 2.0, tolerance=0.1)'
    found = {(o.before, o.after): o.state for o in outcomes(tmp_path, code)}
    assert found["5.0 * points ** 2", "10.0 * points ** 2"] == "rescaled"
    assert found["5.0 * points ** 2", "5.0 * points ** 3"] == "check"


def test_what_sympy_proves_is_no_wrong_statement(tmp_path):
    code = 't = sp.Symbol("t")\nverify.identity("eq", sp.cos(t) ** 2, 1 - (-sp.sin(t)) ** 2)'
    found = {(o.before, o.after): o.state for o in outcomes(tmp_path, code)}
    assert found["1 - (-sp.sin(t)) ** 2", "1 - sp.sin(t) ** 2"] == "proved"
    assert found["1 - (-sp.sin(t)) ** 2", "1 + (-sp.sin(t)) ** 2"] == "check"


def test_the_order_of_a_scalar_product_is_no_change(tmp_path):
    code = 'verify.close("eq", points @ points.T, (points**2).sum(), rtol=1e-12)'
    assert not any(o.operator == "transpose" for o in outcomes(tmp_path, code))


def test_a_change_that_never_ends_counts_as_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("ntkbook.verify.mutation.run._EXTRA_SECONDS", 1.0)
    code = """
def root(a):
    x = a
    while abs(x * x - a) > 1e-9:
        x = 0.5 * (x + a / x)
    return x
verify.close("eq", root(2.0), 2**0.5, rtol=1e-9)
"""
    found = outcomes(tmp_path, code)
    assert "out of time or memory" in {o.detail for o in found}
    assert {o.state for o in found} == {"check", "error"}


def test_a_slow_cell_is_sampled_and_says_how_much_was_left_out(tmp_path):
    slow = "slow = 0.0 * sum(1.5 * k for k in range(400_000))\n"
    code = slow + STRONG.replace("points**2", "points**2 + 2 * points - 2 * points + slow")
    (cell,) = mutation.mutate(chapter(tmp_path, code), 1e-9, {})
    assert len(cell.outcomes) == 4
    assert cell.left_out > 0


def test_a_change_that_exceeds_the_time_alone_leaves_it_to_the_others(tmp_path, monkeypatch):
    def timed(needed, _):
        return [10.0 if "range" in ast.unparse(statement) else 0.001 for statement in needed], [], ""

    monkeypatch.setattr("ntkbook.verify.mutation.run._baseline", timed)
    slow = "slow = 0.0 * sum(1.5 * k - 2.5 * k + 3.5 * k - 4.5 * k for k in range(5))\n"
    code = slow + STRONG.replace("points**2", "points**2 + 2 * points - 2 * points + slow")
    (cell,) = mutation.mutate(chapter(tmp_path, code), 0.1, {})
    late = [o for o in cell.outcomes if "range" not in o.before]
    assert len(late) == 10
    assert len(cell.outcomes) - len(late) == 2
    assert cell.left_out == 7


def test_an_earlier_run_is_resumed(tmp_path, monkeypatch):
    notebook = chapter(tmp_path, STRONG, WEAK)
    first = list(mutation.mutate(notebook, 60.0, {}))
    report.save(tmp_path / "store.json", first)
    monkeypatch.setattr("ntkbook.verify.mutation.run._examine", lambda *_: pytest.fail("changed again"))
    assert list(mutation.mutate(notebook, 60.0, report.load(tmp_path / "store.json"))) == first


def test_a_cell_that_fails_unchanged_is_reported(tmp_path):
    code = 'verify.close("eq", points, points + 1, rtol=1e-9)'
    with pytest.raises(RuntimeError, match="eq: the cell fails unchanged: CheckFailed"):
        outcomes(tmp_path, code)


def test_the_chapter_goes_on_from_its_own_state_not_from_a_changed_one(tmp_path):
    code = 'total = 3 * points\nverify.close("eq", total, points + points + points, rtol=1e-12)'
    after = "assert np.allclose(total, 3 * points)"
    assert outcomes(tmp_path, code, after)
