"""The reference page documents all that the package calls public."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest
from public_names import MODULES, REFERENCE, documented

# Makes the Colab notebooks when the book is built; nobody imports it.
_TOOLS = {"ntkbook.colab"}


def _whole_modules() -> dict[str, set[str]]:
    """Return what the page documents by module, not by name."""
    found = {}
    for name, options in re.findall(
        r"automodule:: (\S+)\n((?:   :.*\n)*)", REFERENCE.read_text(encoding="utf-8")
    ):
        if "no-members" not in options:
            chosen = re.search(r":members: (.+)", options)
            found[name] = set(chosen[1].split(", ") if chosen else import_module(name).__all__)
    return found


@pytest.mark.parametrize("name", sorted({*MODULES} - _TOOLS))
def test_public_names_are_documented(name: str) -> None:
    module, by_name = import_module(name), [thing for _, thing in documented()]
    by_module = _whole_modules().get(name, set())
    missing = [
        public
        for public in module.__all__
        if callable(getattr(module, public)) and not inspect.ismodule(getattr(module, public))
        if public not in by_module and getattr(module, public) not in by_name
    ]
    assert not missing, f"add to book/api.md: {missing}"


@pytest.mark.parametrize("name", sorted({*MODULES} - {"ntkbook"}))
def test_parts_list_no_modules_of_their_own(name: str) -> None:
    """Of modules only the parts of the package itself are public."""
    module = import_module(name)
    assert not [public for public in module.__all__ if inspect.ismodule(getattr(module, public))]
