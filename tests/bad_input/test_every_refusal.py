"""Every public callable is given bad arguments, and says what is wrong, where, and what helps.

The tables are in ``refusals_*.py``, by area. A public name or parameter without a row fails here, unless
it is one of the reasoned exceptions below.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest
import refusals_checks
import refusals_data
import refusals_dynamics
import refusals_empirical
import refusals_estimators
import refusals_infinite
import refusals_layers
import refusals_matrices
import refusals_plotting
import torch
from public_names import Public, public_callables
from refusal import Refusal, judge

REFUSALS: list[Refusal] = [
    *refusals_layers.REFUSALS,
    *refusals_infinite.REFUSALS,
    *refusals_empirical.REFUSALS,
    *refusals_matrices.REFUSALS,
    *refusals_dynamics.REFUSALS,
    *refusals_estimators.REFUSALS,
    *refusals_data.REFUSALS,
    *refusals_plotting.REFUSALS,
    *refusals_checks.REFUSALS,
]
LONGEST = 20  # seconds for one refusal, on a machine that does other things too

# Names (patterns) whose arguments are not checked, each with the reason.
RECORDS = "the package makes these records and hands them out; a caller only reads them"
ELEMENTWISE = "acts on each entry alone: every tensor of numbers is right, and none can broadcast"
RULES = "part of the language in which rules are written; the rule's author sees the traceback"
NAMES_EXEMPT: dict[str, str] = {
    **dict.fromkeys(
        [
            "Kernel*",
            "cntk.CNTKPair",
            "colab.BookLabels",
            "data.Images",
            "data.Split",
            "data.Table",
            "dynamics.Gaussian",
            "dynamics.Modes",
            "infinite.DualMoments",
            "plotting.Animation",
            "plotting.Explorer",
            "training.KernelHistory",
            "training.LinearRun",
            "training.Movement",
            "training.TrainingRun",
            "verify.Check",
            "verify.Check.from_json",
            "verify.Estimate",
            "verify.Fit",
        ],
        RECORDS,
    ),
    **dict.fromkeys(
        [
            f"nn.{kind}.forward"
            for kind in (
                *("ABReLU", "Abs", "Cos", "Elementwise", "Erf", "Exp", "Gabor", "Gaussian", "Hermite"),
                *("Monomial", "Polynomial", "Rbf", "RectifiedMonomial", "SigmoidLike", "Sign", "Sin"),
            )
        ],
        ELEMENTWISE,
    ),
    **dict.fromkeys(["infinite.Call*", "nn.*.divisors", "nn.*.position_covariance", "nn.*.graph"], RULES),
    "infinite.InfiniteWidthKernel": "what infinite_width returns; made with the same arguments",
    "nn.ParametricLayer": "the base of the layers, whose rows check its arguments",
    "nn.Attention*.forward": "passes its input to the layers inside, which check it",
    "operators.Operator": "built from identity, partial and laplacian by arithmetic",
    "operators.identity": "an Operator; see Operator.__call__",
    "assignments.questions.Question": "built by authors of assignments; its tests are in tests/assignments",
}

# Parameters (patterns) that need no row.
PARAMETERS_EXEMPT: dict[str, str] = {
    "*:device": "torch parses it, and its error lists the devices",
    "nn.*:args": "the signature that torch.nn.Module gives to modules without arguments",
    "*:label": "a text that is drawn as it is",
    "*:prediction_label": "a text that is drawn as it is",
    "*:xlabel": "a text that is drawn as it is",
    "*:ylabel": "a text that is drawn as it is",
    "assignments.check:answer": "whatever a student hands in is judged, not refused",
    "verify.definition:arguments": "passed to the two functions as they are",
    "verify.theorem:arguments": "passed to the check as they are",
}


def identifier(case: Refusal) -> str:
    return f"{case.of}-{case.parameter}-{case.value}"


@pytest.fixture(autouse=True)
def _no_refusal_takes_long() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"no answer within {LONGEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", REFUSALS, ids=identifier)
def test_bad_arguments_are_refused_by_name_value_and_remedy(case: Refusal) -> None:
    state = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype()
    outcome = judge(case)
    assert not outcome.complaints, f"{'; '.join(outcome.complaints)}\n{outcome.message}"
    assert (torch.is_grad_enabled(), torch.get_default_dtype()) == state[1:]


def uncovered(names: list[Public], cases: list[Refusal]) -> list[str]:
    """Return ``name:parameter`` of every public parameter without a row or an exemption."""
    rows = {(case.of, case.parameter) for case in cases}
    return [
        f"{public.name}:{parameter}"
        for public in names
        if not any(fnmatch(public.name, pattern) for pattern in NAMES_EXEMPT)
        for parameter, annotation in public.parameters.items()
        if (public.name, parameter) not in rows
        and annotation != "bool"  # anything has a truth value
        and not any(fnmatch(f"{public.name}:{parameter}", pattern) for pattern in PARAMETERS_EXEMPT)
    ]


def test_every_public_parameter_has_a_row() -> None:
    missing = uncovered(public_callables(), REFUSALS)
    assert not missing, f"without a row in tests/bad_input/refusals_*.py: {', '.join(missing)}"


def test_a_new_name_or_parameter_is_noticed() -> None:
    new = Public("nn.Novel", {"width": "int", "fast": "bool"})
    longer = Public("solve", {"gram": "Tensor", "shift": "float"})
    assert uncovered([new, longer], REFUSALS) == ["nn.Novel:width", "solve:shift"]


def test_rows_and_exemptions_name_what_is_public() -> None:
    parameters = {f"{public.name}:{name}" for public in public_callables() for name in public.parameters}
    names = {each.partition(":")[0] for each in parameters}
    assert not {identifier(case) for case in REFUSALS if f"{case.of}:{case.parameter}" not in parameters}
    stale = [pattern for pattern in NAMES_EXEMPT if not any(fnmatch(name, pattern) for name in names)]
    stale += [p for p in PARAMETERS_EXEMPT if not any(fnmatch(each, p) for each in parameters)]
    assert not stale, f"exempt, but not public any more: {stale}"


def test_the_suite_has_the_size_that_was_asked_for() -> None:
    assert len(REFUSALS) >= 200
    assert len(REFUSALS) == len({(identifier(case), case.remedy, case.call) for case in REFUSALS})


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: None, "was not refused"),
        (lambda: int("three"), "not by the package's own code"),
        (lambda: torch.ones(2) + torch.ones(3), "raised RuntimeError, expected ValueError"),
    ],
)
def test_what_is_no_refusal_is_complained_of(call: object, complaint: str) -> None:
    case = Refusal("solve", "gram", call, ValueError, "(3, 4)", "a square matrix")  # type: ignore[arg-type]
    assert any(complaint in each for each in judge(case).complaints)


def test_what_a_message_lacks_is_complained_of() -> None:
    good = next(case for case in refusals_matrices.REFUSALS if case.of == "solve" and case.value == "(3, 4)")
    assert not judge(good).complaints
    for change in ({"argument": "gra"}, {"value": "(3, 5)"}, {"remedy": "transpose"}, {"by": "sklearn"}):
        assert judge(good._replace(**change)).complaints  # type: ignore[arg-type]
