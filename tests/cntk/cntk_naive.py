"""The CNTK as Arora et al. print it, on whole 4-D arrays with arccos: slow and independent."""

import numpy as np


def patch_sum(a, q):
    """Sum a[i+s, j+t, k+s, l+t] over the q x q offsets (s, t), zero outside."""
    r = q // 2
    p_rows, p_columns = a.shape[:2]
    padded = np.pad(a, r)
    return sum(
        padded[s : s + p_rows, t : t + p_columns, s : s + p_rows, t : t + p_columns]
        for s in range(q)
        for t in range(q)
    )


def relu_pair(sigma, v1, v2, same):
    """E[relu relu] and E[relu' relu'] for every pair of positions; 0 where a variance is 0."""
    norm = np.sqrt(np.multiply.outer(v1, v2))
    rho = np.clip(np.divide(sigma, norm, out=np.zeros_like(sigma), where=norm > 0), -1, 1)
    if same:
        np.einsum("ijij->ij", rho)[...] = 1.0
    angle = np.arccos(rho)
    alive = norm > 0
    first = norm * (np.sin(angle) + (np.pi - angle) * rho) / (2 * np.pi)
    return first * alive, (np.pi - angle) / (2 * np.pi) * alive


def naive_cntk(
    x, z, depth, readout="gap", q=3, convention="arora", w_std=2**0.5, b_std=0.0, trained="all", nngp=False
):
    """The kernel of one pair of images (C, P, Q), float64."""
    x, z = np.asarray(x, np.float64), np.asarray(z, np.float64)
    arora = convention == "arora"
    factor = 2 / q**2 if arora else w_std**2 / q**2
    first = 1.0 if arora else w_std**2 / (len(x) * q**2)
    bias = 0.0 if arora else b_std**2

    def sigma0(a, b):
        return first * patch_sum(np.einsum("cij,ckl->ijkl", a, b), q) + bias

    same = np.array_equal(x, z)
    sxx, szz, s = sigma0(x, x), sigma0(z, z), sigma0(x, z)
    theta = s if trained == "all" else 0 * s
    for layer in range(1, depth + 1):
        v1, v2 = np.einsum("ijij->ij", sxx), np.einsum("ijij->ij", szz)
        k, k_dot = relu_pair(s, v1, v2, same)
        if layer == depth:
            break
        sxx = factor * patch_sum(relu_pair(sxx, v1, v1, True)[0], q) + bias
        szz = factor * patch_sum(relu_pair(szz, v2, v2, True)[0], q) + bias
        s = factor * patch_sum(k, q) + bias
        theta = s + factor * patch_sum(k_dot * theta, q)
    pick = np.mean if readout == "gap" else lambda a: np.einsum("ijij->", a)
    weight = factor if arora else w_std**2
    if not arora and readout == "flatten":
        weight /= x[0].size
    kernel = weight * pick(k) + bias
    if nngp:
        return kernel
    return weight * pick(k_dot * theta) + (kernel if trained == "all" else 0.0)


def naive_gram(x1, x2, *args, **kwargs):
    return np.array([[naive_cntk(a, b, *args, **kwargs) for b in x2] for a in x1])
