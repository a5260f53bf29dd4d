"""What the reference makes of docstrings: parameters together, types in their places, values for names."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from ntkbook.assignments.questions import Question
from ntkbook.verify.sphinx_tidy import readable

MODULE = '''
"""A module."""

_HIDDEN = 3


def f(a, b, c, d, e=_HIDDEN):
    """Do.

    Parameters
    ----------
    a, b : int
        The same.
    c : float
        The same.
    d, e : int
    """


class C:
    """A class.

    Attributes
    ----------
    first : int
        Has a text.
    second : float
    """
'''
CONFIG = """
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "ntkbook.verify.sphinx_tidy"]
autodoc_preserve_defaults = True
napoleon_use_rtype = False
"""
PAGE = """
Page
====

.. autofunction:: a_module_to_tidy.f
.. autoclass:: a_module_to_tidy.C

.. list-table::

   * - full
     -
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    folder: Path = tmp_path_factory.mktemp("tidy")
    for name, text in (("a_module_to_tidy.py", MODULE), ("conf.py", CONFIG), ("index.rst", PAGE)):
        (folder / name).write_text(text, encoding="utf-8")
    warnings = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, patch_docutils(str(folder)), docutils_namespace():
        patch.syspath_prepend(folder)
        Sphinx(
            folder, folder, folder / "text", folder / "d", "pseudoxml", status=None, warning=warnings
        ).build()
    assert warnings.getvalue() == ""
    return (folder / "text" / "index.pseudoxml").read_text(encoding="utf-8")


def said(page: str, start: str, end: str) -> str:
    """Return the text between two marks without its tags."""
    return re.sub(r"\s*<[^>]*>\s*|\s*\n\s*", "", page.split(start, 1)[1].split(end, 1)[0])


def test_parameters_of_one_text_and_type_stand_together(page: str) -> None:
    items = [said(part, "<paragraph>", "\0") for part in page.split("<list_item>")[1:4]]
    assert items[0] == "a,b(int)–The same."
    assert items[1] == "c(float)–The same."
    assert items[2].startswith("d,e(int)")


def test_signatures_show_values(page: str) -> None:
    assert "_HIDDEN" not in page
    assert readable("(key, criteria=<factory>)", Question) == "(key, criteria=[])"
    assert readable("(x=_nothing.NAMED)", Question) == "(x=_nothing.NAMED)"


def test_types_of_attributes_stand_before_their_texts(page: str) -> None:
    contents = page.split('objtype="attribute"')[1:]
    assert "(int)–Has a text." in said(contents[0], "<desc_content>", "<desc ")
    assert said(contents[1], "<desc_content>", "<table").startswith("(float)")
    assert "Type" not in page


def test_cells_without_text_are_empty(page: str) -> None:
    first, second = page.split("<entry>")[1:]
    assert "<paragraph>" in first
    assert "<paragraph>" not in second
