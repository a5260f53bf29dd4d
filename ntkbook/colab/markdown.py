"""From MyST Markdown to Markdown that Colab and Jupyter render by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable

from ntkbook.colab.labels import PROOF_KINDS, BookLabels

_ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
_EQUATION = re.compile(r"\$\$(?P<latex>(?:(?!\$\$).)+)\$\$[ \t]*\((?P<label>[\w:.-]+)\)", re.DOTALL)
_OPENING = re.compile(r"^(?P<fence>[`:]{3,})\{(?P<name>[\w:-]+)\}[ \t]*(?P<argument>.*)$")
_OPTION = re.compile(r"^[ \t]*:([\w-]+):[ \t]*(.*)$")
_ADMONITIONS = frozenset({"note", "tip", "warning", "important", "caution", "hint", "seealso", "admonition"})
# Both become part of the text around them.
_MARKERS = frozenset({"solution-start", "solution-end"})


def plain_markdown(text: str, labels: BookLabels) -> str:
    r"""Resolve every directive, role and label of a Markdown cell.

    Parameters
    ----------
    text : str
        MyST Markdown as the chapters are written in.
    labels : BookLabels
        Of the whole book.

    Raises
    ------
    ValueError
        If a directive or role has no plain counterpart here, or a label does not exist.

    Examples
    --------
    >>> from ntkbook.colab.labels import Target
    >>> labels = BookLabels({"eq-a": Target("(2.1)", "https://x/a.html#equation-eq-a")}, {}, "", "")
    >>> print(plain_markdown("$$\nr=0\n$$ (eq-a)\n\nBy {eq}`eq-a` ...", labels))
    $$
    r=0 \tag{2.1}
    $$
    <BLANKLINE>
    By [(2.1)](https://x/a.html#equation-eq-a) ...
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}; pass the source of a cell")
    check_labels(labels)
    blocks = _resolve_blocks(text.splitlines(), labels)
    return _resolve_inline("\n".join(blocks), labels).strip()


def check_labels(labels: object) -> None:
    """Require the labels of a book.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(labels, BookLabels):
        raise TypeError(f"labels must be a BookLabels, got {type(labels).__name__}; use read_labels(root)")


def _resolve_inline(text: str, labels: BookLabels) -> str:
    """Resolve labelled equations, roles and the labels of headings."""

    def tagged(match: re.Match[str]) -> str:
        number = labels.target(match["label"]).name.strip("()")
        return f"$${match['latex'].rstrip()} \\tag{{{number}}}\n$$"

    text = re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.MULTILINE)
    return _ROLE.sub(lambda match: _role(match[1], match[2], labels), _EQUATION.sub(tagged, text))


def _role(name: str, content: str, labels: BookLabels) -> str:
    if name.startswith("cite"):
        return _citation(name, content, labels)
    written = re.fullmatch(r"(?s)(.+?)\s*<([^<>]+)>", content)
    label = written[2] if written else content
    if name not in ("eq", "numref", "ref", "prf:ref", "doc"):
        raise ValueError(f"the role {{{name}}} has no counterpart in plain Markdown; write it without one")
    target = labels.target(label.strip())
    return f"[{written[1] if written else target.name}]({target.address})"


def _citation(name: str, content: str, labels: BookLabels) -> str:
    page = f"{labels.address}/bibliography.html"
    cited = [labels.citation(key.strip()) for key in content.split(",")]
    if name == "cite:t":
        return ", ".join(f"[{authors} ({year})]({page})" for authors, year in cited)
    if name in ("cite", "cite:p"):
        return f"([{'; '.join(f'{authors}, {year}' for authors, year in cited)}]({page}))"
    raise ValueError(f"the role {{{name}}} has no counterpart here; use cite, cite:p or cite:t")


def _resolve_blocks(lines: list[str], labels: BookLabels) -> list[str]:
    """Replace each directive, from the outside in, by plain lines."""
    done: list[str] = []
    rest = iter(range(len(lines)))
    for i in rest:
        opening = _OPENING.match(lines[i])
        if opening is None:
            done.append(lines[i])
            continue
        end = _closing(lines, i, opening["fence"])
        body = lines[i + 1 : end]
        options: dict[str, str] = {}
        while body and ((option := _OPTION.match(body[0])) or not body[0].strip()):
            if option:
                options[option[1]] = option[2].strip()
            body = body[1:]
        done += _directive(opening["name"], opening["argument"].strip(), options, body, labels)
        while i < end:
            i = next(rest)
    return done


def _closing(lines: list[str], start: int, fence: str) -> int:
    for i in range(start + 1, len(lines)):
        line = lines[i].strip()
        if line and set(line) == {fence[0]} and len(line) >= len(fence):
            return i
    raise ValueError(f"the directive {lines[start]!r} is not closed; close it with the same fence")


def _directive(
    name: str, argument: str, options: dict[str, str], body: list[str], labels: BookLabels
) -> list[str]:
    inner: Callable[[], list[str]] = lambda: _resolve_blocks(body, labels)  # noqa: E731
    word = name.removeprefix("prf:")
    if name == "exercise":
        return [f"#### {labels.target(options['label']).name}. {argument}", "", *inner()]
    if name in _MARKERS:
        opens = name == "solution-start"
        return [solution_heading(argument, labels), *inner()] if opens else inner()
    if name == "solution":
        return [solution_heading(argument, labels), "", *inner()]
    if name == "prf:proof":
        return ["*Proof.*", *inner(), "∎"]
    if name.startswith("prf:") and word in PROOF_KINDS:
        printed = labels.target(options["label"]).name if "label" in options else word.capitalize()
        # Not as a quotation: its marks would get into the formulas.
        return [f"**{printed}{f' ({argument})' if argument else ''}.**", "", *inner()]
    if name in _ADMONITIONS:
        title = argument if name == "admonition" else name.capitalize()
        return [f"**{title}.**", "", *inner()]
    if name == "math":
        tag = f" \\tag{{{labels.target(options['label']).name.strip('()')}}}" if "label" in options else ""
        return ["$$", *body, *([tag] if tag else []), "$$"]
    if name in ("image", "figure"):
        address = argument if argument.startswith("http") else f"{labels.address}/{argument}"
        return [f"![{options.get('alt', '')}]({address})", "", *inner()]
    raise ValueError(f"the directive {{{name}}} has no counterpart in plain Markdown; add it here")


def solution_heading(label: str, labels: BookLabels) -> str:
    """Return the heading under which Colab folds the solution of an exercise."""
    return f"##### Solution of {labels.target(label).name}"
