"""Activation checkpointing: what the backward pass needs of a block is computed again, in place of being kept (Chen et
al., 2016, "Training Deep Nets with Sublinear Memory Cost").
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Recompute = Callable[..., Tensor]
"""Calls a function with its arguments, keeping less of it than autograd would."""

_PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.linear.default,
    *([torch.ops.mkldnn._linear_pointwise.default] if hasattr(torch.ops.mkldnn, "_linear_pointwise") else []),
}
_ATTENTION = {
    operator.default
    for name in (
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_flash_attention_forward",
        "_efficient_attention_forward",
    )
    if (operator := getattr(torch.ops.aten, name, None)) is not None
}


def whole(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Keeps the arguments, and computes all else again: one more forward pass for a small part of the memory."""
    return checkpoint(function, *arguments, use_reentrant=False)


def selective(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Keeps what is dear to compute, too: attention and every second matrix product (in a block the one before the
    attention and the one before the activation function), as torchtitan does. What is computed again costs little.
    """
    return checkpoint(function, *arguments, use_reentrant=False, context_fn=_contexts)


def _contexts() -> Any:
    # Forwards and again each count for themselves.
    counts = {False: 0, True: 0}
    return create_selective_checkpoint_contexts(partial(_policy, counts))


def _policy(counts: dict[bool, int], context: Any, operator: Any, *arguments: Any, **named: Any) -> CheckpointPolicy:
    if operator in _ATTENTION:
        return CheckpointPolicy.MUST_SAVE
    if operator in _PRODUCTS:
        counts[context.is_recompute] += 1
        if counts[context.is_recompute] % 2:
            return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
