"""Commands on the book's equations: ``python -m ntkbook.verify check|accept``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ntkbook.verify import lock, source


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0 where everything agrees.

    Parameters
    ----------
    arguments : list of str, optional
        Of the command line, by default ``sys.argv[1:]``.
    """
    parser = argparse.ArgumentParser(prog="python -m ntkbook.verify", description=__doc__)
    parser.add_argument("--book", type=Path, default=Path("book"), help="folder with the chapters")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="every equation has a check, and both are as they were accepted")
    accepting = commands.add_parser("accept", help="accept the present text and check of some equations")
    accepting.add_argument("labels", nargs="+", help="labels, or shell patterns of labels")
    options = parser.parse_args(arguments)
    lock_file = options.book / lock.FILE_NAME
    try:
        book = source.read_book(options.book)
        if options.command == "check":
            return _check(book, lock_file)
        for drift in lock.accept(book, lock_file, options.labels):
            print(f"{drift}  accepted\n")
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _check(book: source.Book, lock_file: Path) -> int:
    problems = [*book.problems(), *map(str, lock.drifts(book, lock_file))]
    print("\n".join(problems) or f"{len(book.equations)} equations, {len(book.checks)} checks, all accepted")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
