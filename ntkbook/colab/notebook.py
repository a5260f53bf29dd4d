"""One chapter as a self-contained notebook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ntkbook.colab.installation import installation
from ntkbook.colab.labels import BookLabels
from ntkbook.colab.markdown import check_labels, plain_markdown


def colab_notebook(path: Path, labels: BookLabels) -> Any:
    """Return a chapter's notebook without MyST, to be run on Colab or in any Jupyter.

    Code cells are kept as they are. A figure's caption follows its cell; solutions stand under headings
    that Colab shows folded.

    Parameters
    ----------
    path : Path
        Of the chapter, ``book/NAME.ipynb``.
    labels : BookLabels
        Of the whole book, from `read_labels`.

    Returns
    -------
    nbformat.NotebookNode

    Raises
    ------
    TypeError, FileNotFoundError
        If the labels are none, or the chapter is not there.
    """
    import nbformat

    check_labels(labels)
    if not path.is_file():
        raise FileNotFoundError(f"path {path} leads to no file; chapters are book/NAME.ipynb")
    new = nbformat.v4
    source = nbformat.read(path, as_version=4)
    cells = [_introduction(path, labels), _installation(labels)]
    folded: list[str] = []
    for cell in source.cells:
        if cell.cell_type == "code":
            kept = new.new_code_cell(cell.source, id=cell.id)
            cells.append(kept)
            figure = cell.metadata.get("mystnb", {}).get("figure")
            if figure:
                printed = labels.target(figure["name"]).name
                caption = plain_markdown(figure["caption"], labels)
                cells.append(new.new_markdown_cell(f"*{printed}.* {caption}", id=f"{cell.id}-caption"[:64]))
            continue
        for k, part in enumerate(_parts(plain_markdown(cell.source, labels))):
            identifier = f"{cell.id}-{k}"[:64] if k else cell.id
            piece = new.new_markdown_cell(part, id=identifier)
            if part.startswith("##### Solution"):
                # Colab finds the sections to fold by this copy of the identifier.
                piece.metadata["id"] = identifier
                folded.append(identifier)
            cells.append(piece)
    notebook = new.new_notebook(cells=cells, metadata=dict(source.metadata))
    notebook.metadata["colab"] = {"name": path.name, "collapsed_sections": folded}
    nbformat.validate(notebook)
    return notebook


def _parts(text: str) -> list[str]:
    """Cut a cell before each heading of an exercise or a solution, so that both can be folded."""
    parts = re.split(r"(?m)^(?=#{4,5} (?:Exercise|Solution) )", text)
    return [part.strip() for part in parts if part.strip()]


def _introduction(path: Path, labels: BookLabels) -> Any:
    import nbformat

    page = labels.target(path.stem)
    return nbformat.v4.new_markdown_cell(
        f"*This notebook runs a page of **The Neural Tangent Kernel**. "
        f"[Read it in the book]({page.address}), where each equation links to its check.*",
        id="colab-introduction",
    )


def _installation(labels: BookLabels) -> Any:
    import nbformat

    return nbformat.v4.new_code_cell(
        installation(labels.repository), id="colab-installation", metadata={"cellView": "form"}
    )
