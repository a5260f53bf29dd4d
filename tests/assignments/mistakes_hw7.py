"""Typical wrong answers to assignment 7: what is replaced in the solution, and the criteria that it loses."""

_UP, _FACTOR = "up to a factor", "the factor"
_BB, _RR, _BR = "boundary with boundary", "interior with interior", "boundary with interior, on both sides"
_EQUAL, _DIFFERENT, _ORDER = "equal weights", "different weights", "slowest first"
_NTK, _MUP, _WIDE = "NTK parameterization", "muP", "a wide network"
_POWER, _BAR = "an exact power", "the error bar"

MISTAKES = {
    "hw7/q1": [
        ("missing 1/sqrt(n)", " / len(a) ** 0.5", "", {_FACTOR}),
        ("wrong factor of the second derivative", "-2 * phi", "-phi", {_FACTOR}),
        ("one weight for two", "w**2", "w", "all"),
        ("first derivative", "-2 * phi * (1 - phi**2)", "(1 - phi**2)", "all"),
    ],
    "hw7/q2": [
        ("biases forgotten", "g_w, g_b, g_a", "g_w, 0 * g_b, g_a", "all"),
        ("values at the interior points", "d = 2 if interior else 0", "d = 0", {_RR, _BR}),
        ("transpose forgotten", "return J @ J.T", "return (J @ J.T).triu()", "all"),
        ("missing 1/n", " / n**0.5", "", "all"),
        (
            "weight in front of x only once",
            "w**d * D(d + 1) * x[:, None] + d * w ** max(d - 1, 0) * D(d)",
            "w**d * D(d + 1) * x[:, None]",
            {_RR, _BR},
        ),
        ("boundary for interior", "rows(x_r, True)", "rows(x_r.flip(0), True)", {_RR, _BR}),
        (
            "sign of the residual",
            "J = torch.cat([rows(x_b, False), rows",
            "J = torch.cat([rows(x_b, False), -rows",
            {_BR},
        ),
    ],
    "hw7/q3": [
        ("weights forgotten", "root[:, None] * K * root", "K", {_EQUAL, _DIFFERENT}),
        ("weights squared", "weights.sqrt()", "weights", {_EQUAL, _DIFFERENT}),
        ("as if symmetric", "root[:, None] * K * root", "K * weights", {_DIFFERENT}),
        ("fastest first", "(root[:, None] * K * root)", "(root[:, None] * K * root).flip(0)", {_ORDER}),
    ],
    "hw7/q4": [
        ("learning rate not scaled in muP", "(n, n) if", "(n, 1) if", {_MUP, _WIDE}),
        ("1/sqrt(n) in both", "(n, n) if", "(n**0.5, 1) if", {_MUP, _WIDE}),
        ("1/n without sqrt in NTK", "else (n**0.5, 1)", "else (n, 1)", {_NTK}),
        ("uphill", "W - rate", "W + rate", {_NTK, _MUP}),
        ("absolute change", "/ torch.linalg.vector_norm(before)", "", {_NTK, _MUP, _WIDE}),
        ("targets forgotten", "(f - y)", "f", {_NTK, _MUP, _WIDE}),
    ],
    "hw7/q5": [
        ("no logarithm of the width", "x = widths.log()", "x = widths", {_POWER, _BAR}),
        ("scatter for the error of the mean", " / values.shape[1] ** 0.5", "", {_BAR}),
        ("logarithm to base 10 of one axis", "widths.log()", "widths.log10()", {_POWER, _BAR}),
        ("divided by the number of draws", "slopes.std()", "slopes.std(correction=0)", {_BAR}),
        ("slope inverted", "/ (x @ x)", "/ (x @ x) * -1", {_POWER}),
    ],
}
