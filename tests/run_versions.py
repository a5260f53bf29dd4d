"""The tests and the Colab notebooks on the oldest and the newest supported versions: ``make versions``.

Each side gets two environments: ``base`` holds what the package needs and what Colab brings, and stands for
a stranger's machine; ``suite`` lies on top of it and holds what the tests need. The oldest side installs
exactly the floors of pyproject.toml, on the oldest Python; the newest side whatever is newest. What has
passed is not run again until a file that it depends on changes. The record is tests/VERSIONS.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from overlay import installed, overlay

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "VERSIONS.md"
NEWEST_PYTHON = "3.13"
# What Colab has besides the package's own dependencies, as far as the notebooks notice.
COLAB = ["ipykernel", "scikit-learn", "pandas"]
# Speaks of requirements.lock, which these environments depart from on purpose.
LOCK_TEST = "tests/test_environment.py::test_the_installed_versions_are_the_pinned_ones"
NOTEBOOK_TEST = "tests/colab/test_colab_execution.py"


def project() -> dict[str, Any]:
    """Return the project's table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def floors(project: dict[str, Any]) -> dict[str, str]:
    """Return the oldest version that a project admits of each requirement, extras included.

    Examples
    --------
    >>> floors({"dependencies": ["A_b>=1.2"], "optional-dependencies": {"x": ["c[d]>=2,<3", "e"]}})
    {'a-b': '1.2', 'c': '2'}
    """
    found: dict[str, str] = {}
    for group in [project["dependencies"], *project["optional-dependencies"].values()]:
        for requirement in group:
            match = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\w.]+)", requirement)
            if match:
                name, floor = match[1].lower().replace("_", "-"), match[2]
                if found.setdefault(name, floor) != floor:
                    raise ValueError(f"pyproject.toml gives {name} two floors: {found[name]} and {floor}")
    return found


def same_version(one: str, other: str) -> bool:
    """Tell whether two versions are the same release: ``1.26`` is ``1.26.0``, and ``2.4+cpu`` is ``2.4``.

    Examples
    --------
    >>> same_version("1.26", "1.26.0"), same_version("1.26", "1.26.1"), same_version("2.4+cpu", "2.4.0")
    (True, False, True)
    """
    short = [re.sub(r"(\.0)+$", "", version.split("+")[0]) for version in (one, other)]
    return short[0] == short[1]


def interpreter(version: str) -> str:
    """Return an interpreter of a Python version: this one, one on the PATH, or one of pyenv's.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, f"python{version}", *pyenv.glob(f"{version}.*/bin/python")]
    for candidate in map(str, candidates):
        code = f"import sys; sys.exit(not sys.version.startswith('{version}.'))"
        if (
            shutil.which(candidate)
            and not subprocess.run([candidate, "-c", code], capture_output=True).returncode
        ):
            return candidate
    raise FileNotFoundError(f"no Python {version} found; install it, or put python{version} on the PATH")


def digest(*parts: str | Path) -> str:
    """Return a fingerprint of texts, files, and all source files of folders."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode())
            continue
        inside = sorted(part.rglob("*")) if part.is_dir() else [part]
        for path in inside:
            if path.suffix in {
                ".py",
                ".ipynb",
                ".md",
                ".json",
                ".toml",
                ".yml",
                ".css",
                ".js",
                ".bib",
                ".lock",
            }:
                total.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return total.hexdigest()


@dataclass(frozen=True)
class Chunk:
    """A piece of the work: what pytest is asked for, and what the outcome depends on."""

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]


