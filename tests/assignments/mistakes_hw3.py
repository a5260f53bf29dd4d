"""Typical wrong answers to assignment 3: what is replaced in the solution, and the criteria that it loses."""

_ONE, _TWO = "one set of inputs, up to a factor", "two sets of inputs, up to a factor"
_OUTPUT, _HIDDEN = "output weights: each output has its own", "hidden weights: all outputs share them"

MISTAKES = {
    "hw3/q1": [
        ("missing 1/sqrt(n)", "z.tanh() / n**0.5", "z.tanh()", {"the factors"}),
        ("missing 1/sqrt(n0)", "x / (n * d) ** 0.5", "x / n**0.5", {"the factors"}),
        (
            "activation for its derivative",
            "1 - z.tanh() ** 2",
            "z.tanh()",
            {"hidden weights, up to a factor", "the factors"},
        ),
        (
            "output weight forgotten",
            "(a * slope)",
            "slope",
            {"hidden weights, up to a factor", "the factors"},
        ),
        (
            "derivative for the activation in df/da",
            "z.tanh() / n**0.5",
            "slope / n**0.5",
            {"output weights, up to a factor", "the factors"},
        ),
    ],
    "hw3/q2": [
        ("missing 1/n", "return (features + slopes) / n", "return features + slopes", {"the factor"}),
        (
            "1/sqrt(n) once",
            "return (features + slopes) / n",
            "return (features + slopes) / n**0.5",
            {"the factor"},
        ),
        ("hidden weights forgotten", "(features + slopes)", "features", {_ONE, _TWO, "the factor"}),
        ("one set twice", "z2 = X2 @", "z2 = X1 @", {_TWO}),
        ("arguments swapped", "(features + slopes)", "(features + slopes).T", {_TWO}),
        ("missing 1/n0", "X1 @ X2.T / d", "X1 @ X2.T", {_ONE, _TWO, "the factor"}),
    ],
    "hw3/q3": [
        ("no delta between the outputs", "torch.eye(len(A))", "torch.ones(len(A), len(A))", "all"),
        ("one output's weights for all", "A, A, slope1", "A, A[:1].expand_as(A), slope1", {_HIDDEN}),
        ("as if the hidden part were diagonal", "+ hidden", "+ hidden * torch.eye(len(A))", {_HIDDEN}),
        ("hidden weights forgotten", "+ hidden", "", {_HIDDEN}),
        ("missing 1/n", ") / n", ")", "all"),
    ],
    "hw3/q4": [
        ("supplement of the angle", "(math.pi - angle) / (2", "angle / (2", "all"),
        (
            "probability for each alone",
            "(math.pi - angle) / (2 * math.pi)",
            "0.5",
            {"unit inputs at an angle", "inputs of any length"},
        ),
        ("output weights only", "return moment + ", "return moment + 0 * ", "all"),
        ("hidden weights only", "return moment + ", "return 0 * moment + ", "all"),
        ("not clamped", ".clamp(-1, 1)", "", {"an input with itself"}),
        (
            "as if inputs had length sqrt(n0)",
            "scale = lengths1[:, None] * lengths2 / d",
            "scale = torch.ones(len(X1), len(X2))",
            {"inputs of any length", "an input with itself"},
        ),
    ],
}
