"""What the projects that stand in for this one, where the Makefile is tested, are made of."""

from __future__ import annotations

# What the installation depends on, and then the pages.
INSTALLED_FROM = ("requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock", "pyproject.toml")
BUILT_FROM = ("_config.yml", "_toc.yml")
