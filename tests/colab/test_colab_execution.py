"""Every generated notebook runs for a stranger: its first cell installs the package and nothing else.

`make versions` runs them all, on the oldest and the newest supported versions. Here one chapter and one
assignment run on top of this environment.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from overlay import overlay, site_packages
from stranger import ROOT, run, snapshot

from ntkbook.assignments.catalogue import assignment
from ntkbook.assignments.student import student_notebook
from ntkbook.colab import colab_notebook, read_labels

CONTENTS = (ROOT / "_toc.yml").read_text(encoding="utf-8")
CHAPTERS = [
    path for path in sorted((ROOT / "book").glob("*.ipynb")) if re.search(rf": {path.stem}\n", CONTENTS)
]
NOTEBOOKS = {
    path.stem: path for path in [*CHAPTERS, *sorted((ROOT / "book" / "assignments").glob("*.ipynb"))]
}
# Set by `make versions`: the folder of the environments for one side, the oldest or the newest.
SIDE = os.environ.get("NTKBOOK_VERSIONS")
BASE = Path(SIDE) / "base" / "bin" / "python" if SIDE else Path(sys.executable)
LABELS = read_labels(ROOT)


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The address of a repository with the package as it stands here."""
    return snapshot(tmp_path_factory.mktemp("repository"))


def execute(name, folder, local):
    """Generate a notebook as `make colab` does, run it, and check what an assignment answers."""
    path = NOTEBOOKS[name]
    if path in CHAPTERS:
        notebook = run(colab_notebook(path, LABELS), BASE, folder, LABELS.repository, local)
    else:
        text = json.dumps(student_notebook(path, LABELS.repository))
        notebook = run(nbformat.reads(text, as_version=4), BASE, folder, LABELS.repository, local)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    errors = [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]
    if path in CHAPTERS:
        assert not errors
        return
    shown = "\n".join(str(output.get("data", {}).get("text/plain", "")) for output in outputs)
    told = re.findall(r"^(\w+/\w+)  .*: (\d+) of (\d+) points", shown, re.MULTILINE)
    assert told == [(question.key, "0", str(question.points)) for question in assignment(name).questions]


@pytest.mark.versions
@pytest.mark.parametrize("name", NOTEBOOKS if SIDE else ["every notebook"])
def test_a_stranger_runs_it(name, tmp_path, local):
    if SIDE is None:
        pytest.skip("`make versions` makes the environments that this needs, and runs it there")
    execute(name, tmp_path, local)


@pytest.mark.skipif(SIDE is not None, reason="all notebooks run on top of the clean environment")
@pytest.mark.parametrize("name", ["index", "hw1"])
def test_a_short_one_runs_on_top_of_this_environment(name, tmp_path, local):
    execute(name, tmp_path, local)


PRETENDED = """
import pathlib, sysconfig
here = pathlib.Path(sysconfig.get_path("purelib"))
(here / "ntkbook").mkdir()
for name in {names}:
    folder = here / (name + "-0.1.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: " + name + "\\nVersion: 0.1\\n")
"""


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("pass", "has not installed the package"),
        (PRETENDED.format(names=["ntkbook", "numpy"]), "'numpy'"),
        (PRETENDED.format(names=["ntkbook", "ntkbook_helper"]), "ntkbook-helper"),
    ],
    ids=["nothing installed", "numpy replaced", "one more package"],
)
def test_what_a_first_cell_must_not_do_is_noticed(source, complaint, tmp_path, local):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(AssertionError, match=complaint):
        run(notebook, BASE, tmp_path, LABELS.repository, local)


def test_a_package_that_is_there_already_is_noticed(tmp_path, local, monkeypatch):
    def with_package(folder, base):
        python = overlay(folder, base)
        (site_packages(python) / "ntkbook").mkdir()
        return python

    monkeypatch.setattr("stranger.overlay", with_package)
    with pytest.raises(AssertionError, match="already installed"):
        run(nbformat.v4.new_notebook(), BASE, tmp_path, LABELS.repository, local)
