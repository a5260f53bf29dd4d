"""The first code cell of a generated notebook, and the address that it installs from."""

from __future__ import annotations

import re
from pathlib import Path

_SOURCE = """\
# Installs the book's package where missing; torch and numpy stay as they are.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("ntkbook") is None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "git+{repository}"], check=True)

import torch

gpu = torch.cuda.is_available()
where = torch.cuda.get_device_name() if gpu else "the CPU; the GPU is optional"
print("running on", where)"""


def installation(repository: str) -> str:
    """Return the cell's source, for the package at an address.

    Examples
    --------
    >>> "git+https://example.org/book" in installation("https://example.org/book")
    True
    """
    return _SOURCE.format(repository=repository)


def repository_address(config: Path) -> str:
    """Return the address that the book's configuration names, without a YAML parser, which few readers need.

    Raises
    ------
    ValueError
        If there is none.
    """
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    match = re.search(r"(?m)^repository:\n\s+url:\s*(\S+)", text)
    if not match:
        raise ValueError(
            f"{config.resolve()} names no repository; say where to install from with --repository"
        )
    return match[1].rstrip("/")
