"""Command: ``python -m ntkbook.verify.mutation [NOTEBOOK ...]``, by default the whole book."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ntkbook.verify.mutation import report
from ntkbook.verify.mutation.run import mutate


def main(arguments: list[str] | None = None) -> int:
    """Change the statements of notebooks, write the table, and return 1 where a change survived.

    Parameters
    ----------
    arguments : list of str, optional
        Of the command line, by default ``sys.argv[1:]``.
    """
    parser = argparse.ArgumentParser(prog="python -m ntkbook.verify.mutation", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default all of --book")
    parser.add_argument("--book", type=Path, default=Path("book"), help="folder with the chapters")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each cell with checks (default 5)")
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("_mutation"),
        help="outcomes so far; cells found there are not redone",
    )
    parser.add_argument("--table", type=Path, help="write the table and the equivalent changes to this file")
    options = parser.parse_args(arguments)
    everything = sorted(p for p in options.book.glob("*.ipynb") if "verify." in p.read_text(encoding="utf-8"))
    excused = report.equivalents(options.book / report.EQUIVALENTS)
    chapters = {}
    for notebook in options.notebooks or everything:
        stored = options.store / f"{notebook.stem}.json"
        cells = []
        for cell in mutate(notebook, options.seconds, known := report.load(stored)):
            cells.append(cell)
            for outcome in report.survivors([cell], excused):
                print(f"{notebook.stem}: {outcome.label} accepts\n    {report.change(outcome)}", flush=True)
            if cell.key not in known:
                report.save(stored, [*cells, *known.values()])
        report.save(stored, cells)
        chapters[notebook.stem] = cells
        print(report.line(notebook.stem, cells, excused), flush=True)
    if options.table:
        options.table.write_text(report.table(chapters, excused, options.seconds), encoding="utf-8")
    return 1 if any(report.survivors(cells, excused) for cells in chapters.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
