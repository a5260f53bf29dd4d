"""Lock each equation's text to its check: neither changes until a person has read both again.

``book/equations.lock`` holds, for every label, a hash of the equation's LaTeX and a hash of the code
cells that check it. SymPy cannot read most of the book's formulas, so a check restates its formula;
the lock is what keeps the two together.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ntkbook.verify.source import Book, nearest

FILE_NAME = "equations.lock"


@dataclass(frozen=True)
class Drift:
    """One label whose text or check is not what was accepted.

    Attributes
    ----------
    label : str
    reason : str
        Such as ``"the equation changed"``.
    latex, code : str
        What stands in the sources now; empty where it is gone.
    """

    label: str
    reason: str
    latex: str
    code: str

    def __str__(self) -> str:
        """Show the equation and its check, one above the other."""
        latex = _indented(self.latex) or "    (none)"
        code = _indented(self.code) or "    (none)"
        return (
            f"{self.label}: {self.reason}\n  the text says\n{latex}\n  the check says\n{code}\n"
            f"  read both; when they agree: make accept-equations LABEL={self.label}\n"
        )


def fingerprints(book: Book) -> dict[str, dict[str, str]]:
    """Return for each label the hashes of its LaTeX and of its checks' code."""
    return {
        label: {"latex": _hash(latex), "check": _hash(code)} for label, (latex, code) in _texts(book).items()
    }


def drifts(book: Book, lock_file: Path) -> list[Drift]:
    """Compare the sources with the lock and list every difference, in the order of the labels."""
    accepted = read(lock_file)
    texts, now = _texts(book), fingerprints(book)
    found = []
    for label in sorted(now.keys() | accepted.keys()):
        latex, code = texts.get(label, ("", ""))
        if label not in accepted:
            reason = "is new and not accepted yet"
        elif label not in now:
            reason = "is in the lock file but no longer in the book"
        else:
            parts = {"latex": "the equation", "check": "the check"}
            changed = [name for key, name in parts.items() if now[label][key] != accepted[label].get(key)]
            if not changed:
                continue
            reason = " and ".join(changed) + " changed since both were accepted"
        found.append(Drift(label, reason, latex, code))
    return found


def accept(book: Book, lock_file: Path, patterns: list[str]) -> list[Drift]:
    """Accept the drifts whose label matches a shell pattern, rewrite the lock, and return them.

    Raises
    ------
    ValueError
        If a pattern matches nothing that has drifted; with the nearest label.
    """
    open_drifts = drifts(book, lock_file)
    chosen = []
    for pattern in patterns:
        matched = [drift for drift in open_drifts if fnmatch.fnmatchcase(drift.label, pattern)]
        if not matched:
            raise ValueError(
                f"nothing to accept for {pattern!r}: every matching equation is as it was accepted"
                f"{nearest(pattern, [drift.label for drift in open_drifts])}"
            )
        chosen += [drift for drift in matched if drift not in chosen]
    lock, now = read(lock_file), fingerprints(book)
    for drift in chosen:
        if drift.label in now:
            lock[drift.label] = now[drift.label]
        else:
            del lock[drift.label]
    lock_file.write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return chosen


def read(lock_file: Path) -> dict[str, dict[str, str]]:
    """Read the lock file; one that is not there is empty.

    Raises
    ------
    ValueError
        If the file is not what `accept` writes.
    """
    if not lock_file.exists():
        return {}
    try:
        content = json.loads(lock_file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{lock_file} is damaged ({problem}); restore it from version control") from None
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise ValueError(f"{lock_file} is damaged (not a table of labels); restore it from version control")
    return content


def _texts(book: Book) -> dict[str, tuple[str, str]]:
    """Return for each label its LaTeX and the code of its checks, each cell once."""
    return {
        equation.label: (
            equation.latex.strip(),
            "\n\n".join(dict.fromkeys(check.code for check in book.checks_of(equation.label))),
        )
        for equation in book.equations
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
