"""Softmax attention that can be looked at: the weights that PyTorch's fused kernels never write down.

While an `AttentionWatch` is entered, the modules it is told of compute ``softmax(query . key / sqrt(head_dim))``
explicitly and hand it over; all others, and everybody outside of the block, keep the fused kernels.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from triptych.nn.layout import SequenceLayout


class Seen(NamedTuple):
    """What one module attended to in one forward pass: the layout of the batch, and the weights ``(sequences, heads,
    queries, keys)`` of each dense call, in order. A packed layout makes one call for each of its `groups`.
    """

    layout: SequenceLayout
    weights: list[Tensor]


Keep = Callable[[str, Tensor], Tensor]
"""From a module's name and its weights to what is kept of them."""


def keep_all(name: str, weights: Tensor) -> Tensor:
    """Everything."""
    return weights


class AttentionWatch:
    """A context in which `modules` (by a name of the caller's choice) compute their attention explicitly.

    ``seen`` holds what each has done in the first forward pass in the block. Passes after that are explicit too, but
    not kept: activation checkpointing runs a block again in the backward pass and must find the same operations, so a
    backward pass belongs into the block. ``keep`` chooses what is kept of the weights, at once, so that the rest need
    not be held. With ``gradients``, the weights are part of the graph even where every parameter is frozen.

    One watch at a time in a process.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        keep: Keep = keep_all,
        gradients: bool = False,
    ) -> None:
        self.seen: dict[str, Seen] = {}
        self._modules, self._keep, self._gradients = modules, keep, gradients
        self._current: str | None = None
        self._inside = False
        self._hooks: list[Any] = []

    def __enter__(self) -> "AttentionWatch":
        global _watch
        if _watch is not None:
            raise RuntimeError("an AttentionWatch is entered already; leave it first")
        for name, module in self._modules.items():
            self._hooks.append(module.register_forward_pre_hook(self._entering(name), with_kwargs=True))
            self._hooks.append(module.register_forward_hook(self._leaving, always_call=True))
        _watch = self
        return self

    def __exit__(self, *error: object) -> None:
        global _watch
        _watch = None
        for hook in self._hooks:
            hook.remove()

    @property
    def inside(self) -> bool:
        """Whether a watched module is at work."""
        return self._inside

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, causal: bool, key_mask: Tensor | None
    ) -> Float[Tensor, "batch tokens heads head_dim"]:
        """The explicit road of `triptych.nn.attention.attend_rows`, which is kept."""
        weights = softmax_weights(query, key, causal, key_mask)
        if self._gradients and not weights.requires_grad:
            weights.requires_grad_()
        if self._current is not None:
            self.seen[self._current].weights.append(self._keep(self._current, weights))
        repeats = query.shape[-2] // value.shape[-2]
        mixed = weights.type_as(value) @ value.repeat_interleave(repeats, -2).transpose(1, 2)
        return mixed.transpose(1, 2)

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._inside = True
            if name not in self.seen:
                layout = next(each for each in (*arguments, *named.values()) if isinstance(each, SequenceLayout))
                self.seen[name] = Seen(layout, [])
                self._current = name

        return enter

    def _leaving(self, *_: object) -> None:
        self._inside, self._current = False, None


_watch: AttentionWatch | None = None


def watching() -> AttentionWatch | None:
    """The watch that the module at work belongs to; None nearly always."""
    return _watch if _watch is not None and _watch.inside else None


def softmax_weights(
    query: Float[Tensor, "batch tokens heads head_dim"],
    key: Float[Tensor, "batch keys kv_heads head_dim"],
    causal: bool = False,
    key_mask: Bool[Tensor, "batch keys"] | None = None,
) -> Float[Tensor, "batch heads tokens keys"]:
    """``softmax(query . key / sqrt(head_dim))`` over the keys, in float32 at least. Padded keys and, if causal, later
    ones weigh nothing; the last query sees every key.
    """
    key = key.repeat_interleave(query.shape[-2] // key.shape[-2], -2)
    scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) / math.sqrt(query.shape[-1])
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if causal:
        queries, keys = scores.shape[-2:]
        seen = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).tril(keys - queries)
        scores = scores.masked_fill(~seen, -torch.inf)
    elif key_mask is not None:
        scores = scores.masked_fill(~key_mask[:, None, None, :], -torch.inf)
    return scores.softmax(-1)
