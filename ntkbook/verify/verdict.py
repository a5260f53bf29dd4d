"""What a comparison concludes, and the two ways in which a check can disappoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["holds", "fails", "undecided"]


class CheckFailed(AssertionError):
    """The statement does not hold, or could not be shown to hold."""


class PowerlessCheck(AssertionError):
    """The check would also have accepted a wrong statement, so it shows nothing."""


@dataclass(frozen=True)
class Verdict:
    """The result of comparing one statement with what was computed.

    Attributes
    ----------
    state : {"holds", "fails", "undecided"}
        ``"undecided"`` neither proves nor refutes: the right version of a statement must hold,
        and a wrong version must fail, so an undecided verdict disappoints in both places.
    residual : float
        How far apart the two sides are, in the units of ``tolerance``.
    tolerance : float
        The largest residual with which the statement holds.
    detail : str
        A few words on what was compared, or where it failed.
    """

    state: State
    residual: float
    tolerance: float
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """The record of one passed check: what the ledger and the marks in the book are made of.

    Attributes
    ----------
    label : str
        The label of the equation in the book.
    kind : str
        ``identity``, ``close``, ``bound``, ``rate``, ``monte_carlo``, ``definition`` or ``theorem``.
    residual, tolerance : float
        Of the right version.
    detail : str
        What was compared, and under which assumptions.
    rejected : tuple of (str, float)
        The wrong versions, each with the residual that gave it away.
    cite : str
        The key of the source, for theorems; else empty.
    """

    label: str
    kind: str
    residual: float
    tolerance: float
    detail: str
    rejected: tuple[tuple[str, float], ...] = field(default=())
    cite: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON types; infinities become strings."""
        return {
            "label": self.label,
            "kind": self.kind,
            "residual": _plain(self.residual),
            "tolerance": _plain(self.tolerance),
            "detail": self.detail,
            "rejected": [[name, _plain(residual)] for name, residual in self.rejected],
            "cite": self.cite,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Check:
        """Rebuild a record that `to_json` wrote."""
        return cls(
            label=data["label"],
            kind=data["kind"],
            residual=float(data["residual"]),
            tolerance=float(data["tolerance"]),
            detail=data["detail"],
            rejected=tuple((name, float(residual)) for name, residual in data["rejected"]),
            cite=data.get("cite", ""),
        )


def _plain(number: float) -> float | str:
    # JSON has no infinity and no NaN, and a notebook with either is not valid.
    return float(number) if math.isfinite(number) else str(float(number))
