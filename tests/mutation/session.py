"""Run mutants against the tests that execute them, and keep a record from which a run is taken up again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from baseline import Baseline, digest
from child import Ended, Selection, forked, run_pytest
from mutants import Mutant

# A mutant is stopped when a test takes this many times its CPU time, and so many seconds more (compilation).
_PATIENCE, _ALLOWANCE = 5, 20


@dataclass(frozen=True)
class Result:
    """What became of a mutant: 'killed', 'time', 'crash' (all three detected), 'survived' or 'invalid'."""

    key: str
    module: str
    function: str
    line: str
    becomes: str
    outcome: str
    by: str
    tests_run: int
    tests_covering: int
    module_digest: str
    tests_digest: str

    @property
    def detected(self) -> bool:
        """Whether some test noticed the change."""
        return self.outcome in ("killed", "time", "crash")


@dataclass(frozen=True)
class Session:
    """A copy of the repository in which modules are changed, the record, and how tests are chosen.

    ``limit`` is the CPU time in seconds of the unchanged tests that one mutant has to pass at most.
    ``compiled`` names modules that Numba compiles: a mutant of theirs needs an empty cache.
    """

    root: Path
    record: Path
    baseline: Baseline
    limit: float
    tests_for: Callable[[Mutant], list[str]]
    compiled: tuple[str, ...] = ()

    def known(self, first: bool = False) -> dict[str, Result]:
        """Return the last recorded result of every mutant, or the first."""
        if not self.record.exists():
            return {}
        results = [Result(**json.loads(line)) for line in self.record.read_text().splitlines()]
        return {result.key: result for result in (reversed(results) if first else results)}

    def valid(self, mutant: Mutant, result: Result) -> bool:
        """Tell whether a result stands: a survivor meets new and further tests, a killed mutant none."""
        if result.module_digest != digest([self.root / result.module]):
            return False
        if result.outcome != "survived":
            return True
        further = len(self._affordable(self.tests_for(mutant))) > result.tests_run
        return result.tests_digest == self.tests_digest and not further

    @cached_property
    def tests_digest(self) -> str:
        """Return the fingerprint of all tests."""
        return digest(sorted((self.root / "tests").rglob("*.py")))

    def run(self, mutant: Mutant) -> Result:
        """Test one mutant, and append what became of it to the record."""
        path = self.root / mutant.module
        source, module_digest = path.read_text(), digest([path])
        changed, becomes = mutant.apply(source)
        covering = self.tests_for(mutant)
        chosen = self._affordable(covering)
        times = path.stat()
        try:
            path.write_text(changed)
            outcome, by = self._outcome(mutant, changed, chosen)
        finally:
            path.write_text(source)
            # Python takes compiled files by the time of the source.
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        result = Result(
            mutant.key, mutant.module, mutant.function, mutant.line, becomes, outcome, by,
            len(chosen), len(covering), module_digest, self.tests_digest,
        )  # fmt: skip
        with self.record.open("a") as record:
            record.write(json.dumps(asdict(result)) + "\n")
        return result

    def _affordable(self, tests: list[str]) -> list[str]:
        chosen, total = [], 0.0
        for test in tests:
            total += self.baseline.seconds[test]
            if total > self.limit and chosen:
                break
            chosen.append(test)
        return chosen

    def _outcome(self, mutant: Mutant, changed: str, tests: list[str]) -> tuple[str, str]:
        try:
            compile(changed, mutant.module, "exec")
        except SyntaxError:
            return "invalid", ""
        if not tests:
            return "survived", "no test executes it"
        limits = {test: _ALLOWANCE + _PATIENCE * self.baseline.seconds[test] for test in tests}
        fresh = mutant.module in self.compiled
        try:
            failed = forked(
                lambda: _first_failure(self.root, mutant.module, limits, fresh), sum(limits.values())
            )
        except Ended as ended:
            return str(ended), ""
        return ("killed", failed) if failed else ("survived", "")


def _first_failure(root: Path, module: str, limits: dict[str, float], fresh_cache: bool) -> str:
    """Return the first test that fails, '' if all pass: most changes are noticed in the first two files."""
    sys.dont_write_bytecode = True  # a mutant's compiled file could be taken for the unchanged one's
    signal.setitimer(signal.ITIMER_PROF, 3 * _ALLOWANCE)  # for the imports, until the first test
    files = list(dict.fromkeys(test.partition("::")[0] for test in limits))
    with tempfile.TemporaryDirectory() as scratch:
        if fresh_cache:
            os.environ["NUMBA_CACHE_DIR"] = scratch
            import numba

            numba.config.CACHE_DIR = scratch
        for stage in filter(None, (files[:2], files[2:])):
            selection = Selection({t: limit for t, limit in limits.items() if t.partition("::")[0] in stage})
            run_pytest(root, stage, selection, "--doctest-modules")
            if selection.failed:
                return selection.failed[0]
            if selection.seconds.keys() != selection.limits.keys():
                raise RuntimeError(f"not all tests of {module} have run: {stage}")
    return ""


def copy_tree(source: Path, target: Path) -> None:
    """Bring ``target`` to the state of the files that Git knows or would add; do not touch equal ones."""
    listed = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    wanted = {name for name in names if name and (source / name).is_file()}
    for name in wanted:
        old, new = source / name, target / name
        if not new.exists() or new.stat().st_mtime_ns != old.stat().st_mtime_ns:
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(old, new)
    for path in target.rglob("*.py"):
        if str(path.relative_to(target)) not in wanted:
            path.unlink()
