"""The notebooks for Colab and the built pages: the same numbers, and a button that leads to the notebook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from site_pages import ROOT, SOURCE, pages

from ntkbook.colab import BookLabels, read_labels

pytestmark = pytest.mark.built
notebooks = [name for name in pages() if (SOURCE / f"{name}.ipynb").exists()]
chapters = pytest.mark.parametrize("name", [name for name in notebooks if "/" not in name])


@pytest.fixture(scope="module")
def labels() -> BookLabels:
    return read_labels(ROOT)


@chapters
def test_numbers_are_those_of_the_page(html: Path, labels: BookLabels, name: str) -> None:
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    compared = 0
    for label, target in labels.targets.items():
        home, _, anchor = target.address.rpartition("/")[2].partition("#")
        if home != f"{name}.html" or not anchor:
            continue
        place = text.find(f'id="{anchor}"')
        assert place >= 0, f"{label}: the page has no {anchor}"
        if target.name[0] == "(" or re.match(r"(Fig\.|Exercise|Theorem|Proposition|Lemma) ", target.name):
            end = place + 20_000
            if target.name.startswith("Fig."):
                # The caption stands below its picture, and a picture may be an animation of any size.
                place, end = text.find("<figcaption", place), text.find("</figcaption>", place)
            shown = re.sub(r"<[^>]+>", "", text[place:end])
            assert target.name in shown[:4000], f"{label} is not {target.name} on the page"
            compared += 1
    # The landing page and the architecture number nothing but their one figure.
    assert compared > 20 or (name in ("index", "architecture") and compared == 1)


@pytest.mark.parametrize("name", notebooks)
def test_the_launch_button_opens_the_generated_notebook(html: Path, labels: BookLabels, name: str) -> None:
    links = re.findall(r'href="(https://colab[^"]*)"', (html / f"{name}.html").read_text(encoding="utf-8"))
    repository = labels.repository.split("github.com/")[-1]
    assert set(links) == {f"https://colab.research.google.com/github/{repository}/blob/colab/{name}.ipynb"}
