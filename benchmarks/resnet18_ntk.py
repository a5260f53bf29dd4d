"""The NTK of a ResNet-18 on 32 images of CIFAR's size, all 10 x 10 output blocks, within 4 GB.

Run ``python benchmarks/resnet18_ntk.py``. The network has 11.2 million parameters, so the Jacobian alone
would take 14.3 GB in float32. Printed: the plan, the time, the peak of the resident set, and what the kernel
looks like.
"""

from __future__ import annotations

import resource
import time

import torch
from torch import Tensor, nn

import ntkbook


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch normalization, and a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, c_in, H, W) to (N, c_out, H / stride, W / stride)."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


def resnet18(n_classes: int = 10) -> nn.Module:
    """Build the variant for images of 32 x 32: a 3 x 3 stem and no pooling after it."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 3, 1, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
    ]
    c_in = 64
    for c_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(c_in, c_out, stride), Block(c_out, c_out, 1)]
        c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, n_classes))


def main() -> None:
    torch.manual_seed(0)
    net, x = resnet18(), torch.randn(32, 3, 32, 32)
    with torch.no_grad():
        net(x)  # train mode: gives batch normalization statistics of its own
    net.eval()
    start = time.perf_counter()
    kernel = ntkbook.empirical_ntk(net, x, memory_limit=3 * 2**30, explain=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    n, k = len(x), kernel.shape[2]
    eigenvalues = torch.linalg.eigvalsh(kernel.transpose(1, 2).reshape(n * k, n * k).double())
    print(f"kernel {tuple(kernel.shape)} in {seconds:.1f} s, peak memory of the whole process {peak:.2f} GiB")
    print(f"eigenvalues from {float(eigenvalues[0]):.3g} to {float(eigenvalues[-1]):.3g}")


if __name__ == "__main__":
    main()
