"""Compare the Triton kernel with the reference: on a GPU, or interpreted (TRITON_INTERPRET=1)."""

import torch
from cntk_engines import pictures, recursion_of, run_engine

from ntkbook.cntk import gpu, reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

CASES = [
    ((2, 4, 5), "gap", (1, 3), {}),
    ((3, 3, 5), "gap", (4,), {"convention": "ntk", "w_std": 1.3, "b_std": 0.4, "trained": "hidden"}),
    ((1, 6, 4), "flatten", (1, 2, 5), {"convention": "ntk", "b_std": 0.2}),
    ((1, 1, 1), "gap", (3,), {}),
    ((1, 2, 32), "flatten", (2,), {}),
    ((1, 2, 3), "flatten", (30,), {"convention": "ntk"}),
]


def compare_with_the_reference():
    for shape, readout, depths, options in CASES:
        x1, x2 = pictures(2, *shape, dtype=torch.float32), pictures(2, *shape, seed=1, dtype=torch.float32)
        x1[0, :, 0] = 0  # a black border
        x2[1] = x1[0]  # an equal pair
        x1[1] = 0  # a black image
        recursion = recursion_of(x1, depths, readout, **options)
        exact = run_engine(reference.block_sums, x1.double(), x2.double(), recursion)
        ours = run_engine(gpu.block_sums, x1.to(DEVICE), x2.to(DEVICE), recursion)
        for name, a, b in zip(("nngp", "ntk"), ours, exact, strict=True):
            assert torch.isfinite(a).all(), (shape, name)
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7 * b.abs().max().item())
        print("ok", shape, readout)


def compare_blocks_of_the_symmetric_case():
    x = pictures(5, 1, 2, 4, dtype=torch.float32)
    same = torch.arange(5)
    recursion = recursion_of(x, (2,))
    exact = run_engine(reference.block_sums, x.double(), x.double(), recursion_of(x, (2,)))[1][0]
    gpu._PARTIAL_BYTES = 4_000  # several blocks
    for rows, columns, sums in gpu.block_sums(
        x.to(DEVICE), x.to(DEVICE), same, same, recursion, symmetric=True
    ):
        upper = recursion.finish(sums)[1][0].cpu()
        upper, wanted = (a.triu() if rows == columns else a for a in (upper, exact[rows, columns]))
        torch.testing.assert_close(upper, wanted, rtol=1e-5, atol=0)
    print("ok symmetric")


if __name__ == "__main__":
    compare_with_the_reference()
    compare_blocks_of_the_symmetric_case()
