"""Which tests execute which line, and how long they take: measured once with the unchanged package."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child import Selection, forked, run_pytest

_LONGEST_FILE = 900  # seconds of CPU time that one file of tests may take


@dataclass(frozen=True)
class Baseline:
    """The tests that pass with the unchanged package: their times, and the lines that each executes."""

    seconds: dict[str, float]
    covering: dict[tuple[str, int], list[str]]
    by_module: dict[str, list[str]]

    def tests(self, module: str, line: int) -> list[str]:
        """Return the tests that execute a line; for a line run at import, those that use the module.

        In order: first one set of parameters of every test, the fast ones first, then the next set.
        """
        names = self.covering.get((module, line)) or self.by_module.get(module, [])
        return self.ordered(names)

    def ordered(self, names: list[str]) -> list[str]:
        """Return the tests with the fast ones first, and the parameters of one test far from each other."""
        rounds: dict[str, int] = defaultdict(int)
        ranked = []
        for name in sorted(names, key=self.seconds.__getitem__):
            function = name.partition("[")[0]
            ranked.append((rounds[function], self.seconds[name], name))
            rounds[function] += 1
        return [name for _, _, name in sorted(ranked)]


def measure(root: Path, files: list[str], package: str, record: Path) -> Baseline:
    """Run every file of tests under coverage, but those whose text and package are those of the record."""
    record.mkdir(parents=True, exist_ok=True)
    sources = digest(sorted((root / package).rglob("*.py")))
    results = []
    for file in files:
        text = digest(sorted((root / file).rglob("*.py")) or [root / file])
        known = record / f"{text}-{sources}-{file.replace('/', '.')}.json"
        if not known.exists():
            print(f"baseline: {file}", flush=True)
            known.write_text(
                json.dumps(forked(lambda file=file: _covered(root, file, package), _LONGEST_FILE))
            )
        results.append(json.loads(known.read_text()))
    return _merge(results)


def digest(files: list[Path]) -> str:
    """Return a fingerprint of the content of files."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _covered(root: Path, file: str, package: str) -> dict[str, Any]:
    """Run one file of tests and return times, failures, and for each test the lines it executes."""
    from coverage import Coverage  # its tracer is wanted in this process alone

    with tempfile.TemporaryDirectory() as scratch:
        coverage = Coverage(data_file=f"{scratch}/data", include=[f"{root}/{package}/*"], config_file=False)
        selection = Selection(switch=coverage.switch_context)
        sys.dont_write_bytecode = False  # the runs of the mutants, which may not write any, find it compiled
        coverage.start()
        try:
            run_pytest(root, [file], selection, "--maxfail=1000", "--doctest-modules")
        finally:
            coverage.stop()
        if not selection.seconds:
            raise RuntimeError(f"no test of {file} has run: {selection.failed}")
        lines: dict[str, dict[str, list[int]]] = defaultdict(dict)
        data = coverage.get_data()
        for path in data.measured_files():
            module = str(Path(path).relative_to(root))
            for line, names in data.contexts_by_lineno(path).items():
                for name in filter(None, names):
                    lines[name].setdefault(module, []).append(line)
    return {"seconds": selection.seconds, "bad": selection.failed + selection.skipped, "lines": lines}


def _merge(results: list[dict[str, Any]]) -> Baseline:
    seconds: dict[str, float] = {}
    covering: dict[tuple[str, int], list[str]] = defaultdict(list)
    by_module: dict[str, list[str]] = defaultdict(list)
    for result in results:
        bad = set(result["bad"])
        good = {test: duration for test, duration in result["seconds"].items() if test not in bad}
        seconds |= good
        used: dict[str, set[str]] = defaultdict(set)
        executing: dict[tuple[str, int], set[str]] = defaultdict(set)
        for name, modules in result["lines"].items():
            # A file's name stands for its fixtures, which any of its tests may use.
            tests = good.keys() & {name} if "::" in name else good.keys()
            for module, lines in modules.items():
                used[module] |= tests
                for line in lines:
                    executing[module, line] |= tests
        for module, tests in used.items():
            by_module[module] += sorted(tests)
        for place, tests in executing.items():
            covering[place] += sorted(tests)
    return Baseline(seconds, covering, by_module)
