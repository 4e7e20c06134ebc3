"""Losses as pure functions of tensors; they compute in float32 (float64 stays), whatever the precision around them."""

from triptych.losses.classification import (
    binary_cross_entropy,
    distillation,
    multi_label_distillation,
    softmax_cross_entropy,
)
from triptych.losses.contrastive import contrastive, sigmoid_contrastive, softmax_contrastive

__all__ = [
    "binary_cross_entropy",
    "contrastive",
    "distillation",
    "multi_label_distillation",
    "sigmoid_contrastive",
    "softmax_contrastive",
    "softmax_cross_entropy",
]
