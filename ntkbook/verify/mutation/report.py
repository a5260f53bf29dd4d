"""Keep outcomes between runs, and write the table: what was changed, what survived, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ntkbook.verify.mutation.run import Cell, Outcome
from ntkbook.verify.status import versions

# In the folder of the book: the changes that leave a statement true, with the reasons.
EQUIVALENTS = "mutants.yml"

Excused = dict[tuple[str, str], str]


def change(outcome: Outcome) -> str:
    """Write a change on one line; with the label it is the key of the list of equivalents."""
    return f"{outcome.before} → {outcome.after}"


def equivalents(file: Path) -> Excused:
    """Read the changes that leave a statement true: the reason for each label and change.

    Raises
    ------
    ValueError
        If an entry has no reason, no label or no changes.
    """
    import yaml

    if not file.exists():
        return {}
    found: Excused = {}
    for entry in yaml.safe_load(file.read_text(encoding="utf-8")) or []:
        if not (entry.get("label") and entry.get("reason") and entry.get("changes")):
            raise ValueError(f"{file}: each entry needs label, reason and changes, got {entry}")
        for text in entry["changes"]:
            found[entry["label"], text] = entry["reason"]
    return found


def survivors(cells: Iterable[Cell], excused: Excused) -> list[Outcome]:
    """Return the changes that a check accepted and that are not listed as equivalent."""
    return [
        outcome
        for cell in cells
        for outcome in cell.outcomes
        if outcome.state == "survived" and (outcome.label, change(outcome)) not in excused
    ]


def load(file: Path) -> dict[str, Cell]:
    """Return the cells of an earlier run by their keys; none where there was none."""
    if not file.exists():
        return {}
    cells = map(Cell.from_json, json.loads(file.read_text(encoding="utf-8")))
    return {cell.key: cell for cell in cells}


def save(file: Path, cells: Iterable[Cell]) -> None:
    """Write cells to a file."""
    unique = {cell.key: asdict(cell) for cell in cells}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(unique.values()), indent=0, ensure_ascii=False), encoding="utf-8")


def counts(cells: list[Cell], excused: Excused) -> dict[str, int]:
    """Count checks and changes of a chapter, by what became of them."""
    states = Counter(outcome.state for cell in cells for outcome in cell.outcomes)
    alive = len(survivors(cells, excused))
    excluded = states["survived"] - alive
    return {
        "checks": sum(len(cell.checks) for cell in cells),
        "changes": sum(states.values()),
        "rejected by the check": states["check"],
        "by its wrong versions": states["power"],
        "by an error": states["error"],
        "proved equal": states["proved"],
        "curve rescaled": states["rescaled"],
        "listed as equivalent": excluded,
        "survived": alive,
        "not tried": sum(cell.left_out for cell in cells),
    }


def line(name: str, cells: list[Cell], excused: Excused) -> str:
    """Summarize a chapter on one line."""
    return f"{name}: " + ", ".join(f"{n} {what}" for what, n in counts(cells, excused).items())


def table(chapters: dict[str, list[Cell]], excused: Excused, seconds: float) -> str:
    """Write the page: a table by chapter, the survivors, and the equivalent changes with their reasons."""
    rows: dict[str, dict[str, int]] = {name: counts(cells, excused) for name, cells in chapters.items()}
    heads = list(next(iter(rows.values())))
    rows["together"] = {head: sum(row[head] for row in rows.values()) for head in heads}
    lines = [
        "# The checks, tested",
        "",
        _INTRODUCTION.format(seconds=f"{seconds:g}"),
        "| | " + " | ".join(heads) + " |",
        "| --- |" + " ---: |" * len(heads),
        *(f"| {name} | " + " | ".join(str(row[head]) for head in heads) + " |" for name, row in rows.items()),
        "",
        f"{datetime.now(UTC):%-d %B %Y}; "
        + ", ".join(f"{name} {number}" for name, number in versions()[:5])
        + ".",
        "",
    ]
    for name, cells in chapters.items():
        alive = survivors(cells, excused)
        if alive:
            lines += [f"## Survived in {name}", ""]
            lines += [f"- `{o.label}`: `{change(o)}`" for o in alive] + [""]
    used = [
        (o.label, change(o))
        for cells in chapters.values()
        for c in cells
        for o in c.outcomes
        if o.state == "survived"
    ]
    grouped: dict[tuple[str, str], list[str]] = {}
    for key in used:
        if key in excused:
            grouped.setdefault((key[0], excused[key]), []).append(key[1])
    if grouped:
        lines += ["## Changes that leave the statement true", ""]
        for (label, reason), changed in grouped.items():
            lines += [f"- `{label}`: {reason}", *(f"  - `{text}`" for text in changed)]
        lines.append("")
    return "\n".join(lines)


_INTRODUCTION = """\
Each check compares two sides. In the code that feeds one side alone, one place at a time is changed: a
sign, a coefficient, an exponent, an index or a transpose. Then the cell runs again, and the check must
fail. The command, which also says what the columns mean, is

    make mutate-book

*Rejected by the check*: the comparison failed. *By its wrong versions*: the changed statement held, but a
wrong version of it was accepted as well. *By an error*: the code did not run, or the shapes differ.
*Proved equal*: SymPy proves the changed statement too, so that it says the same. *Curve rescaled*: a curve
whose exponent is checked was multiplied by a number, which no exponent sees. *Not tried*: each cell has
{seconds} seconds of computing, at least four changes; slow cells are sampled, with a fixed seed.
"""
