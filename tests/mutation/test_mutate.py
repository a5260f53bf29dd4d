"""The tool itself: it tells a change that the tests notice from one that they do not."""

from dataclasses import replace
from pathlib import Path

import pytest
from baseline import Baseline, measure
from mutants import mutants
from score import Equivalent, Part, overall, read_equivalents, table, wilson
from session import Result, Session

SOURCE = '''"""A module."""


def area(width: float | None, height: float, *, unit: int = 1) -> float:
    """Return width * height in squares of the unit."""
    if width is None:
        raise ValueError(f"width + 2 is {width}")
    steps = 0
    while unit > 1:
        steps += 1
        unit = unit // 2
    return width * height - steps


def double(x: float) -> float:
    return 2 * x


def unused(x: float) -> float:
    return x + 1
'''
TESTS = """
import pytest
from toy.shapes import area, double


@pytest.fixture(scope="module")
def twice():
    return double(3)


def test_that_comes_first(twice):
    assert twice


def test_twice(twice):
    assert twice == 6


def test_area():
    assert area(2, 3) == 6


def test_no_width():
    with pytest.raises(ValueError):
        area(None, 3)
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    root = tmp_path_factory.mktemp("toy_project")
    (root / "toy").mkdir()
    (root / "tests").mkdir()
    (root / "toy" / "__init__.py").write_text("")
    (root / "toy" / "shapes.py").write_text(SOURCE)
    (root / "tests" / "test_toy_shapes.py").write_text(TESTS)
    baseline = measure(root, ["tests/test_toy_shapes.py"], "toy", root / "baseline")
    return Session(root, root / "record.jsonl", baseline, 60, lambda m: baseline.tests(m.module, m.number))


def find(line: str, operator: str, ordinal: int = 0):
    (mutant,) = (
        m
        for m in mutants("toy/shapes.py", SOURCE)
        if (m.line, m.operator, m.ordinal) == (line, f"core/{operator}", ordinal)
    )
    return mutant


def test_arithmetic_is_mutated_and_text_is_not():
    found = list(mutants("toy/shapes.py", SOURCE))
    lines = {mutant.line for mutant in found}
    assert "return width * height - steps" in lines
    assert {m.function for m in found} == {"area", "double", "unused"}
    # Not the message, not the annotation, not the star between the parameters: only the default of the unit.
    assert not any("raise" in line or '"""' in line for line in lines)
    assert {m.operator for m in found if m.line.startswith("def area")} == {"core/NumberReplacer"}
    becomes = {m.apply(SOURCE)[1] for m in found if m.line == "return width * height - steps"}
    assert {"return width + height - steps", "return width * height + steps"} <= becomes


def test_keys_do_not_depend_on_line_numbers():
    moved = SOURCE.replace('"""A module."""', '"""A module.\n\nWith a longer text.\n"""\n\nimport math')
    keys = [m.key for m in mutants("toy/shapes.py", SOURCE)]
    assert len(set(keys)) == len(keys)
    assert keys == [m.key for m in mutants("toy/shapes.py", moved)]


def test_a_change_that_a_test_notices_is_killed(session: Session):
    result = session.run(find("return width * height - steps", "ReplaceBinaryOperator_Mul_Add"))
    assert (result.outcome, result.by) == ("killed", "tests/test_toy_shapes.py::test_area")
    assert result.becomes == "return width + height - steps"


def test_a_change_that_no_test_notices_survives(session: Session):
    # No test has steps other than 0.
    mutant = find("return width * height - steps", "ReplaceBinaryOperator_Sub_Add")
    result = session.run(mutant)
    assert (result.outcome, result.tests_run) == ("survived", 1)
    uncovered = session.run(find("return x + 1", "ReplaceBinaryOperator_Add_Sub"))
    assert uncovered.outcome == "survived"
    assert session.valid(mutant, result)
    assert not session.valid(mutant, replace(result, tests_run=0))
    assert not session.valid(mutant, replace(result, module_digest=""))
    assert (session.root / "toy" / "shapes.py").read_text() == SOURCE


