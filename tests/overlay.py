"""An environment on top of another: it sees all that the other holds, and changes nothing there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path


def overlay(folder: Path, base: Path) -> Path:
    """Make a virtual environment in a folder and return its interpreter.

    The packages of the environment ``base`` (its interpreter) come after its own on the path. Links there
    are not followed, so that a package which is installed for editing stays out of sight.
    """
    subprocess.run([base, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (site_packages(python) / "base.pth").write_text(f"{site_packages(base)}\n", encoding="utf-8")
    return python


def site_packages(python: Path) -> Path:
    """Return the folder where an interpreter's packages are installed."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    )


def installed(python: Path) -> dict[str, str]:
    """Return the version of each distribution that an interpreter sees, under normalized names."""
    command = [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {each["name"].lower().replace("_", "-"): each["version"] for each in json.loads(listed)}
