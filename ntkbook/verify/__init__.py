"""Machine checks for the book's equations: each shows that it can fail.

A check names the label of an equation, tests the statement by an independent route, tests wrong
versions of it the same way, and passes only if the first holds and all the others are rejected.

====================  ====================================================================
`identity`            SymPy takes the difference of both sides to exactly 0
`close`               two float64 computations agree to a stated relative tolerance
`bound`               an inequality holds on examples that come near to equality
`rate`                a fitted exponent agrees, within its confidence interval
`monte_carlo`         a mean over independent draws agrees, within its standard error
`definition`          the code that the book uses computes what the definition says
`theorem`             a cited theorem, illustrated by one of the above
====================  ====================================================================
"""

from ntkbook.verify.checks import bound, close, definition, identity, monte_carlo, rate, theorem
from ntkbook.verify.statistical import Estimate, Fit, estimate_mean, fit_exponent
from ntkbook.verify.verdict import Check, CheckFailed, PowerlessCheck

__all__ = [
    "Check",
    "CheckFailed",
    "Estimate",
    "Fit",
    "PowerlessCheck",
    "bound",
    "close",
    "definition",
    "estimate_mean",
    "fit_exponent",
    "identity",
    "monte_carlo",
    "rate",
    "theorem",
]
