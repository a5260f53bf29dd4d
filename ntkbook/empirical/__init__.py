"""Kernels of a module at its own width and weights.

``rules.register_rule`` teaches the structured route a new layer type.
"""
