"""``check``: the tests of a question on an answer in this notebook."""

from __future__ import annotations

from ntkbook._validation import check_seed
from ntkbook.assignments.asking import LocalAnswer
from ntkbook.assignments.catalogue import question
from ntkbook.assignments.evaluation import QuestionResult, evaluate, fresh_seed


def check(key: str, answer: object, *, seed: int | None = None) -> QuestionResult:
    """Return the points of an answer, with a hint for each criterion that it misses.

    The inputs are drawn afresh at every call, as they are when the notebook is graded. As the last line of
    a cell, the call shows its result.

    Parameters
    ----------
    key : str
        Of the question, such as ``"hw1/q1"``.
    answer : callable
        The function that the question asks for.
    seed : int, optional
        Repeats the inputs of another call.

    Returns
    -------
    QuestionResult
        With ``points`` and ``out_of``.

    Raises
    ------
    KeyError
        For an unknown question.
    TypeError, ValueError
        If the key is no text, or the seed no whole number.

    Examples
    --------
    >>> def descent_step(theta, X, y, learning_rate):
    ...     return theta + learning_rate * X.T @ (X @ theta - y) / len(y)
    >>> check("hw1/q1", descent_step, seed=1)
    hw1/q1  One step of gradient descent: 7 of 10 points
       4 of  4  along the gradient
       0 of  3  downhill
                The loss grew for every small step. Which way does the gradient point?
       3 of  3  the length of the step
    """
    if not isinstance(key, str):
        raise TypeError(f"key must be that of a question, such as 'hw1/q1', got {key!r}")
    seed = fresh_seed() if seed is None else check_seed("seed", seed)
    return evaluate(question(key), LocalAnswer(answer), seed)
