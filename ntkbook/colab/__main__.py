"""``python -m ntkbook.colab``: write the notebooks for Colab."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ntkbook.colab.labels import read_labels
from ntkbook.colab.notebook import colab_notebook


def main(arguments: list[str] | None = None) -> int:
    """Generate every chapter of the table of contents and return the exit status.

    Parameters
    ----------
    arguments : list of str, optional
        Of the command line, by default ``sys.argv[1:]``.
    """
    import nbformat

    parser = argparse.ArgumentParser(prog="python -m ntkbook.colab", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the folder with _toc.yml and book/")
    parser.add_argument("--to", type=Path, default=Path("_colab"), help="where the notebooks go")
    options = parser.parse_args(arguments)
    options.to.mkdir(parents=True, exist_ok=True)
    labels = read_labels(options.root)
    for path in sorted((options.root / "book").glob("*.ipynb")):
        if path.stem not in labels.targets:
            continue  # not in the table of contents
        try:
            notebook = colab_notebook(path, labels)
        except ValueError as problem:
            print(f"{path}: {problem}", file=sys.stderr)
            return 1
        nbformat.write(notebook, options.to / path.name)
        print(options.to / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
