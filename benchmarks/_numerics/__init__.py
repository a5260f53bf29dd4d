"""What ``benchmarks/numerics.py`` is made of: inputs by regime, the truth in high precision, measurements."""
