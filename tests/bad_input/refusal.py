"""One row of the tables of bad inputs: a call, and what the error that it raises must say."""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import ntkbook

PACKAGE = Path(ntkbook.__file__).parent

INF, NAN = math.inf, math.nan


class Refusal(NamedTuple):
    """A call that must be refused.

    Attributes
    ----------
    of : str
        The public callable, by its name without ``ntkbook.``; a method as ``dynamics.MSEFlow.test``.
    argument : str
        The parameter that is at fault, by its name in the signature. The message must name it. Where the
        message calls it otherwise, the name there follows a colon: ``"kernel:left"``.
    call : callable
        Makes the call.
    error : type
        The exception, exactly or a subclass.
    value : str
        What the message must show of the value or the shape.
    remedy : str
        What the message must say that helps: the allowed values, or what to call.
    by : str
        The package in whose code the error is raised: other than ours only for scikit-learn's own checks.
    """

    of: str
    argument: str
    call: Callable[[], object]
    error: type[Exception]
    value: str
    remedy: str
    by: str = "ntkbook"

    @property
    def parameter(self) -> str:
        """The parameter's name in the signature."""
        return self.argument.partition(":")[0]

    @property
    def name(self) -> str:
        """What the message must call the argument."""
        return self.argument.rpartition(":")[2]


@dataclass(frozen=True)
class Outcome:
    """What a call did: a list of complaints, empty if it was refused as it should be."""

    complaints: tuple[str, ...]
    message: str


def judge(case: Refusal) -> Outcome:
    """Make the call and compare what happens with what the table wants."""
    try:
        result = case.call()
    except Exception as error:
        message, complaints = str(error), []
        if not isinstance(error, case.error):
            complaints.append(f"raised {type(error).__name__}, expected {case.error.__name__}")
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        if case.by == "ntkbook":
            if not Path(where).is_relative_to(PACKAGE):
                complaints.append(f"raised by {where}, not by the package's own code")
        elif f"/{case.by}/" not in where:
            complaints.append(f"raised by {where}, not by {case.by}")
        if not re.search(rf"(?<!\w){re.escape(case.name)}(?!\w)", message):
            complaints.append(f"does not name {case.name!r}")
        complaints += [f"does not say {text!r}" for text in (case.value, case.remedy) if text not in message]
        return Outcome(tuple(complaints), f"{type(error).__name__}: {message}")
    return Outcome(("was not refused",), f"returned {type(result).__name__}")
