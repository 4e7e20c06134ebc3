"""Which products of a module several processes can share: one plan per module type, so that every tower and model that
is made of these modules has one. A module without a plan stays whole in each process, which is always right.
"""

from collections.abc import Callable

import torch.distributed as dist
from torch import nn

from triptych.errors import UserError
from triptych.nn.feedforward import FeedForward, GatedFeedForward
from triptych.nn.linear import FusedLinear, Linear
from triptych.nn.lora import LowRankLinear
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.parallel.pieces import Cut
from triptych.parallel.tensor import SHARED, ColumnParallel, RowParallel, become, keep

Cuts = dict[str, Cut]
Ranges = tuple[tuple[int, int], ...]


def share_products(model: nn.Module, group: dist.ProcessGroup) -> Cuts:
    """Cuts the linear maps of a model among the processes of a group, in place; how, by the name of each parameter.

    Raises:
        UserError: heads or widths that the processes do not divide; a model of which nothing can be shared.
    """
    cuts: Cuts = {}
    for path, module in model.named_modules():
        plan = next((plan for kind, plan in PLANS.items() if isinstance(module, kind)), None)
        if plan is not None:
            cuts |= {f"{path}.{name}": cut for name, cut in plan(module, group).items()}
    if not cuts:
        raise UserError(
            f"trainer.tensor={group.size()}, but {type(model).__name__} has no module whose products can be shared: "
            "take trainer=ddp or trainer=fsdp"
        )
    return cuts


def _attention(module: nn.Module, group: dist.ProcessGroup) -> Cuts:
    assert isinstance(module, SoftmaxMixer)
    _divides(module.heads, group, "attention heads")
    _divides(module.kv_heads, group, "key-value heads")
    norms = [norm for norm in (module.query_norm, module.key_norm) if norm is not None]
    if any(type(norm) not in SHARED for norm in norms):
        return {}
    cuts = _columns("qkv", module.qkv, group) | _rows("out", module.out, group)
    module.heads //= group.size()
    module.kv_heads //= group.size()
    for norm in norms:
        become(norm, SHARED[type(norm)], group)
    return cuts


def _feedforward(module: nn.Module, group: dist.ProcessGroup) -> Cuts:
    assert isinstance(module, FeedForward | GatedFeedForward)
    if not isinstance(module.inner_norm, nn.Identity):
        return {}  # its mean is over all hidden units
    name = "up" if isinstance(module, FeedForward) else "gate_up"
    _divides(module.down.in_features, group, "hidden units of a feed-forward layer")
    return _columns(name, module.get_submodule(name), group) | _rows("down", module.down, group)


PLANS: dict[type[nn.Module], Callable[[nn.Module, dist.ProcessGroup], Cuts]] = {
    SoftmaxMixer: _attention,
    FeedForward: _feedforward,
    GatedFeedForward: _feedforward,
}


def _columns(name: str, linear: nn.Module, group: dist.ProcessGroup) -> Cuts:
    """Shares the outputs of each split of a map."""
    assert isinstance(linear, Linear)
    _refuse_adapters(linear, group)
    splits = linear.splits if isinstance(linear, FusedLinear) else [linear.out_features]
    biased = linear.biased if isinstance(linear, FusedLinear) else [linear.bias is not None]
    ranges = _ranges(splits, group)
    cuts = {f"{name}.weight": Cut(0, linear.out_features, ranges)}
    linear.weight = keep(linear.weight, 0, ranges)
    if linear.bias is not None:
        kept = [split for split, has in zip(splits, biased, strict=True) if has]
        of_bias = _ranges(kept, group)
        cuts[f"{name}.bias"] = Cut(0, sum(kept), of_bias)
        linear.bias = keep(linear.bias, 0, of_bias)
    linear.out_features //= group.size()
    become(linear, ColumnParallel, group)
    assert isinstance(linear, ColumnParallel)
    linear.splits, linear.biased = [split // group.size() for split in splits], biased
    return cuts


def _rows(name: str, linear: nn.Module, group: dist.ProcessGroup) -> Cuts:
    """Shares the inputs of a map."""
    assert isinstance(linear, Linear)
    _refuse_adapters(linear, group)
    ranges = _ranges([linear.in_features], group)
    cuts = {f"{name}.weight": Cut(1, linear.in_features, ranges)}
    linear.weight = keep(linear.weight, 1, ranges)
    linear.in_features //= group.size()
    become(linear, RowParallel, group)
    return cuts


def _ranges(splits: list[int], group: dist.ProcessGroup) -> Ranges:
    """This process's share of each split, by places in the whole."""
    found, start = [], 0
    for split in splits:
        share = split // group.size()
        found.append((start + group.rank() * share, start + (group.rank() + 1) * share))
        start += split
    return tuple(found)


def _divides(count: int, group: dist.ProcessGroup, what: str) -> None:
    if count % group.size():
        raise UserError(
            f"trainer.tensor={group.size()} does not divide the {count} {what}: choose a divisor of {count}"
        )


def _refuse_adapters(linear: nn.Module, group: dist.ProcessGroup) -> None:
    if isinstance(linear, LowRankLinear):
        raise UserError(
            f"trainer.tensor={group.size()} shares out whole matrices, and strategy=lora adds adapters to them: take "
            "trainer=ddp or trainer=fsdp"
        )
