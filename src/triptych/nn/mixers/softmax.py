"""Softmax self-attention: one fused projection, PyTorch's fused attention, one projection back."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.nn.attention import attend, rotate
from triptych.nn.layout import SequenceLayout
from triptych.nn.linear import FusedLinear, Linear
from triptych.nn.mixers.base import Abilities, Mixer


class KeyValueCache(NamedTuple):
    """Keys (rotated already) and values of the tokens so far, each ``(batch, tokens, kv_heads, head_dim)``."""

    key: Tensor
    value: Tensor


class SoftmaxMixer(Mixer):
    """Multi-head self-attention (Vaswani et al., 2017), with grouped key-value heads (Ainslie et al., 2023),
    normalised queries and keys (Henry et al., 2020; Dehghani et al., 2023) and rotary positions where the layout
    brings them. Without ``key_bias`` only queries and values have a bias (Bao et al., 2021, "BEiT"; EVA-02).

    Direction, padding and packing come from the layout. Raises ValueError at construction where ``heads`` do not divide
    ``dim``, or ``kv_heads`` do not divide ``heads``.
    """

    abilities: ClassVar[Abilities] = Abilities(causal=True, bidirectional=True, packed=True, incremental=True)

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None = None,
        qkv_bias: bool = True,
        key_bias: bool = True,
        out_bias: bool = True,
        qk_norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"dim={dim} is no multiple of heads={heads}; choose a number of heads that divides dim.")
        kv_heads = heads if kv_heads is None else kv_heads
        if kv_heads < 1 or heads % kv_heads:
            raise ValueError(f"heads={heads} is no multiple of kv_heads={kv_heads}; choose kv_heads that divide heads.")
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.rotary_dim: int | None = self.head_dim
        kv_dim = kv_heads * self.head_dim
        self.qkv = FusedLinear(dim, (dim, kv_dim, kv_dim), [qkv_bias, qkv_bias and key_bias, qkv_bias])
        self.query_norm = qk_norm(self.head_dim) if qk_norm else None
        self.key_norm = qk_norm(self.head_dim) if qk_norm else None
        self.out = Linear(dim, dim, out_bias)

    def empty_cache(self, batch: int) -> KeyValueCache:
        """The state to start incremental use from: no tokens yet."""
        empty = self.out.weight.new_empty(batch, 0, self.kv_heads, self.head_dim)
        return KeyValueCache(empty, empty)

    def forward(
        self, x: Float[Tensor, "*batch dim"], layout: SequenceLayout, state: KeyValueCache | None = None
    ) -> tuple[Float[Tensor, "*batch dim"], KeyValueCache | None]:
        query, key, value = (part.unflatten(-1, (-1, self.head_dim)) for part in self.qkv.parts(x))
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query).type_as(value), self.key_norm(key).type_as(value)
        if layout.rotary is not None:
            query, key = rotate(query, layout.rotary), rotate(key, layout.rotary)
        if state is not None:
            key, value = torch.cat([state.key.type_as(key), key], 1), torch.cat([state.value.type_as(value), value], 1)
            state = KeyValueCache(key, value)
        return self.out(attend(query, key, value, layout).flatten(-2)), state
