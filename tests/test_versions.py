"""The record of the versions that the tests have passed on is of this project, and it covers all."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import run_versions
from run_versions import RECORD, ROOT, chunks, floors, project, read_report, same_version

# `make versions` writes the record at its end.
written = pytest.mark.skipif("NTKBOOK_VERSIONS" in os.environ, reason="the record is being made")
PASSED, FAILED = "<testcase/>", "<testcase><failure/></testcase>"


def columns() -> dict[str, dict[str, str]]:
    """Return the record's table: for each side, the entries by the names of the rows."""
    lines = RECORD.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    sides = rows[0][1:]
    return {side: {row[0]: row[1 + k] for row in rows[2:]} for k, side in enumerate(sides)}


@written
def test_the_oldest_versions_on_record_are_the_floors():
    oldest = columns()["oldest"]
    named = floors(project()) | {"Python": project()["requires-python"].removeprefix(">=")}
    wrong = {
        name: oldest.get(name)
        for name, floor in named.items()
        if not same_version(floor, oldest.get(name, ""))
    }
    assert not wrong, f"pyproject.toml has changed since: run `make versions`; on record are {wrong}"


@written
@pytest.mark.parametrize("side", ["oldest", "newest"])
@pytest.mark.parametrize("row", ["tests", "Colab notebooks"])
def test_nothing_has_failed_on_record(side, row):
    told = columns()[side][row]
    assert re.match(r"[1-9]\d* passed, 0 failed, \d+ skipped \(", told), told


def test_every_test_and_every_notebook_is_in_a_chunk():
    arguments = {argument for chunk in chunks() for argument in chunk.arguments}
    for path in [*(ROOT / "tests").rglob("test_*.py")]:
        name = str(path.relative_to(ROOT))
        assert arguments & {name, str(Path(name).parent)}, name
    written = {argument.partition("[")[2].rstrip("]") for argument in arguments if "[" in argument}
    assert written == {path.stem for path in (ROOT / "book").rglob("*.ipynb")}


def test_two_floors_for_one_package_are_refused():
    twice = {"dependencies": ["a>=1"], "optional-dependencies": {"x": ["A>=2"]}}
    with pytest.raises(ValueError, match="two floors: 1 and 2"):
        floors(twice)


def test_an_interpreter_that_is_missing_is_named():
    with pytest.raises(FileNotFoundError, match=r"no Python 4\.0"):
        run_versions.interpreter("4.0")


@pytest.mark.parametrize(
    ("cases", "attributes", "status", "expected"),
    [
        (PASSED * 3, 'tests="3" failures="0" errors="0" skipped="1"', 0, (2, 0, 1)),
        (PASSED + FAILED, 'tests="2" failures="1" errors="0" skipped="0"', 1, (1, 1, 0)),
        ("", 'tests="0" failures="0" errors="0" skipped="0"', 5, (0, 0, 0)),
        (PASSED, 'tests="1" failures="0" errors="0" skipped="0"', 2, (0, 1, 0)),  # interrupted
        (None, "", 0, (0, 1, 0)),  # no report was left
    ],
)
def test_counts_are_read_and_a_run_that_died_is_a_failure(tmp_path, cases, attributes, status, expected):
    report = tmp_path / "report.xml"
    if cases is not None:
        report.write_text(f"<testsuites><testsuite {attributes}>{cases}</testsuite></testsuites>")
    counts = read_report(report, status)
    assert (counts["passed"], counts["failed"], counts["skipped"]) == expected
