"""Table 1 of Arora et al. (2019), first column of figures: CIFAR-10 by the CNTK, 2,000 images to train.

``python benchmarks/table1.py`` runs CNTK-V (flattening) at the published depths 3, 4, 6, 11, 21, minutes
on two cores; ``--readout gap --depths 3 4`` runs CNTK-GAP, hours. Both are resumable: their Gram matrices
are kept in ``--store``, and the same command goes on where it stopped. Accuracies, times and versions are
written to ``benchmarks/table1_<readout>.json``.

The settings are those of the authors' code: the table's depth is the number of convolutions plus one;
CNTK-V trains all layers, CNTK-GAP holds the first and the last fixed; channels are standardized with the
training set's mean and standard deviation; targets are 0.9 for the class and -0.1 for the others; no
ridge. What differs: the 1,000 test images are the official training set's numbers 2,000 to 2,999, not its
test set of 10,000, so an accuracy carries a binomial standard error of about 1.6 points.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import ntkbook
from ntkbook import data

N_TRAIN, N_TEST = 2000, 1000
PUBLISHED = {
    "flatten": {3: 40.94, 4: 42.54, 6: 43.43, 11: 43.42, 21: 42.53},
    "gap": {3: 49.71, 4: 51.06, 6: 51.73, 11: 51.92, 21: 52.22},
}


def load(folder: Path | None) -> tuple[Tensor, Tensor]:
    """Return standardized images (3000, 3, 32, 32) in float32, the training images first, and labels."""
    split = data.cifar10(N_TRAIN, N_TEST, dtype=torch.float32, folder=folder)
    return torch.cat([split.x_train, split.x_test]), torch.cat([split.y_train, split.y_test]).argmax(1)


def kernel(a: Tensor, b: Tensor, convolutions: tuple[int, ...], readout: str) -> Tensor:
    """Return (n, m, D): one kernel per depth, in one pass."""
    trained = "hidden" if readout == "gap" else "all"
    same = b if b is not a else None
    return ntkbook.cntk(a, same, depth=convolutions, readout=readout, trained=trained).movedim(0, 2)


def accuracy(train: Tensor, cross: Tensor, labels: Tensor) -> float:
    """Return the share of test images whose largest kernel-regression output is that of their class."""
    targets = torch.full((N_TRAIN, 10), -0.1, dtype=torch.float64)
    targets[torch.arange(N_TRAIN), labels[:N_TRAIN]] = 0.9
    outputs = cross.double() @ ntkbook.solve(train.double(), targets)
    return float((outputs.argmax(1) == labels[N_TRAIN:]).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readout", choices=["flatten", "gap"], default="flatten")
    parser.add_argument("--depths", type=int, nargs="+", help="the table's depths: convolutions plus one")
    parser.add_argument("--data", type=Path, help="the folder of CIFAR-10; default: NTKBOOK_DATA")
    parser.add_argument("--store", type=Path, default=Path("data"), help="a folder for the Gram matrices")
    parser.add_argument("--tile-size", type=int, help="default: 250 for flattening, 20 for pooling")
    options = parser.parse_args()
    depths = tuple(options.depths or ([3, 4, 6, 11, 21] if options.readout == "flatten" else [3, 4]))
    x, labels = load(options.data)
    tile_size = options.tile_size or (250 if options.readout == "flatten" else 20)
    torch.set_num_threads(os.cpu_count() or 1)

    start = time.perf_counter()
    name = f"table1_{options.readout}_{'_'.join(map(str, depths))}"
    grams = []
    for part, second in (("train", None), ("test", x[:N_TRAIN])):
        first = x[:N_TRAIN] if second is None else x[N_TRAIN:]
        compute = partial(kernel, convolutions=tuple(d - 1 for d in depths), readout=options.readout)
        store = options.store / f"{name}_{part}.zarr"
        grams.append(ntkbook.gram(compute, first, second, tile_size=tile_size, store=store))
    train, cross = (torch.as_tensor(g[:]) for g in grams)
    seconds = time.perf_counter() - start
    rows = []
    for k, depth in enumerate(depths):
        found = 100 * accuracy(train[..., k], cross[..., k], labels)
        published = PUBLISHED[options.readout].get(depth)
        rows.append({"depth": depth, "accuracy": round(found, 2), "published": published})
        print(
            f"depth {depth:2d}: {found:.1f} % +- 1.6; published, on the official "
            f"test set: {published or '-'} %"
        )
    result = {
        "readout": options.readout,
        "rows": rows,
        "test": "1,000 images of the official training set, binomial standard error 1.6 points",
        "seconds_of_this_run": round(seconds),
        "versions": {
            "ntkbook": ntkbook.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    path = Path(__file__).with_name(f"table1_{options.readout}.json")
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Gram matrices: {seconds:.0f} s in this run. Written to {path}")


if __name__ == "__main__":
    main()
