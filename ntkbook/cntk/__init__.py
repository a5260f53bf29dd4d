"""The convolutional neural tangent kernel of Arora et al. (2019), fused and fast.

The package attribute ``ntkbook.cntk`` is the function; the modules here are imported as
``from ntkbook.cntk import reference``. :mod:`~ntkbook.cntk.recursion` states what is computed,
:mod:`~ntkbook.cntk.reference` computes it in plain PyTorch, :mod:`~ntkbook.cntk.cpu` and
:mod:`~ntkbook.cntk.gpu` compute it fast.
"""

from ntkbook.cntk.kernel import CNTKPair, chain_kernels, cntk

__all__ = ["CNTKPair", "chain_kernels", "cntk"]
