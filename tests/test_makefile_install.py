"""`make install` takes torch's small build where there is one, the build for CUDA where it is asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from stand_ins import INSTALLED_FROM

ROOT = Path(__file__).parents[1]

# Python's and pip's stand-in: notes what it is asked for, and finds torch's small build where CPU says so.
STAND_IN = """#!/bin/sh
for last; do :; done
case "$*" in
*"-m venv"*)
    echo "venv${3:+ $3}" | sed "s/ .venv//" >> log
    case "$*" in *--clear*) rm -rf .venv ;; esac
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python ;;
*--require-hashes*requirements-cpu.lock)
    echo "$last" >> log
    if [ "$CPU" = found ]; then mkdir -p ".venv/lib/python3.11/site-packages/torch-2.13.0+cpu.dist-info"
    else echo "ERROR: $CPU" >&2; exit 1; fi ;;
*--require-hashes*"-r "*) echo "$last" >> log ;;
*--no-deps*--editable*) echo package >> log ;;
*) echo "unforeseen: $*" >> log ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "book").mkdir()
    for name in INSTALLED_FROM:
        (tmp_path / name).write_text(name)
    (tmp_path / "python3").write_text(STAND_IN)
    (tmp_path / "python3").chmod(0o755)
    return tmp_path


def install(project, *variables, cpu="found"):
    """Return (exit status, what was asked for in its order, what was said on standard error)."""
    (project / "log").write_text("")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "TORCH"))}
    command = ["make", "install", "PYTHON=./python3", *variables]
    done = subprocess.run(
        command, cwd=project, env={**clean, "CPU": cpu}, capture_output=True, text=True, timeout=60
    )
    return done.returncode, (project / "log").read_text().split(), done.stderr


MISSING = "No matching distribution found for torch==2.13.0+cpu"
SMALL = ["requirements-cpu.lock", "requirements.lock", "package"]
LARGE = ["requirements-cpu.lock", "requirements.lock", "requirements-cuda.lock", "package"]


def test_the_small_build_is_taken_where_pip_finds_one(project):
    assert install(project) == (0, ["venv", *SMALL], "")
    assert install(project) == (0, [], "")


def test_without_a_small_build_the_other_comes_with_its_libraries_and_a_note(project):
    status, asked, said = install(project, cpu=MISSING)
    assert (status, asked) == (0, ["venv", *LARGE])
    assert "pip finds no build of torch without CUDA" in said
    assert "ERROR" not in said


@pytest.mark.parametrize("error", ["THESE PACKAGES DO NOT MATCH THE HASHES", "Connection refused"])
def test_any_other_error_stops(project, error):
    status, asked, said = install(project, cpu=error)
    assert status != 0
    assert asked == ["venv", "requirements-cpu.lock"]
    assert error in said
    # Half a package may be there: the next call begins anew.
    assert install(project)[1] == ["venv", "--clear", *SMALL]


def test_cuda_is_asked_for_by_a_variable(project):
    assert install(project, "TORCH=cuda") == (0, ["venv", *LARGE[1:]], "")
    assert install(project, "TORCH=cuda") == install(project) == (0, [], "")


def test_cuda_in_the_place_of_the_small_build(project):
    install(project)
    assert install(project, "TORCH=cuda") == (0, ["venv", "--clear", *LARGE[1:]], "")
    assert install(project) == (0, [], "")
