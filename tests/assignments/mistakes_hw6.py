"""Typical wrong answers to assignment 6: what is replaced in the solution, and the criteria that it loses."""

_APART, _OTHERS, _ROUNDING = (
    "tells the derivation from the correction",
    "rejects other mistakes",
    "allows for rounding",
)

MISTAKES = {
    "hw6/q1": [
        ("accepts everything", "return bool(", "return True or bool(", "all"),
        ("rejects everything", "return bool(", "return False and bool(", "all"),
        (
            "a single point",
            "torch.randn(5, 3), torch.randn(5), torch.randn(5)",
            "torch.randn(1, 3), torch.randn(1), torch.randn(1)",
            "all",
        ),
        ("start at 0", "torch.randn(5), torch.randn(5)", "torch.randn(5), torch.zeros(5)", {_OTHERS}),
        ("rate 1", "eta = 0.7", "eta = 1.0", {_OTHERS}),
        ("too loose", "1e-5", "0.1", {_OTHERS}),
        ("too strict", "1e-5", "1e-13", "all"),
    ],
    "hw6/q2": [
        ("accepts everything", "return bool(", "return True or bool(", "all"),
        ("no biases", "w_std, b_std = 1.3, 0.6", "w_std, b_std = 1.3, 0.0", {_OTHERS}),
        ("too strict", "1e-4", "1e-12", {_ROUNDING}),
        ("too loose", "1e-4", "0.4", {_OTHERS}),
        ("ReLU forgotten", "z.relu() ** 2", "z**2", "all"),
        ("an input of length 1", "x = torch.tensor([0.5, -1.0, 2.0])", "x = torch.tensor([0.5])", {_OTHERS}),
    ],
    "hw6/q3": [
        ("accepts everything", "return bool(", "return True or bool(", "all"),
        ("width 1", "n, d = 6, 3", "n, d = 1, 3", "all"),
        ("one input twice", "torch.randn(d), torch.randn(d)", "torch.ones(d), torch.ones(d)", {_OTHERS}),
        ("too strict", "1e-6", "1e-12", {_ROUNDING}),
        ("output weights held fixed", "g1 @ g2", "g1[: n * d] @ g2[: n * d]", "all"),
    ],
}
