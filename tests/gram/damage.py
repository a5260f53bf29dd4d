"""Damaged copies of files: what disks, transfers and editors do to them, drawn from a seed."""

import copy
import json
import os
import random

VALUES = [None, True, 0, -1, 1, 10**12, 1e300, "", "nonsense", [], [0], {}, [[]], {"a": []}]


def damaged_bytes(whole, draw: random.Random):
    """Return (what was done, the bytes after it)."""
    at = draw.randrange(max(1, len(whole)))
    kind = draw.choice(["cut", "bit", "byte", "swap", "empty", "double", "zeros", "utf8", "insert"])
    changed = bytearray(whole)
    if kind == "cut":
        changed = changed[:at]
    elif kind == "bit" and changed:
        changed[at] ^= 1 << draw.randrange(8)
    elif kind == "byte" and changed:
        changed[at] = draw.randrange(256)
    elif kind == "swap":
        changed = changed[at:] + changed[:at]
    elif kind == "empty":
        changed = bytearray()
    elif kind == "double":
        changed += bytes(changed)
    elif kind == "zeros":
        size = draw.randrange(1, 64)
        changed[at : at + size] = bytes(len(changed[at : at + size]))
    elif kind == "utf8":
        changed[at:at] = b"\xff\xfe\xed\xa0\x80"
    else:
        changed[at:at] = draw.randbytes(draw.randrange(1, 20))
    return f"{kind} at {at}", bytes(changed)


def damaged_json(text, draw: random.Random):
    """Return (what was done, the text of the JSON with one node removed or of another type)."""
    tree = json.loads(text)
    places = list(_places(tree))
    holder, key = draw.choice(places)
    before = copy.copy(holder[key])
    if draw.random() < 0.2:
        del holder[key]
        return f"removed {key!r}: {before!r}", json.dumps(tree)
    value = draw.choice(VALUES)
    if isinstance(before, int) and not isinstance(before, bool) and draw.random() < 0.5:
        value = before + draw.choice([-1, 1, 2, 7])
    holder[key] = copy.deepcopy(value)
    return f"{key!r}: {before!r} -> {value!r}", json.dumps(tree)


def _places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def damage_file(path, draw: random.Random):
    """Damage a file in its place, and return what was done."""
    kind = draw.random()
    if kind < 0.08:
        whole = path.read_bytes()
        path.unlink()
        choice = draw.choice(["removed", "directory", "loop", "dangling", "full directory"])
        if choice == "loop":
            os.symlink(path.name, path)
        elif choice == "dangling":
            os.symlink("nowhere", path)
        elif choice != "removed":
            path.mkdir()
            if choice == "full directory":
                (path / "inside").write_bytes(whole)
        return choice
    if path.suffix in (".json", ".ipynb") and kind < 0.6:
        what, text = damaged_json(path.read_text(), draw)
        path.write_text(text)
        return what
    what, content = damaged_bytes(path.read_bytes(), draw)
    path.write_bytes(content)
    return what
