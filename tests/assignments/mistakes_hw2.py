"""Typical wrong answers to assignment 2: what is replaced in the solution, and the criteria that it loses."""

MISTAKES = {
    "hw2/q1": [
        ("noise forgotten", "noise *", "0 *", {"the mean with noise", "the covariance"}),
        (
            "noise added to the test points too",
            "return mean, k_test",
            "return mean, noise * torch.eye(len(k_test)) + k_test",
            {"the covariance"},
        ),
        ("wrong sign of the covariance", "k_test - gain", "k_test + gain", {"the covariance"}),
        (
            "standard deviation for variance",
            "noise *",
            "noise**2 *",
            {"the mean with noise", "the covariance"},
        ),
        ("not inverted", "torch.linalg.inv(observed)", "observed", "all"),
    ],
    "hw2/q2": [
        (
            "covariance for correlation",
            "c / scale).clamp",
            "c).clamp",
            {"other variances", "the two ends of the angle"},
        ),
        ("not clamped", ".clamp(-1, 1)", "", {"the two ends of the angle"}),
        ("supplement of the angle", "math.pi - angle", "angle", "all"),
        ("1/pi for 1/2pi", "2 * math.pi", "math.pi", "all"),
        (
            "product of variances for its root",
            "(q1 * q2).sqrt()",
            "q1 * q2",
            {"other variances", "the two ends of the angle"},
        ),
    ],
    "hw2/q3": [
        ("missing 1/n0", " / x1.shape[1]", "", "all"),
        ("standard deviation for variance", "b_std**2", "b_std", {"biases"}),
        ("one layer too many", "range(depth - 1)", "range(depth)", "all"),
        ("bias in the first layer only", "relu_moment(*qs, c) + b", "relu_moment(*qs, c)", {"biases"}),
        (
            "w_std not squared in the hidden layers",
            "w_std**2 * relu_moment(*qs",
            "w_std * relu_moment(*qs",
            {"several layers", "biases"},
        ),
    ],
    "hw2/q4": [
        ("missing 1/sqrt(n)", " / width) ** 0.5", ") ** 0.5", {"the variance of each output"}),
        ("missing 1/sqrt(n0)", "2 / x.shape[1]", "2.0", {"the variance of each output"}),
        (
            "new weights for every point",
            "W @ x.T",
            "(torch.randn(n_networks, len(x), width, x.shape[1]) * x[:, None]).sum(-1).mT * (2 / "
            "x.shape[1]) ** 0.5",
            {"the covariance between points"},
        ),
        (
            "the limit instead of a network",
            "hidden = (W @ x.T).relu()",
            "hidden = torch.linalg.cholesky(nngp(x, x, 2, 2**0.5, 0) * width / 2).expand(n_networks, -1, -1);"
            " a = torch.randn(n_networks, len(x)); hidden = hidden.mT",
            {"networks of width 1"},
        ),
    ],
}
