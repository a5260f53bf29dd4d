"""Sizes that come out of a NumPy array are sizes."""

import numpy as np

from ntkbook.nn.windows import as_tuple


def test_numpy_integers_are_sizes():
    sizes = as_tuple("image_size", (np.int64(5), np.int64(7)), 2)
    assert sizes == (5, 7)
    assert all(type(size) is int for size in sizes)
    assert as_tuple("kernel_size", np.int64(3), 2) == (3, 3)