def test_what_a_fixture_executes_is_covered_by_all_tests_of_the_file(session: Session):
    result = session.run(find("return 2 * x", "ReplaceBinaryOperator_Mul_Add"))
    assert (result.outcome, result.by) == ("killed", "tests/test_toy_shapes.py::test_twice")


def test_a_change_that_never_ends_is_stopped(session: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("session._ALLOWANCE", 2)
    result = session.run(find("while unit > 1:", "ReplaceComparisonOperator_Gt_LtE"))
    assert result.outcome == "time"
    assert result.detected


def test_a_survivor_meets_new_tests_and_a_killed_mutant_does_not(session: Session):
    minus = find("return width * height - steps", "ReplaceBinaryOperator_Sub_Add")
    times = find("return width * height - steps", "ReplaceBinaryOperator_Mul_Add")
    survivor, killed = session.run(minus), session.run(times)
    new = session.root / "tests" / "test_toy_steps.py"
    new.write_text("from toy.shapes import area\n\ndef test_steps():\n    assert area(2, 3, unit=2) == 5\n")
    try:
        fresh = replace(session)
        assert not fresh.valid(minus, survivor)
        assert fresh.valid(times, killed)
        files = ["tests/test_toy_shapes.py", "tests/test_toy_steps.py"]
        baseline = measure(session.root, files, "toy", session.root / "baseline")
        later = Session(
            session.root, session.record, baseline, 60, lambda m: baseline.tests(m.module, m.number)
        )
        result = later.run(minus)
        assert result.by == "tests/test_toy_steps.py::test_steps"
        assert session.known()[result.key].outcome == "killed"
        assert session.known(first=True)[result.key].outcome == "survived"
    finally:
        new.unlink()


def test_fast_tests_come_first_and_the_parameters_of_one_test_apart():
    baseline = Baseline({"slow": 3.0, "many[a]": 1.0, "many[b]": 1.1, "fast": 0.1}, {}, {})
    assert baseline.ordered(list(baseline.seconds)) == ["fast", "many[a]", "slow", "many[b]"]


def result(outcome: str, line: str = "x = 1") -> Result:
    return Result(f"{line} {outcome}", "m.py", "f", line, "x = 2", outcome, "", 1, 1, "", "")


def test_the_score_leaves_out_equivalent_mutants_and_counts_survivors():
    same = Equivalent("m.py", "f", "x = 1", "x = 2", "x is not read")
    outcomes = [result("killed"), result("time"), result("survived"), result("invalid")]
    part = Part("toy", 40, [*outcomes, result("survived", "y = 1")], [same])
    assert (part.detected, part.equivalent, len(part.survivors)) == (2, 1, 1)
    assert part.score == pytest.approx(2 / 3)
    assert f"{100 * wilson(2, 3)[0]:.1f}" in table([part], {r.key: r for r in part.results})


def test_the_intervals_of_wilson():
    # Newcombe (1998), Statistics in Medicine 17, 857-872, table I: 81 of 263 and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_parts_count_by_the_mutants_they_have():
    large = Part("large", 900, [result("killed")] * 30, [])
    small = Part("small", 100, [result("survived")] * 30, [])
    score, low, high = overall([large, small])
    assert score == pytest.approx(0.9)
    assert low < 0.9 < high


def test_every_equivalent_mutant_is_still_in_the_package():
    here = Path(__file__).resolve().parent
    for entry in read_equivalents(here / "equivalents.toml"):
        source = (here.parents[1] / entry.module).read_text()
        found = {m.line for m in mutants(entry.module, source) if m.function == entry.function}
        assert entry.line in found, f"{entry.module}, {entry.function}: no mutant of {entry.line!r}"
        assert len(entry.reason) > 20
