"""Layers with an explicit parameterization, as ordinary ``torch.nn.Module``s."""
