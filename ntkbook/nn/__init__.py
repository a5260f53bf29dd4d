"""Layers with an explicit parameterization, as ordinary ``torch.nn.Module`` objects."""

from ntkbook.nn._parametric import ParametricLayer
from ntkbook.nn.activations import (
    ABReLU,
    Abs,
    Cos,
    Elementwise,
    Erf,
    Exp,
    Gabor,
    Gaussian,
    Hermite,
    Monomial,
    Polynomial,
    Rbf,
    RectifiedMonomial,
    SigmoidLike,
    Sign,
    Sin,
)
from ntkbook.nn.aggregate import Aggregate
from ntkbook.nn.attention import SelfAttention
from ntkbook.nn.convolution import Conv1d, Conv2d, ConvTranspose2d, LocallyConnected2d
from ntkbook.nn.linear import Linear
from ntkbook.nn.networks import AttentionBlock, AttentionNetwork, ResidualBlock, cnn, mlp, resnet
from ntkbook.nn.pooling import AvgPool2d, GlobalAvgPool2d, GlobalSumPool2d, SumPool2d

__all__ = [
    "ABReLU",
    "Abs",
    "Aggregate",
    "AttentionBlock",
    "AttentionNetwork",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Cos",
    "Elementwise",
    "Erf",
    "Exp",
    "Gabor",
    "Gaussian",
    "GlobalAvgPool2d",
    "GlobalSumPool2d",
    "Hermite",
    "Linear",
    "LocallyConnected2d",
    "Monomial",
    "ParametricLayer",
    "Polynomial",
    "Rbf",
    "RectifiedMonomial",
    "ResidualBlock",
    "SelfAttention",
    "SigmoidLike",
    "Sign",
    "Sin",
    "SumPool2d",
    "cnn",
    "mlp",
    "resnet",
]