def chunks() -> Iterator[Chunk]:
    """Yield the tests folder by folder, then the notebooks one by one."""
    chosen = ("-m", "not browser and not built and not versions", "--deselect", LOCK_TEST)
    tests, book = ROOT / "tests", ROOT / "book"
    shared = (ROOT / "ntkbook", ROOT / "pyproject.toml", tests / "conftest.py", tests / "needs.py")
    top = sorted(tests.glob("test_*.py"))
    yield Chunk("doctests", ("ntkbook", *chosen), shared)
    yield Chunk("tests", (*(str(path.relative_to(ROOT)) for path in top), *chosen), (*shared, *top, book))
    for folder in sorted({path.parent for path in tests.glob("*/test_*.py")}):
        yield Chunk(f"tests-{folder.name}", (f"tests/{folder.name}", *chosen), (*shared, folder, book))
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for path in [*sorted(book.glob("*.ipynb")), *sorted((book / "assignments").glob("*.ipynb"))]:
        if path.parent != book or re.search(rf": {path.stem}\n", contents):
            test = f"{NOTEBOOK_TEST}::test_a_stranger_runs_it[{path.stem}]"
            yield Chunk(
                f"notebook-{path.stem}", (test,), (*shared, tests / "colab", tests / "overlay.py", path)
            )


