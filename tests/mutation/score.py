"""The share of mutants that the tests notice, for each part of the package, with its uncertainty."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from session import Result

_Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Equivalent:
    """A change that no correct use of the package can notice, and why."""

    module: str
    function: str
    line: str
    becomes: str
    reason: str

    def matches(self, result: Result) -> bool:
        """Tell whether a mutant is this change; '*' stands for every change of the line."""
        return (self.module, self.function, self.line) == (result.module, result.function, result.line) and (
            self.becomes in ("*", result.becomes)
        )


def read_equivalents(path: Path) -> list[Equivalent]:
    """Return the entries of a TOML file with tables ``[[equivalent]]``."""
    return [Equivalent(**entry) for entry in tomllib.loads(path.read_text()).get("equivalent", [])]


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95 % interval of Wilson for a proportion; (0, 1) without trials.

    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]
    """
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, _Z**2
    centre = share + square / (2 * trials)
    half = _Z * sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return (centre - half) / (1 + square / trials), (centre + half) / (1 + square / trials)


@dataclass(frozen=True)
class Part:
    """What became of the mutants of one part; ``population`` is the number that the part has."""

    name: str
    population: int
    results: list[Result]
    equivalents: list[Equivalent]

    @property
    def tried(self) -> list[Result]:
        """The mutants that compile."""
        return [result for result in self.results if result.outcome != "invalid"]

    @property
    def detected(self) -> int:
        """The number of mutants that some test notices."""
        return sum(result.detected for result in self.tried)

    @property
    def equivalent(self) -> int:
        """The number of mutants that pass all tests and are listed as equivalent."""
        return sum(not r.detected and any(e.matches(r) for e in self.equivalents) for r in self.tried)

    @property
    def survivors(self) -> list[Result]:
        """The mutants that pass all tests and are not listed."""
        return [r for r in self.tried if not r.detected and not any(e.matches(r) for e in self.equivalents)]

    @property
    def score(self) -> float:
        """The share detected of those that are not equivalent; NaN without any."""
        different = len(self.tried) - self.equivalent
        return self.detected / different if different else float("nan")

    def row(self, first_detected: int) -> str:
        """Return the part's line of the Markdown table."""
        low, high = wilson(self.detected, len(self.tried) - self.equivalent)
        counts = (self.population, len(self.tried), first_detected, self.detected, self.equivalent)
        cells = [self.name, *map(str, counts), str(len(self.survivors)), f"{100 * self.score:.1f} %"]
        return "| " + " | ".join([*cells, f"{100 * low:.1f}-{100 * high:.1f} %"]) + " |"


def overall(parts: Iterable[Part]) -> tuple[float, float, float]:
    """Return the package's score, each part weighted by the mutants it has, and its 95 % interval.

    The interval is Wilson's for as many simple draws as have the variance of the weighted mean.
    """
    tried = [part for part in parts if len(part.tried) > part.equivalent]
    total = sum(part.population for part in tried)
    score = likely = variance = 0.0
    for part in tried:
        weight, draws = part.population / total, len(part.tried) - part.equivalent
        score += weight * part.score
        # One more success and one more failure: a part without survivors has an uncertain score too.
        share = (part.detected + 1) / (draws + 2)
        likely += weight * share
        variance += weight**2 * share * (1 - share) / draws
    draws = likely * (1 - likely) / variance if tried else 0.0
    return score, *wilson(score * draws, draws)


def table(parts: list[Part], first: dict[str, Result]) -> str:
    """Return the Markdown table of all parts; ``first`` holds the first result of every mutant."""
    score, low, high = overall(parts)
    lines = [
        "| part | mutants | tried | killed at first | killed | equivalent | survive | score | 95 % range |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [part.row(sum(first[r.key].detected for r in part.tried)) for part in parts]
    totals = [
        sum(part.population for part in parts),
        sum(len(part.tried) for part in parts),
        sum(first[r.key].detected for part in parts for r in part.tried),
        sum(part.detected for part in parts),
        sum(part.equivalent for part in parts),
        sum(len(part.survivors) for part in parts),
    ]
    cells = [
        "all, weighted",
        *map(str, totals),
        f"{100 * score:.1f} %",
        f"{100 * low:.1f}-{100 * high:.1f} %",
    ]
    lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
