"""Typical wrong answers to assignment 1: what is replaced in the solution, and the criteria that it loses."""

MISTAKES = {
    "hw1/q1": [
        ("wrong sign", "theta - learning_rate", "theta + learning_rate", {"downhill"}),
        ("missing 1/N", " / len(y)", "", {"the length of the step"}),
        (
            "the 2 of the square kept",
            "learning_rate * X",
            "2 * learning_rate * X",
            {"the length of the step"},
        ),
        (
            "targets forgotten",
            "X @ theta - y",
            "X @ theta",
            {"along the gradient", "the length of the step"},
        ),
        ("number of weights for 1/N", "len(y)", "len(theta)", {"the length of the step"}),
    ],
    "hw1/q2": [
        ("exponential of the entries", "torch.linalg.matrix_exp", "torch.exp", "all"),
        (
            "sign of the exponent",
            "-t * X",
            "t * X",
            {"on the way", "the end, where not every target can be met"},
        ),
        ("the start forgotten", "X @ theta0 - y", "-y", {"the start", "on the way"}),
        (
            "an average for the sum",
            "X @ X.T",
            "X @ X.T / len(y)",
            {"on the way", "the end, where not every target can be met"},
        ),
        ("the loss's rate", "-t * X", "-2 * t * X", {"on the way"}),
    ],
    "hw1/q3": [
        (
            "the start forgotten",
            "theta0 + torch.linalg.pinv(X) @ (y - X @ theta0)",
            "torch.linalg.pinv(X) @ y",
            {"more weights than points, from any start"},
        ),
        (
            "the start kept whole",
            "(y - X @ theta0)",
            "y",
            {"more points than weights", "more weights than points, from any start"},
        ),
        (
            "normal equations",
            "torch.linalg.pinv(X)",
            "torch.linalg.inv(X.T @ X + 1e-300) @ X.T",
            {"more weights than points, from zero", "more weights than points, from any start"},
        ),
        ("transpose for the inverse", "torch.linalg.pinv(X)", "X.T", "all"),
    ],
    "hw1/q4": [
        ("1 for 2", "return 2 /", "return 1 /", {"steps a little above it diverge"}),
        ("singular value for eigenvalue", " ** 2", "", {"steps a little below it converge"}),
        (
            "limit of the averaged loss",
            "return 2 /",
            "return 2 * len(X) /",
            {"steps a little below it converge"},
        ),
        (
            "the fastest step for the largest",
            "torch.linalg.matrix_norm(X, ord=2) ** 2",
            "(torch.linalg.svdvals(X)[[0, -1]] ** 2).sum()",
            {"steps a little above it diverge"},
        ),
    ],
}
