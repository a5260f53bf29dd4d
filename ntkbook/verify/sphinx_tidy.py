"""Sphinx extension: what Sphinx makes of docstrings and tables, made easier to read.

* Signatures show the values of defaults that private names stand for.
* Parameters with one text, which Sphinx repeats for each of them, stand together.
* The type of an attribute stands before its text, as that of a parameter does, not in a list below it.
* A cell without text is empty: a paragraph in it makes LaTeX's rows one line higher.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# The one default that nobody recognizes by its digits.
_ROOT_OF_TWO = 2**0.5


def readable(signature: str, thing: Any) -> str:
    """Return the signature of a class or function without private names and without stand-ins.

    Examples
    --------
    >>> from ntkbook import NTKRegressor, nn
    >>> readable("(*, depth=_networks.DEPTH, w_std=_networks.W_STD)", NTKRegressor)
    '(*, depth=3, w_std=2**0.5)'
    >>> readable("(*args, **kwargs)", nn.Abs)
    '()'
    """
    maker = thing.__init__ if inspect.isclass(thing) else thing
    origin = getattr(maker, "__module__", None) or ""
    if signature == "(*args, **kwargs)" and origin.startswith("torch."):
        return "()"  # the signature of torch.nn.Module, which takes no arguments
    if dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            if field.default_factory is not dataclasses.MISSING:
                made = f"{field.name}={field.default_factory()!r}"
                signature = signature.replace(f"{field.name}=<factory>", made)
    return re.sub(r"(?<==)_\w+(?:\.\w+)*", lambda match: _value(match[0], origin), signature)


def _value(name: str, module: str) -> str:
    """Return how the value of a dotted name is written, or the name where it is no plain value."""
    first, *rest = name.split(".")
    value = getattr(sys.modules.get(module), first, None)
    for attribute in rest:
        value = getattr(value, attribute, None)
    if value == _ROOT_OF_TWO:
        return "2**0.5"
    return repr(value) if isinstance(value, bool | int | float | str) else name


def tidy(doctree: nodes.document) -> None:
    """Change the lists of parameters, the types of attributes and the empty cells of a page."""
    for described in doctree.findall(addnodes.desc_content):
        for fields in [child for child in described.children if isinstance(child, nodes.field_list)]:
            for items in fields.findall(nodes.bullet_list):
                _join(items)
        if described.parent.get("objtype") == "attribute":
            _type_first(described)
    for entry in doctree.findall(nodes.entry):
        if not entry.astext().strip() and next(entry.findall(nodes.image), None) is None:
            entry.children = []


def _join(items: nodes.bullet_list) -> None:
    """Write neighbours that differ in nothing but their names as one."""
    first, names = None, 0
    for item in list(items.children):
        paragraph = next(iter(item.children), None)
        if not (isinstance(paragraph, nodes.paragraph) and isinstance(paragraph[0], addnodes.literal_strong)):
            first = None
        elif first is None or _text(item, 1) != _text(first, 2 * names - 1):
            first, names = item, 1
        else:
            first[0].insert(2 * names - 1, [nodes.Text(", "), paragraph[0]])
            names += 1
            items.remove(item)


def _text(item: nodes.Element, start: int) -> list[str]:
    """Return what a list item says after the nodes of its names."""
    return [child.astext() for child in (*item[0].children[start:], *item.children[1:])]


def _type_first(described: addnodes.desc_content) -> None:
    for fields in [child for child in described.children if isinstance(child, nodes.field_list)]:
        if [field[0].astext() for field in fields.children] != ["Type"]:
            continue
        described.remove(fields)
        given = [nodes.Text("("), *fields[0][1][0].children, nodes.Text(")")]
        if described.children and isinstance(described[0], nodes.paragraph):
            described[0].insert(0, [*given, nodes.Text(" – ")])
        else:
            described.insert(0, nodes.paragraph("", "", *given))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""

    def process(
        app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, result: str | None
    ) -> tuple[str | None, str | None]:
        return signature and readable(signature, thing), result

    app.connect("autodoc-process-signature", process)
    app.connect("doctree-read", lambda app, doctree: tidy(doctree))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
