"""`make pdf` and `make epub` say what to install where a program is missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("goal", "needs"), [("pdf", "texlive-xetex"), ("epub", "chromium")])
def test_a_missing_program_is_named(tmp_path: Path, goal: str, needs: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (
        "requirements.lock",
        "requirements-cpu.lock",
        "requirements-cuda.lock",
        "pyproject.toml",
        ".venv/.installed",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "sh", "find", "seq"):
        (programs / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [programs / "make", goal],
        cwd=tmp_path,
        env={"PATH": str(programs), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"make {goal} needs" in done.stderr
    assert needs in done.stderr
