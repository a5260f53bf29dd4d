"""Neural tangent kernels in PyTorch: finite width, infinite width, and training dynamics."""

__version__ = "0.1.0"
