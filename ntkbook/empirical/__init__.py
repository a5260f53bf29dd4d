"""Kernels of a module at its own width and weights."""
