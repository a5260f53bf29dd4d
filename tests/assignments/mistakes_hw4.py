"""Typical wrong answers to assignment 4: what is replaced in the solution, and the criteria that it loses."""

_START, _LINE, _SLOPE = "at the point of expansion", "a straight line in the weights", "the right slope"
_WAY, _SINGULAR = "on the way", "a kernel with eigenvalue 0"
_OUT, _HID, _MANY = "output weights after one step", "hidden weights after one step", "many steps"

MISTAKES = {
    "hw4/q1": [
        ("derivatives at the new weights", "phi = (X @ W0.T", "phi = (X @ W.T", {_LINE, _SLOPE}),
        ("first term forgotten", "return f0 + ", "return ", {_START}),
        ("hidden weights held fixed", "+ from_hidden", "", {_SLOPE}),
        (
            "the network itself",
            "return f0 + from_output + from_hidden",
            "return (X @ W.T / d**0.5).tanh() @ a / n**0.5",
            {_LINE, _SLOPE},
        ),
        (
            "missing 1/sqrt(n)",
            "from_output = phi @ (a - a0) / n**0.5",
            "from_output = phi @ (a - a0)",
            {_SLOPE},
        ),
    ],
    "hw4/q2": [
        ("start of the test outputs forgotten", "return f0_test - ", "return -", "all"),
        ("sign of the change", "return f0_test - ", "return f0_test + ", {_WAY, _SINGULAR}),
        (
            "an inverse where there is none",
            "phi = torch.where(values > 1e-12 * values[-1], phi, t)",
            "phi = -torch.expm1(-values * t) / values.clamp(min=0)",
            {_SINGULAR},
        ),
        (
            "what is left for what is learned",
            "-torch.expm1(-values * t)",
            "torch.exp(-values * t)",
            "all",
        ),
        ("train and test mixed", "@ (f0_train - y)", "@ (f0_test[[0, 1, 2, 0, 1]] - y)", {_WAY, _SINGULAR}),
        ("targets forgotten", "(f0_train - y)", "f0_train", {_WAY, _SINGULAR}),
    ],
    "hw4/q3": [
        ("rate of the residual", "torch.exp(-2 * values", "torch.exp(-values", "all"),
        ("the slowest mode alone", "share = (vectors.T @ y) ** 2", "share = torch.eye(len(y))[0]", "all"),
        ("equal shares", "share = (vectors.T @ y) ** 2", "share = torch.ones(len(y))", "all"),
        (
            "mean of the rates",
            "torch.exp(-2 * values * t)",
            "torch.exp(-2 * (share @ values / share.sum()) * t)",
            {"any target"},
        ),
        ("components for their squares", "(vectors.T @ y) ** 2", "(vectors.T @ y).abs()", {"any target"}),
    ],
    "hw4/q4": [
        ("uphill", "residual = phi @ a / n**0.5 - y", "residual = (y - phi @ a / n**0.5)", "all"),
        (
            "an average for the sum",
            "residual = phi @ a / n**0.5 - y",
            "residual = (phi @ a / n**0.5 - y) / len(y)",
            "all",
        ),
        ("hidden weights not trained", "W - learning_rate * dW", "W", {_HID, _MANY}),
        ("output weights not trained", "a - learning_rate * da", "a", {_OUT, _MANY}),
        ("missing 1/sqrt(n0)", "/ (n * d) ** 0.5", "/ n**0.5", {_HID, _MANY}),
        (
            "one weight after the other",
            "        dW = ",
            "        a = a - learning_rate * da; da = 0\n        dW = ",
            {_HID, _MANY},
        ),
        (
            "features of the start",
            "phi = (X @ W.T / d**0.5).tanh()",
            "W0 = W if _ == 0 else W0; phi = (X @ W0.T / d**0.5).tanh()",
            {_MANY},
        ),
    ],
}
