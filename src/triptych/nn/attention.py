"""Scaled dot-product attention over a `SequenceLayout`, by whichever road is fastest, with one result."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right

from triptych.nn.layout import Rotary, SequenceLayout
from triptych.nn.watch import watching


def rotate(x: Float[Tensor, "*batch tokens heads dim"], rotary: Rotary) -> Float[Tensor, "*batch tokens heads dim"]:
    """Turns the pairs ``(x[2i], x[2i + 1])`` of each head by their token's angles (Su et al., 2021).

    A turn is a product of complex numbers, and neighbours lie in memory as one: PyTorch's single kernel for it takes a
    third of the time of the four products and two sums on a CPU.
    """
    cos, sin = rotary.cos.unsqueeze(-2), rotary.sin.unsqueeze(-2)
    pairs = x.unflatten(-1, (-1, 2))
    if x.dtype == cos.dtype == torch.float32 and x.device.type == "cpu" and not torch.compiler.is_compiling():
        if pairs.stride(-1) != 1 or pairs.storage_offset() % 2 or any(step % 2 for step in pairs.stride()[:-1]):
            pairs = pairs.contiguous()  # complex numbers lie at even places
        return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin)).flatten(-2)
    first, second = pairs.unbind(-1)
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(-2).type_as(x)


def attend(
    query: Float[Tensor, "*batch tokens heads head_dim"],
    key: Float[Tensor, "*batch keys kv_heads head_dim"],
    value: Float[Tensor, "*batch keys kv_heads head_dim"],
    layout: SequenceLayout,
) -> Float[Tensor, "*batch tokens heads head_dim"]:
    """Each query's mean of the values, weighted by softmax(query . key / sqrt(head_dim)) over its own sequence's
    keys.

    Padded keys count for nothing; the outputs at padded queries are finite and meaningless. A packed batch reaches
    variable-length flash attention on CUDA in half precision; elsewhere each group of sequences of one length runs as
    one dense call.
    """
    if not layout.packed:
        return attend_rows(query, key, value, layout.causal, layout.key_mask)
    if layout.sizes is None:
        shape = (layout.batch, layout.max_length)
        q, k, v = (x.unflatten(0, shape) for x in (query, key, value))
        return attend_rows(q, k, v, layout.causal).flatten(0, 1)
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and watching() is None:
        return _variable_length(query, key, value, layout)
    # One gather and one split for all groups: the gradient of a split is one concatenation, that of many slices a sum.
    counts = [len(rows) for _, rows in layout.groups]
    parts = zip(*(_in_order(x, layout.order).split(counts) for x in (query, key, value)), strict=True)
    outputs = []
    for (length, _), part in zip(layout.groups, parts, strict=True):
        q, k, v = (x.unflatten(0, (-1, length)) for x in part)
        outputs.append(attend_rows(q, k, v, layout.causal).flatten(0, 1))
    return _in_order(torch.cat(outputs), layout.ungroup)


def _in_order(x: Tensor, order: Tensor | None) -> Tensor:
    return x if order is None else x.index_select(0, order)


def attend_rows(
    query: Float[Tensor, "batch tokens heads head_dim"],
    key: Float[Tensor, "batch keys kv_heads head_dim"],
    value: Float[Tensor, "batch keys kv_heads head_dim"],
    causal: bool = False,
    key_mask: Bool[Tensor, "batch keys"] | None = None,
) -> Float[Tensor, "batch tokens heads head_dim"]:
    """Attention between rows of tokens, without a layout; the mask is True at real keys.

    Token-major in and out; PyTorch's kernels want the heads before the tokens and return a view of token-major memory.
    """
    watch = watching()
    if watch is not None:
        return watch.attend(query, key, value, causal, key_mask)
    grouped = query.shape[-2] != key.shape[-2]
    mask = None
    if causal and query.shape[1] != key.shape[1]:
        mask = causal_lower_right(query.shape[1], key.shape[1])
    elif key_mask is not None and not causal:
        # Under causality the padding, which comes last, is out of every real token's sight already.
        mask = key_mask[:, None, None, :]
    out = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=mask,
        is_causal=causal and mask is None,
        enable_gqa=grouped,
    )
    return out.transpose(1, 2)


def _variable_length(query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # CUDA only, and slow to import

    repeats = query.shape[-2] // key.shape[-2]
    if repeats > 1:
        key, value = (x.repeat_interleave(repeats, dim=-2) for x in (key, value))
    window = (-1, 0) if layout.causal else (-1, -1)
    starts, longest = layout.cu_seqlens, layout.max_length
    assert starts is not None
    out = varlen_attn(query, key, value, starts, starts, longest, longest, window_size=window)
    assert isinstance(out, Tensor)  # a tuple only where the log-sum-exp is asked for
    return out
