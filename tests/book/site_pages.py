"""Where the built book lies, and which pages it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "book"
HTML = ROOT / "_build" / "html"


def pages() -> list[str]:
    """List the pages of the table of contents, in its order."""

    def files(entry: Any) -> list[str]:
        if isinstance(entry, list):
            return [name for item in entry for name in files(item)]
        if not isinstance(entry, dict):
            return []
        own = [str(entry[key]) for key in ("root", "file") if key in entry]
        return own + files([entry.get(key, []) for key in ("parts", "chapters", "sections")])

    return files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