@dataclass(frozen=True)
class Side:
    """The oldest or the newest versions, and the folder of their environments."""

    name: str
    python: str
    pins: dict[str, str]
    folder: Path

    def build(self) -> None:
        """Make both environments, unless they stand as pyproject.toml asks for them."""
        table = project()
        everything = sorted({each for group in table["optional-dependencies"].values() for each in group})
        constraints = self.folder / "constraints.txt"
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}=={version}\n" for name, version in self.pins.items()]
        constraints.write_text("".join(lines), encoding="utf-8")
        base, suite = (self.folder / name / "bin" / "python" for name in ("base", "suite"))
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        asked = digest(self.python, json.dumps([table["dependencies"], COLAB]))
        if not self._stands("base", asked):
            print(f"{self.name}: installing the dependencies on Python {self.python}", flush=True)
            subprocess.run([interpreter(self.python), "-m", "venv", "--clear", base.parents[1]], check=True)
            subprocess.run([base, *install, "--upgrade", "pip"], check=True)
            subprocess.run([base, *install, "-c", constraints, *table["dependencies"], *COLAB], check=True)
            self._stamp("base", asked)
        asked = digest(asked, json.dumps([self.pins, everything]))
        if not self._stands("suite", asked):
            print(f"{self.name}: installing what the tests need", flush=True)
            overlay(suite.parents[1], base)
            subprocess.run([suite, *install, "-c", constraints, *everything], check=True)
            subprocess.run([suite, *install, "--no-deps", "--editable", ROOT], check=True)
            present = installed(suite)
            wrong = {
                k: present.get(k) for k, v in self.pins.items() if not same_version(v, present.get(k, ""))
            }
            if wrong:
                raise ValueError(f"not the floors of pyproject.toml were installed, but {wrong}")
            (self.folder / "installed.json").write_text(json.dumps(present, indent=1), encoding="utf-8")
            self._stamp("suite", asked)

    def _stands(self, environment: str, asked: str) -> bool:
        stamp = self.folder / environment / ".made"
        return stamp.exists() and stamp.read_text(encoding="utf-8") == asked

    def _stamp(self, environment: str, asked: str) -> None:
        (self.folder / environment / ".made").write_text(asked, encoding="utf-8")

    def run(self, chunk: Chunk) -> bool:
        """Run a chunk, unless it has passed on the same files; return whether it passes."""
        record = self.folder / "results" / f"{chunk.name}.json"
        state = digest(
            (self.folder / "suite" / ".made").read_text(encoding="utf-8"), *chunk.arguments, *chunk.inputs
        )
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))
            if found["state"] == state and not found["failed"]:
                return True
        report, log = record.with_suffix(".xml"), record.with_suffix(".log")
        record.parent.mkdir(exist_ok=True)
        report.unlink(missing_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        where = {"NTKBOOK_VERSIONS": str(self.folder.resolve()), "OMP_NUM_THREADS": "1"}
        command = [
            self.folder.resolve() / "suite" / "bin" / "python",
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
        ]
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(
                [*command, f"--junitxml={report.resolve()}", *chunk.arguments],
                cwd=ROOT,
                env={**kept, **where},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        counts = read_report(report, done.returncode)
        outcome = {"state": state, "when": date.today().isoformat(), "commit": commit(), **counts}
        record.write_text(json.dumps(outcome), encoding="utf-8")
        told = "passed" if not counts["failed"] else f"FAILED, see {log}"
        print(f"{self.name} {chunk.name}: {counts['passed']} passed, {told}", flush=True)
        return not counts["failed"]


def commit() -> str:
    """Return the commit that is checked out, with a ``+`` where the package or its tests differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    paths = ("ntkbook", "tests", "book", "pyproject.toml", f":!{RECORD.relative_to(ROOT)}")
    changed = git("status", "--porcelain", "--", *paths)
    return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)


def read_report(report: Path, status: int) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped; a run that died counts as one failure."""
    if not report.exists() or status not in (0, 1, 5):
        return {"passed": 0, "failed": 1, "skipped": 0}
    total = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for key in total:
            total[key] += int(suite.get(key, "0"))
    failed = total["failures"] + total["errors"]
    return {
        "passed": total["tests"] - failed - total["skipped"],
        "failed": failed,
        "skipped": total["skipped"],
    }


def commits(side: Side) -> set[str]:
    """Return the commits that a side's results are of."""
    files = (side.folder / "results").glob("*.json")
    return {json.loads(file.read_text(encoding="utf-8"))["commit"] for file in files}


def record(sides: list[Side]) -> str:
    """Return the record: what ran on which versions, and how it went."""
    columns = {
        side.name: json.loads((side.folder / "installed.json").read_text(encoding="utf-8")) for side in sides
    }
    table = project()
    names = sorted(floors(table))
    lines = [
        "# Versions that the tests have passed on",
        "",
        "Written by `make versions`; do not edit. Tests that open the built book are left out, and the Colab",
        "notebooks run as a stranger runs them: package not installed, first cell unchanged.",
        "",
        "| | " + " | ".join(side.name for side in sides) + " |",
        "|---|" + "---|" * len(sides),
        "| commits | " + " | ".join(", ".join(sorted(commits(side))) for side in sides) + " |",
        "| Python | " + " | ".join(side.python for side in sides) + " |",
    ]
    lines += [
        f"| {name} | " + " | ".join(columns[s.name].get(name, "") for s in sides) + " |" for name in names
    ]
    every = list(chunks())
    for title, wanted in (("tests", False), ("Colab notebooks", True)):
        cells = []
        for side in sides:
            chosen = [chunk for chunk in every if chunk.name.startswith("notebook-") == wanted]
            files = [side.folder / "results" / f"{chunk.name}.json" for chunk in chosen]
            found = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
            told = [f"{sum(each[k] for each in found)} {k}" for k in ("passed", "failed", "skipped")]
            missing = len(files) - len(found)
            days = sorted({each["when"] for each in found})
            cells.append(", ".join(told) + f" ({' to '.join(dict.fromkeys([*days[:1], *days[-1:]]))})")
            if missing:
                cells[-1] += f", {missing} of {len(files)} parts not run"
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Make the environments, run what has not passed, write the record, and return the exit status."""
    table = project()
    oldest = table["requires-python"].removeprefix(">=")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", nargs="*", choices=["oldest", "newest", []], help="by default both")
    parser.add_argument("--to", type=Path, default=ROOT / "_versions", help="folder of the environments")
    parser.add_argument("--jobs", type=int, default=1, help="chunks at a time")
    parser.add_argument("--only", default="", help="a regular expression that chunks' names match")
    options = parser.parse_args(arguments)
    sides = [
        Side("oldest", oldest, floors(table), options.to / "oldest"),
        Side("newest", NEWEST_PYTHON, {}, options.to / "newest"),
    ]
    passed = []
    for side in sides:
        if not options.side or side.name in options.side:
            side.build()
            wanted = [chunk for chunk in chunks() if re.search(options.only, chunk.name)]
            with ThreadPoolExecutor(options.jobs) as pool:
                passed += pool.map(side.run, wanted)
    RECORD.write_text(
        record([side for side in sides if (side.folder / "installed.json").exists()]), encoding="utf-8"
    )
    print(f"{sum(passed)} of {len(passed)} parts passed; the record is {RECORD.relative_to(ROOT)}")
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
