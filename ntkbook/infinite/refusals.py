"""What has no infinite-width kernel that is exact, and what to use instead."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F

from ntkbook.infinite.registry import register_refusal

_MAX = (
    "the maximum over positions of a Gaussian process has no closed-form covariance; use "
    "ntkbook.nn.AvgPool2d, or a stride in the convolution before it"
)
_BATCH = (
    "its statistics over the batch make outputs depend on the other inputs, and its running statistics are "
    "no function of the input; use torch.nn.LayerNorm(..., elementwise_affine=False)"
)
_GROUP = "its groups of channels have no rule; use torch.nn.LayerNorm(..., elementwise_affine=False)"
_SOFTMAX = "a softmax over channels mixes infinitely many; it has a rule inside ntkbook.nn.SelfAttention only"
_TRAINED = "it has trained parameters of its own, which no rule covers; use an activation with fixed ones"
_RANDOM = "its noise has no rule; use torch.nn.Dropout"
_RECURRENT = (
    "it uses its weights at every step (tied weights), and its gates are correlated; unroll with "
    "ntkbook.nn.Linear layers of their own"
)
_ATTENTION = "torch's attention has no infinite-width scaling; use ntkbook.nn.SelfAttention"
_LOOKUP = (
    "it looks up rows of a table, so that its input is no feature; pass one-hot inputs to ntkbook.nn.Linear"
)
_DIMENSIONS = "only Conv1d, Conv2d and ConvTranspose2d have a rule; reshape the input, or register_rule it"
_SAMPLING = "it moves or resamples positions, which has no rule; use ntkbook.nn.ConvTranspose2d or a stride"
_PAIRS = (
    "it multiplies features with features, which are correlated; use ntkbook.nn.SelfAttention or Aggregate"
)
_FUNCTIONAL = "it takes weights as arguments, whose distribution is unknown; use the layer of ntkbook.nn"
_GATE = "it splits the channels; compute both halves by layers of their own and multiply them"
_COMPARISON = "it depends on the values of features, which are random; make the choice fixed"
_INDEX = "picking entries has no rule; pool or flatten instead"
_STATISTIC = "a statistic over features has no rule; use torch.nn.LayerNorm(..., elementwise_affine=False)"
_ATTRIBUTE = "this attribute of features has no rule; use transpose or permute to reorder dimensions"
_STACK = "it adds a dimension, which has no rule; use torch.cat along one that is there"
_CONSTANT = "features made of constants have no covariance; use a bias in a weight layer"

_REASONS: tuple[tuple[str, tuple[object, ...]], ...] = (
    (
        _MAX,
        (
            torch.nn.MaxPool1d,
            torch.nn.MaxPool2d,
            torch.nn.MaxPool3d,
            torch.nn.AdaptiveMaxPool1d,
            torch.nn.AdaptiveMaxPool2d,
            torch.nn.AdaptiveMaxPool3d,
            torch.nn.FractionalMaxPool2d,
            torch.nn.LPPool1d,
            torch.nn.LPPool2d,
            F.max_pool1d,
            F.max_pool2d,
            torch.max_pool2d,
            torch.max_pool1d,
            torch.max,
            torch.amax,
            torch.min,
            torch.maximum,
            torch.minimum,
            "max",
            "amax",
            "min",
        ),
    ),
    (
        _BATCH,
        (
            torch.nn.BatchNorm1d,
            torch.nn.BatchNorm2d,
            torch.nn.BatchNorm3d,
            torch.nn.SyncBatchNorm,
            F.batch_norm,
        ),
    ),
    (
        _GROUP,
        (
            torch.nn.GroupNorm,
            torch.nn.InstanceNorm1d,
            torch.nn.InstanceNorm2d,
            torch.nn.LocalResponseNorm,
            torch.nn.RMSNorm,
            F.group_norm,
            F.instance_norm,
        ),
    ),
    (
        _SOFTMAX,
        (
            torch.nn.Softmax,
            torch.nn.LogSoftmax,
            torch.nn.Softmin,
            torch.nn.Softmax2d,
            torch.softmax,
            F.softmax,
            F.log_softmax,
            torch.log_softmax,
            "softmax",
            "log_softmax",
        ),
    ),
    (_TRAINED, (torch.nn.PReLU,)),
    (
        _RANDOM,
        (
            torch.nn.RReLU,
            torch.nn.Dropout1d,
            torch.nn.Dropout2d,
            torch.nn.Dropout3d,
            torch.nn.AlphaDropout,
            torch.nn.FeatureAlphaDropout,
            F.dropout2d,
            F.alpha_dropout,
            torch.rand_like,
            torch.randn_like,
            torch.bernoulli,
        ),
    ),
    (
        _RECURRENT,
        (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU, torch.nn.RNNCell, torch.nn.LSTMCell, torch.nn.GRUCell),
    ),
    (
        _ATTENTION,
        (
            torch.nn.MultiheadAttention,
            torch.nn.TransformerEncoderLayer,
            torch.nn.TransformerDecoderLayer,
            torch.nn.Transformer,
            F.scaled_dot_product_attention,
        ),
    ),
    (_LOOKUP, (torch.nn.Embedding, torch.nn.EmbeddingBag, F.embedding)),
    (_DIMENSIONS, (torch.nn.Conv3d, torch.nn.ConvTranspose1d, torch.nn.ConvTranspose3d, torch.nn.AvgPool3d)),
    (
        _SAMPLING,
        (
            torch.nn.Upsample,
            torch.nn.PixelShuffle,
            torch.nn.Unfold,
            torch.nn.Fold,
            torch.nn.ReflectionPad2d,
            torch.nn.ReplicationPad2d,
            F.interpolate,
            F.pixel_shuffle,
            torch.roll,
            torch.flip,
        ),
    ),
    (
        _PAIRS,
        (
            torch.nn.Bilinear,
            torch.matmul,
            operator.matmul,
            torch.bmm,
            torch.einsum,
            torch.outer,
            "matmul",
            "bmm",
        ),
    ),
    (_FUNCTIONAL, (F.linear, F.conv1d, F.conv2d, F.conv_transpose2d, F.bilinear, torch.addmm)),
    (_GATE, (torch.nn.GLU, F.glu, torch.chunk, torch.split, "chunk", "split")),
    (
        _COMPARISON,
        (
            operator.gt,
            operator.lt,
            operator.ge,
            operator.le,
            torch.where,
            torch.masked_fill,
            "masked_fill",
            torch.sort,
        ),
    ),
    (
        _INDEX,
        (operator.getitem, torch.select, torch.gather, torch.index_select, torch.topk, "select", "gather"),
    ),
    (
        _STATISTIC,
        (
            torch.norm,
            F.normalize,
            torch.var,
            torch.std,
            torch.cumsum,
            torch.prod,
            "norm",
            "var",
            "std",
            "cumsum",
        ),
    ),
    (_ATTRIBUTE, (getattr,)),
    (_CONSTANT, (torch.zeros_like, torch.ones_like, torch.full_like)),
    (_STACK, (torch.stack,)),
)

for _reason, _targets in _REASONS:
    register_refusal(*_targets, reason=_reason)  # type: ignore[arg-type]
