"""What every label of the book is called in print, and where it stands: numbers as Sphinx counts them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkbook.colab.installation import repository_address
from ntkbook.verify.source import equations_in

# What sphinx-proof counts, each kind for itself.
PROOF_KINDS = frozenset(
    {
        "algorithm",
        "assumption",
        "conjecture",
        "corollary",
        "criterion",
        "definition",
        "example",
        "lemma",
        "property",
        "proposition",
        "remark",
        "theorem",
    }
)


@dataclass(frozen=True)
class Target:
    """A labelled place of the book.

    Attributes
    ----------
    name : str
        As references print it, such as ``(2.3)``, ``Fig. 2.1`` or a section's title.
    address : str
        Of the place in the built book.
    """

    name: str
    address: str


@dataclass(frozen=True)
class BookLabels:
    """All that the text of one page needs to know of the others.

    Attributes
    ----------
    targets : dict of str to Target
        By label; pages under their file names.
    citations : dict of str to tuple of str
        By key: authors and year, for instance ``("Jacot et al.", "2018")``.
    address : str
        Of the folder with the built pages.
    repository : str
        Address of the repository.
    """

    targets: dict[str, Target]
    citations: dict[str, tuple[str, str]]
    address: str
    repository: str

    def target(self, label: str) -> Target:
        """Return a label's target.

        Raises
        ------
        ValueError
            If nothing in the book has that label.
        """
        if label not in self.targets:
            raise ValueError(
                f"nothing in the book is labelled {label!r}; mend the label, or label the place that is meant"
            )
        return self.targets[label]

    def citation(self, key: str) -> tuple[str, str]:
        """Return the authors and the year of a key of the bibliography.

        Raises
        ------
        ValueError
            If the bibliography has no such key.
        """
        if key not in self.citations:
            raise ValueError(f"references.bib has no entry {key!r}; mend the key, or add it there")
        return self.citations[key]


def read_labels(root: Path) -> BookLabels:
    """Read the labels of a book from its sources, without running or building anything.

    Parameters
    ----------
    root : Path
        The folder with ``_toc.yml``, ``_config.yml`` and ``book/``.

    Returns
    -------
    BookLabels

    Raises
    ------
    TypeError, FileNotFoundError
        If it is no such folder.
    """
    import yaml

    if not isinstance(root, Path):
        raise TypeError(f"root must be a pathlib.Path, got {root!r}; pass pathlib.Path(...)")
    for name in ("_toc.yml", "_config.yml"):
        if not (root / name).is_file():
            raise FileNotFoundError(f"root {root} holds no {name}; pass the book's folder")

    repository = repository_address(root / "_config.yml")
    owner, name = repository.split("/")[-2:]
    address = f"https://{owner}.github.io/{name}"
    targets: dict[str, Target] = {}
    unnumbered: dict[str, int] = defaultdict(int)  # Sphinx counts through all pages without a number
    for page, number in pages(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))):
        cells = list(_cells(root / "book" / page))
        title = re.search(r"^# (.+)$", "\n".join(text for _, text, _ in cells), re.MULTILINE)
        targets[page] = Target(title[1].strip() if title else page, f"{address}/{page}.html")
        for label, printed, anchor in _labels(
            cells, str(number) if number else "", defaultdict(int) if number else unnumbered
        ):
            targets[label] = Target(printed, f"{address}/{page}.html#{anchor}")
    return BookLabels(targets, _citations(root / "book" / "references.bib"), address, repository)


def pages(toc: dict[str, Any]) -> Iterator[tuple[str, int | None]]:
    """Yield the pages of a table of contents, with their chapter numbers where they have one.

    Examples
    --------
    >>> part = {"numbered": True, "chapters": [{"file": "01_a"}, {"file": "02_b"}]}
    >>> back = {"chapters": [{"file": "notes", "sections": [{"file": "old"}]}]}
    >>> list(pages({"root": "index", "parts": [part, back]}))
    [('index', None), ('01_a', 1), ('02_b', 2), ('notes', None), ('old', None)]
    """
    yield toc["root"], None
    count = 0
    for part in toc.get("parts", []):
        for chapter in part["chapters"]:
            count += bool(part.get("numbered"))
            yield chapter["file"], count if part.get("numbered") else None
            for section in chapter.get("sections", []):
                yield section["file"], None


def _cells(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (type, source, metadata) of the cells of a page, whichever file it is."""
    if path.with_suffix(".md").exists():
        yield "markdown", path.with_suffix(".md").read_text(encoding="utf-8"), {}
        return
    import nbformat

    for cell in nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells:
        yield cell.cell_type, cell.source, cell.metadata


def _labels(
    cells: list[tuple[str, str, dict[str, Any]]], chapter: str, counts: dict[str, int]
) -> Iterator[tuple[str, str, str]]:
    """Yield (label, printed name, anchor) of every labelled place of a page, going on from ``counts``."""

    def numbered(kind: str) -> str:
        counts[kind] += 1
        return f"{chapter}.{counts[kind]}" if chapter else str(counts[kind])

    for kind, text, metadata in cells:
        if kind == "code":
            figure = metadata.get("mystnb", {}).get("figure", {})
            if "name" in figure:
                yield figure["name"], f"Fig. {numbered('figure')}", figure["name"]
            continue
        for name in re.findall(r"^[`:]{3,}\{[\w-]+\}[^\n]*\n:name:[ \t]*(fig-\S+)", text, re.MULTILINE):
            yield name, f"Fig. {numbered('figure')}", name
        for label, _ in equations_in(text):
            yield label, f"({numbered('equation')})", f"equation-{label}"
        for name, title in re.findall(r"^\(([\w-]+)\)=\n+#+ (.+)$", text, re.MULTILINE):
            yield name, title.strip(), name
        for directive, label in _labelled_directives(text):
            if directive == "exercise":
                yield label, f"Exercise {numbered('exercise')}", label
            elif directive.removeprefix("prf:") in PROOF_KINDS:
                word = directive.removeprefix("prf:")
                yield label, f"{word.capitalize()} {numbered(word)}", label


def _labelled_directives(text: str) -> Iterator[tuple[str, str]]:
    pattern = r"^[`:]{3,}\{([\w:-]+)\}[^\n]*\n(?:[ \t]*:[\w-]+:[^\n]*\n)*?[ \t]*:label:[ \t]*(\S+)"
    for match in re.finditer(pattern, text, re.MULTILINE):
        yield match[1], match[2]


def _citations(file: Path) -> dict[str, tuple[str, str]]:
    from pybtex.database import parse_file

    found = {}
    for key, entry in parse_file(str(file)).entries.items():
        people = entry.persons.get("author") or entry.persons.get("editor") or []
        names = [_plain(" ".join(person.prelast_names + person.last_names)) for person in people]
        authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        found[key] = (authors, str(entry.fields.get("year", "n.d.")))
    return found


def _plain(latex: str) -> str:
    from pybtex.richtext import Text

    text: str = Text.from_latex(latex).render_as("text")
    return text
