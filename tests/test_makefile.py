"""`make book` does all that is needed and nothing twice: tried with stand-ins for the slow programs."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from stand_ins import BUILT_FROM, INSTALLED_FROM

ROOT = Path(__file__).parents[1]

# Each stand-in appends its name and last argument to a log ('verify' for Python's); pytest fails where a
# chapter says so.
STAND_IN = """#!/bin/sh
for last; do :; done
case "$(basename "$0")" in
pytest)
    echo "execute $(basename "$last")${NTKBOOK_SEED:+ with seed $NTKBOOK_SEED}" >> "$LOG"
    ! grep -q FAIL "$last" ;;
jupyter-book) echo build >> "$LOG"; mkdir -p _build/html ;;
python) echo "verify $last" >> "$LOG" ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (*INSTALLED_FROM, *BUILT_FROM):
        (tmp_path / name).write_text(name)
    for name in ("book/01_a.ipynb", "book/02_b.ipynb", "book/page.md", "ntkbook/one.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("python", "pytest", "jupyter-book"):
        (tmp_path / ".venv/bin" / name).write_text(STAND_IN)
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    return tmp_path


def make(project, *, fails=False, **environment):
    """Run `make book` and return the sorted names of what it ran, the static check left out."""
    ran = run(project, ["book"], fails=fails, **environment)
    assert ran[0] == "verify check"
    return sorted(ran[1:])


def run(project, goals, *, fails=False, **environment):
    """Run make and return the lines that the stand-ins logged, in their order."""
    log = project / "log"
    log.write_text("")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "NTKBOOK_SEED"))}
    done = subprocess.run(
        ["make", *goals],
        cwd=project,
        env={**clean, "LOG": str(log), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return log.read_text().splitlines()


def edit(path, text):
    # File systems may count time in whole ticks; make compares them.
    time.sleep(0.02)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


EVERYTHING = ["build", "execute 01_a.ipynb", "execute 02_b.ipynb"]


def test_the_first_run_does_everything_once_and_the_second_nothing(project):
    assert make(project) == EVERYTHING
    assert make(project) == []


def test_an_edited_chapter_alone_is_executed(project):
    make(project)
    edit(project / "book/01_a.ipynb", "new")
    assert make(project) == ["build", "execute 01_a.ipynb"]


def test_an_edited_page_is_built_without_executing(project):
    make(project)
    edit(project / "book/page.md", "new")
    assert make(project) == ["build"]


def test_the_pages_show_the_students_versions_of_the_assignments(project):
    edit(project / "book/assignments/hw1.ipynb", "with solutions")
    assert make(project) == [*EVERYTHING, "verify _exec/assignments"]
    # The stand-in writes nothing; the instructor's notebook must not stand there in its place.
    assert not (project / "_exec/assignments/hw1.ipynb").exists()


@pytest.mark.parametrize("name", ["ntkbook/one.py", "ntkbook/sub/two.py", "requirements.lock"])
def test_a_change_in_the_package_executes_all_chapters(project, name):
    make(project)
    edit(project / name, "new")
    (project / ".venv/.installed").touch()
    assert make(project) == EVERYTHING


def test_a_removed_module_executes_all_chapters(project):
    edit(project / "ntkbook/gone.py", "soon gone")
    make(project)
    (project / "ntkbook/gone.py").unlink()
    assert make(project) == EVERYTHING


def test_a_new_date_without_a_new_content_executes_nothing(project):
    make(project)
    edit(project / "ntkbook/one.py", "ntkbook/one.py")
    assert make(project) == []


def test_another_seed_executes_all_chapters(project):
    make(project)
    assert make(project, NTKBOOK_SEED="7") == [
        "build",
        "execute 01_a.ipynb with seed 7",
        "execute 02_b.ipynb with seed 7",
    ]
    assert make(project, NTKBOOK_SEED="7") == []


def test_every_chapter_is_run_with_other_seeds(project):
    ran = run(project, ["seeds", "N=2"])
    chapters = ("01_a.ipynb", "02_b.ipynb")
    assert sorted(ran) == sorted(f"execute {name} with seed {s}" for name in chapters for s in (101, 102))


def test_a_chapter_that_fails_with_another_seed_fails_the_command(project):
    edit(project / "book/01_a.ipynb", "FAIL")
    assert len(run(project, ["seeds"], fails=True)) == 6, "the others run all the same"
    assert len(run(project, ["seeds"], fails=True)) == 3, "what passed is not repeated"
    edit(project / "book/01_a.ipynb", "mended")
    assert run(project, ["seeds", "JOBS=1"]) == [f"execute 01_a.ipynb with seed {s}" for s in (101, 102, 103)]


def test_seeds_repeat_what_changed_and_add_what_is_new(project):
    run(project, ["seeds", "N=2"])
    assert run(project, ["seeds", "N=2"]) == []
    assert len(run(project, ["seeds", "N=3"])) == 2
    edit(project / "book/01_a.ipynb", "new")
    assert len(run(project, ["seeds", "N=2"])) == 2
    edit(project / "ntkbook/one.py", "new")
    assert len(run(project, ["seeds", "N=3"])) == 6


def test_seeds_say_how_many_had_passed_before(project):
    run(project, ["seeds", "N=2"])
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "seeds", "N=3"]
    told = subprocess.run(
        command, cwd=project, env={**environment, "LOG": "log"}, capture_output=True, text=True
    ).stdout
    assert "All 6 runs passed, 4 of them before." in told


def test_a_chapter_edited_while_it_runs_is_executed_again(project):
    program = project / ".venv/bin/pytest"
    # The result is written after that, as nbmake does.
    edits = 'pytest) sleep 0.1; echo later >> book/01_a.ipynb; sleep 0.1; touch "$last";'
    program.write_text(STAND_IN.replace("pytest)", edits))
    make(project)
    program.write_text(STAND_IN)
    assert "execute 01_a.ipynb" in make(project)
    assert "later" in (project / "_exec/01_a.ipynb").read_text()


def test_a_failing_chapter_stops_the_build_and_is_tried_again(project):
    edit(project / "book/01_a.ipynb", "FAIL")
    ran = make(project, fails=True)
    assert "build" not in ran
    assert not (project / "_exec/01_a.ipynb").exists()
    edit(project / "book/01_a.ipynb", "mended")
    assert "execute 01_a.ipynb" in make(project)


def test_a_chapter_killed_in_the_middle_is_executed_again(project):
    make(project)
    edit(project / "book/01_a.ipynb", "new")
    # What a kill leaves: the copy aside, and the old result in place.
    edit(project / "_exec/.running/01_a.ipynb", "half executed")
    assert make(project) == ["build", "execute 01_a.ipynb"]
    assert (project / "_exec/01_a.ipynb").read_text() == "new"
