"""`make` killed at every line of every recipe: the next call takes up, and ends with the same files."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from stand_ins import BUILT_FROM, INSTALLED_FROM

ROOT = Path(__file__).parents[1]

# The shell of the recipes, and the first lines of each stand-in: all is killed at step KILL_AT, a copy when
# it is half done.
STEP = """#!/bin/sh
step() {
    echo >> "$STEPS"
    [ "$(grep -c "" "$STEPS")" = "$KILL_AT" ]
}
"""
SHELL = f"""{STEP}
if step; then
    case "$2" in "cp "*) set -- $2; head -c 3 "$2" > "$3" ;; esac
    kill -9 0
fi
exec /bin/sh "$@"
"""
# Like Sphinx, jupyter-book leaves a page alone that is newer than its source; like pip, a package that looks
# installed.
STAND_IN = f"""{STEP}
put() {{
    if [ "$1" -nt "$2" ]; then return; fi
    mkdir -p "$(dirname "$1")"
    if step; then printf half > "$1"; kill -9 0; fi
    {{ [ -f "$2" ] && cat "$2"; echo done; }} > "$1"
}}
for last; do :; done
case "$(basename "$0") $*" in
pytest*)
    if step; then echo half > "$last"; kill -9 0; fi
    echo "executed with seed '$NTKBOOK_SEED'" >> "$last"; echo >> "$LOG" ;;
jupyter-book*)
    for source in $(cd _exec && find . -name "*.ipynb" -o -name "*.md" | LC_ALL=C sort); do
        put "_build/html/$source" "_exec/$source"
    done ;;
*"-m venv --clear"*) rm -rf .venv/lib ;;
*"pip install"*"-r "*) put ".venv/lib/$last" "$last" ;;
*"pip install"*) put .venv/lib/package pyproject.toml ;;
*"student"*)
    rm -f "$last"/hw?.ipynb
    for name in hw1 hw2; do put "$last/$name.ipynb" "book/assignments/$name.ipynb"; done ;;
*"colab"*) for name in 01_a 02_b; do put "$last/$name.ipynb" "book/$name.ipynb"; done ;;
esac
"""
FILES = ["book/01_a.ipynb", "book/02_b.ipynb", "book/page.md", "book/part/page.md", "ntkbook/one.py"]
FILES += ["book/assignments/hw1.ipynb", "book/assignments/hw2.ipynb"]
FILES += [*INSTALLED_FROM, *BUILT_FROM]


def new_project(folder, installed=True):
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    shutil.copy(ROOT / "Makefile", folder)
    (folder / ".venv/bin").mkdir(parents=True)
    programs = {"shell": SHELL, "python3": STAND_IN}
    programs |= {f".venv/bin/{name}": STAND_IN for name in ("python", "pytest", "jupyter-book")}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    if installed:
        (folder / ".venv/.installed").touch()
    return folder


def make(folder, goal, kill_at=0):
    """Run make, killed at a step or to its end; return the number of steps and whether it was killed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "NTKBOOK_SEED"))}
    clean |= {"KILL_AT": str(kill_at), "STEPS": str(folder / "steps"), "LOG": str(folder / "log")}
    (folder / "steps").write_text("")
    done = subprocess.run(
        ["make", goal, "N=2", "JOBS=1", f"SHELL={folder / 'shell'}", "PYTHON=./python3"],
        cwd=folder, env=clean, capture_output=True, text=True, start_new_session=True, timeout=60,
    )  # fmt: skip
    killed = done.returncode == -signal.SIGKILL
    assert killed == bool(kill_at), done.stderr
    assert killed or done.returncode == 0, done.stderr
    return len((folder / "steps").read_text())


def contents(folder, places):
    """Return what stands in the places, work in progress and marks left out."""
    files = [path for place in places for path in (folder / place).rglob("*") if path.is_file()]
    names = {path.relative_to(folder): path for path in files}
    return {str(name): path.read_text() for name, path in names.items() if "/." not in str(name)}


@pytest.mark.parametrize(
    ("goal", "places", "installed"),
    [
        ("book", ["_exec", "_build/html"], True),
        ("install", [".venv/lib"], False),
        ("colab", ["_colab"], True),
        ("assignments", ["_assignments"], True),
    ],
)
def test_killed_at_every_step(tmp_path, goal, places, installed):
    whole = new_project(tmp_path / "whole", installed)
    steps = make(whole, goal)
    assert steps > 5
    expected = contents(whole, places)
    assert expected
    for number in range(1, steps + 1):
        folder = new_project(tmp_path / str(number), installed)
        make(folder, goal, kill_at=number)
        make(folder, goal)
        assert contents(folder, places) == expected, f"killed at step {number} of {steps}"
        shutil.rmtree(folder)


def test_seeds_killed_at_every_step_repeat_no_run_that_passed(tmp_path):
    whole = new_project(tmp_path / "whole")
    steps = make(whole, "seeds")
    expected = contents(whole, ["_seeds"])
    assert sum(name.endswith(".passed") for name in expected) == 4
    for number in range(1, steps + 1):
        folder = new_project(tmp_path / str(number))
        make(folder, "seeds", kill_at=number)
        passed = len(list(folder.glob("_seeds/*/*.passed")))
        (folder / "log").write_text("")
        make(folder, "seeds")
        assert len((folder / "log").read_text()) == 4 - passed, f"killed at step {number} of {steps}"
        assert contents(folder, ["_seeds/101", "_seeds/102"]) == {
            name: text for name, text in expected.items() if name.count("/") == 2
        }
        shutil.rmtree(folder)
