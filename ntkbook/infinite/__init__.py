"""The exact kernels of a module as its width goes to infinity."""
