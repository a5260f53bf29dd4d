"""Typical wrong answers to assignment 5: what is replaced in the solution, and the criteria that it loses."""

_INSIDE, _PAIRS, _BORDER = "equal positions inside the image", "two different positions", "the border"
_BOTH, _DERIVATIVES, _BLACK = "two activations", "two derivatives", "a black pixel"
_ONE, _SEVERAL, _GAP = "one convolution", "several convolutions", "average pooling"
_OWN, _NEW = "training points keep their labels", "new points"

MISTAKES = {
    "hw5/q1": [
        (
            "wrapped around at the upper edge",
            "1:-1, 1:-1, 1:-1, 1:-1] = A",
            "1:-1, 1:-1, 1:-1, 1:-1] = A; padded[0, 1:-1, 0, 1:-1] = A[-1, :, -1, :]",
            {_BORDER},
        ),
        (
            "equal positions only",
            "return total",
            "return total * torch.eye(P * Q).reshape(A.shape)",
            {_PAIRS, _BORDER},
        ),
        ("average for the sum", "return total", "return total / 9", "all"),
        ("opposite offsets", "c + a : c + a + P, c + b", "c - a : c - a + P, c - b", "all"),
        ("a cross for a square", "for b in (-1, 0, 1)", "for b in ((-1, 0, 1) if a == 0 else (0,))", "all"),
    ],
    "hw5/q2": [
        (
            "missing 2 of ReLU",
            "return 2 * K / 9, 2 * K_dot / 9",
            "return K / 9, K_dot / 9",
            {_BOTH, _DERIVATIVES},
        ),
        ("missing 1/9", "return 2 * K / 9, 2 * K_dot / 9", "return 2 * K, 2 * K_dot", {_BOTH, _DERIVATIVES}),
        (
            "derivative for the activation",
            "return 2 * K / 9, 2 * K_dot / 9",
            "return 2 * K_dot / 9, 2 * K_dot / 9",
            {_BOTH},
        ),
        (
            "activation for the derivative",
            "return 2 * K / 9, 2 * K_dot / 9",
            "return 2 * K / 9, 2 * K / 9",
            {_DERIVATIVES},
        ),
        ("NaN at a black pixel", "torch.where(scale > 0, S / scale, -1.0)", "S / scale", {_BLACK}),
        (
            "one for a black pixel",
            "torch.where(scale > 0, S / scale, -1.0)",
            "torch.where(scale > 0, S / scale, 1.0)",
            {_BLACK},
        ),
    ],
    "hw5/q3": [
        ("sum over all pairs", "T.mean()", "T.sum()", {_GAP}),
        ("trace for the pooling", "T.mean()", "T.reshape(9, 9).trace()", {_GAP}),
        ("kernel starts at 0", "T = S12", "T = 0 * S12", "all"),
        ("a patch sum too many", "if h < depth - 1:", "if True:", "all"),
        ("derivative of the kernel forgotten", "T = K_dot * T + K", "T = K", "all"),
        ("K not added", "T = K_dot * T + K", "T = K_dot * T", "all"),
        ("one image's variances for both", "relu_layer(S12, v1, v2)", "relu_layer(S12, v1, v1)", "all"),
        (
            "K not patch summed on the diagonal",
            "S11, S22, S12 = patch_sum(K11), patch_sum(K22), patch_sum(K)",
            "S12 = patch_sum(K)",
            {_SEVERAL},
        ),
        ("T not patch summed", "T = patch_sum(T)", "T = T", {_SEVERAL}),
    ],
    "hw5/q4": [
        (
            "train and test mixed",
            "k_test_train @ weights",
            "(k_train @ weights)[: len(k_test_train)]",
            {_NEW},
        ),
        ("smallest output", "argmax", "argmin", "all"),
        ("not solved", "torch.linalg.solve(k_train, targets)", "targets", {_NEW}),
        ("scores for labels", ".argmax(1)", ".amax(1)", "all"),
        ("arguments swapped", "k_test_train @", "k_test_train.T @", {_NEW}),
    ],
}
