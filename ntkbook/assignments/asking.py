"""Calling a student's answer, and reading what it returns."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ntkbook.assignments.codec import CodecError, Foreign, decode, encode
from ntkbook.assignments.questions import Miss, Unanswered


class Answer(Protocol):
    """A student's function, in this process or in another."""

    def call(self, inputs: Sequence[object]) -> object:
        """Return the function's value as decoded plain data, or raise `Miss` with what went wrong."""


class LocalAnswer:
    """A function of this process, called as the grader calls one of another process.

    Inputs and value take the way through the codec, so that ``check`` in a notebook and the hidden tests
    see the same thing and a function that writes into its inputs spoils only its own copy.

    Parameters
    ----------
    function : object
        What the student passed to ``check``.
    """

    def __init__(self, function: object) -> None:
        self._function = function

    def call(self, inputs: Sequence[object]) -> object:
        """Return the function's value as decoded plain data, or raise `Miss` with what went wrong."""
        if not callable(self._function):
            raise Miss(not_a_function(type(self._function).__name__))
        functions: list[Callable[..., object]] = []
        copies = [decode(encode(value, functions), lambda k: _copying(functions[k])) for value in inputs]
        try:
            value = self._function(*copies)
        except NotImplementedError:
            raise Unanswered(NOT_YET) from None
        except Exception as error:
            raise Miss(raised(type(error).__name__, str(error), _line(error))) from None
        try:
            return decode(encode(value))
        except CodecError as error:
            raise Miss(f"Your function's value cannot be read: {error}.") from None


NOT_YET = "Not answered yet."


def not_a_function(type_name: str) -> str:
    """Return the hint for an answer that cannot be called."""
    return f"The answer is a function, without brackets after its name; yours is of type {type_name}."


def raised(type_name: str, text: str, where: str) -> str:
    """Return the hint for an answer that raised an error."""
    text = " ".join(text.split())[:300]
    return (
        f"Your function raised {type_name}: {text} ({where})"
        if text
        else f"Your function raised {type_name} ({where})"
    )


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the grader's own frame
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"line {own[-1].lineno} of {own[-1].name}" if own else "on being called"


def _copying(function: Callable[..., object]) -> Callable[..., object]:
    def call(*inputs: object) -> object:
        return decode(encode(function(*decode(encode(list(inputs))))))

    return call


class Ask:
    """Asks a student's function and returns what it says as tensors of a known shape.

    Parameters
    ----------
    answer : Answer

    Examples
    --------
    >>> ask = Ask(LocalAnswer(lambda x: 2 * x))
    >>> ask.tensor(torch.ones(2), shape=(2,))
    tensor([2., 2.], dtype=torch.float64)
    >>> ask.tensor(torch.ones(2), shape=(3,))
    Traceback (most recent call last):
    ntkbook.assignments.questions.Miss: Your function returned shape (2,); the shape asked for is (3,).
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def tensor(self, *inputs: object, shape: Sequence[int]) -> Tensor:
        """Return one real, finite tensor in double precision.

        Raises
        ------
        Miss
            For another type or shape, complex or NaN entries, or an error of the student's code.
        """
        return _as_tensor(self._answer.call(inputs), tuple(shape), "Your function returned")

    def tensors(self, *inputs: object, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return several such tensors, of a function that returns a tuple.

        Raises
        ------
        Miss
            As for one; also for another number of parts.
        """
        value = self._answer.call(inputs)
        if not isinstance(value, list) or len(value) != len(shapes):
            got = f"{len(value)} values" if isinstance(value, list) else _name(value)
            raise Miss(
                f"Your function should return {len(shapes)} values, as in 'return a, b'; it returned {got}."
            )
        return [
            _as_tensor(part, tuple(shape), f"Value {k} that your function returned has")
            for k, (part, shape) in enumerate(zip(value, shapes, strict=True), 1)
        ]

    def truth(self, *inputs: object) -> bool:
        """Return a truth value.

        Raises
        ------
        Miss
            For anything else, or an error of the student's code.
        """
        value = self._answer.call(inputs)
        if isinstance(value, Tensor) and value.dtype == torch.bool and value.numel() == 1:
            return bool(value)
        if not isinstance(value, bool):
            raise Miss(f"Your function should return True or False; it returned {_name(value)}.")
        return value


def _name(value: Any) -> str:
    if value is None:
        return "nothing (None): is a return missing?"
    if isinstance(value, Foreign):
        return f"an object of type {value.type_name}"
    if isinstance(value, Tensor):
        return f"an array of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _as_tensor(value: Any, shape: tuple[int, ...], said: str) -> Tensor:
    if isinstance(value, list):
        value = _stacked(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = torch.tensor(value, dtype=torch.float64)
    if not isinstance(value, Tensor) or value.dtype == torch.bool:
        raise Miss(
            f"Your function should return numbers, as a tensor or an array; it returned {_name(value)}."
        )
    if value.is_complex():
        raise Miss(
            "Your values are complex. Every quantity asked for is real: which routine gave complex "
            "numbers, and is there one that knows that they are real?"
        )
    if tuple(value.shape) != shape:
        raise Miss(f"{said} shape {tuple(value.shape)}; the shape asked for is {shape}.")
    tensor: Tensor = value.to(torch.float64)
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise Miss(
            f"{bad} of the {tensor.numel()} entries are NaN or infinite. Look for a division by zero, "
            "a logarithm or a root of a number that rounding made negative, or an angle "
            "whose cosine is above 1."
        )
    return tensor


def _stacked(value: list[Any]) -> object:
    try:
        return torch.stack([part if isinstance(part, Tensor) else torch.tensor(part) for part in value])
    except (TypeError, ValueError, RuntimeError):
        return value
