"""Run a generated notebook as a stranger does: from the first cell on, where the package is missing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from overlay import installed, overlay, site_packages

ROOT = Path(__file__).resolve().parents[2]


def snapshot(folder: Path) -> str:
    """Commit the package as it stands here to a new repository and return its address."""

    def git(*arguments: str) -> None:
        person = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *person, *arguments], cwd=folder, check=True, capture_output=True)

    wanted = ["ntkbook", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"]
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *wanted]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "snapshot")
    return folder.as_uri()


def run(notebook: Any, base: Path, folder: Path, address: str, local: str) -> Any:
    """Execute a notebook on top of an environment that lacks the package, and return it with its outputs.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        As it was generated. Its first cell installs from ``address``, where git finds ``local``.
    base : Path
        Interpreter of an environment with the dependencies and a kernel; nothing is changed there.
    folder : Path
        Empty; for the environment on top, and the notebook's working directory.
    address, local : str
        Of the repository as the notebook says it, and of the one that is to be cloned.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    AssertionError
        If the package was there before, or is not there afterwards, or if another package changed.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient

    python = overlay(folder / "environment", base)
    work = folder / "work"
    work.mkdir()
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NTKBOOK", "PYTHON", "MPLBACKEND", "VIRTUAL_ENV", "PYTEST"))
    }
    redirection = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{local}.insteadOf"}
    environment = inherited | redirection | {"GIT_CONFIG_VALUE_0": address}
    missing = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ntkbook') is not None)"
    assert subprocess.run([python, "-c", missing], cwd=work, env=environment).returncode == 0, (
        f"ntkbook is already installed for {python}"
    )
    before = installed(python)

    spec = folder / "kernels" / "stranger" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "stranger", "language": "python"}))
    manager = AsyncKernelManager(
        kernel_name="stranger", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    )
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=1200,
        resources={"metadata": {"path": str(work)}},
        # What an unanswered question of an assignment raises; no chapter does.
        allow_error_names=["NotImplementedError"],
    )
    try:
        client.execute(env=environment)
    finally:  # nbclient ends only a kernel whose manager it made itself
        run_sync(manager.shutdown_kernel)(now=True)

    after = installed(python)
    assert (site_packages(python) / "ntkbook").is_dir(), "the first cell has not installed the package"
    changed = {name for name in before | after if before.get(name) != after.get(name)} - {"ntkbook"}
    assert not changed, {name: (before.get(name), after.get(name)) for name in changed}
    own = {path.name.partition("-")[0] for path in site_packages(python).glob("*.dist-info")}
    assert own == {"ntkbook"}, f"the first cell installed {own}"
    return notebook
