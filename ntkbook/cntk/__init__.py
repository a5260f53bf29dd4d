"""The convolutional neural tangent kernel of Arora et al. (2019), fused and fast."""
