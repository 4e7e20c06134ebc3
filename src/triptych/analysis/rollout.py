"""Attention followed through all layers, from the output back to the patches."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.analysis.attention import (
    POOL,
    Images,
    Model,
    Tower,
    by_image,
    layer_numbers,
    read_patches,
    tokens_read,
    tower_of,
    watched,
)
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.nn.watch import Keep, Seen

FUSIONS: dict[str, Keep] = {
    "mean": lambda _, weights: weights.mean(1),
    "min": lambda _, weights: weights.amin(1),
    "max": lambda _, weights: weights.amax(1),
}


def attention_rollout(
    model: Model, images: Images, fusion: str = "mean", residual: float = 0.5, discard: float = 0.0
) -> list[Float[Tensor, "rows columns"]]:
    """How much of each patch reaches the output if attention alone moves it (Abnar and Zuidema, 2020): the product
    over the layers of ``residual * 1 + (1 - residual) * attention``, rows normalised, read where the model reads.

    Args:
        model: a classifier or a tower with softmax attention throughout.
        images: a batch, or a sequence of images of differing sizes.
        fusion: how the heads are made one: "mean", "min" or "max".
        residual: the share that the residual connection carries past the attention.
        discard: the share of each layer's weights between patches, the smallest, that is set to zero (an addition of
            J. Gildenblat's vit-explain, which clears the picture).

    Returns:
        One map for each image, on its grid of patches, at least 0.

    Raises:
        UserError: a setting out of range, or a mixer without softmax attention.
    """
    if fusion not in FUSIONS:
        raise UserError(f"fusion is {fusion!r}; heads are fused by one of {', '.join(FUSIONS)}")
    for name, share in (("residual", residual), ("discard", discard)):
        if not 0 <= share < 1:
            raise UserError(f"{name} is {share}; it must be at least 0 and below 1")
    tower = tower_of(model)
    with watched(model, images, layer_numbers(tower, None), FUSIONS[fusion]) as (_, watch):
        layers, pool = _kept(tower, watch.seen)
    rolled = [
        _roll([layer[place] for layer in layers], tower.prefix, residual, discard) for place in range(len(images))
    ]
    return _read(tower, images, rolled, pool)


def _roll(layers: Sequence[Tensor], prefix: int, residual: float, discard: float) -> Float[Tensor, "tokens tokens"]:
    identity = torch.eye(len(layers[0]), dtype=layers[0].dtype, device=layers[0].device)
    rolled = identity
    for weights in layers:
        mixed = residual * identity + (1 - residual) * _without_least(weights, prefix, discard)
        rolled = mixed / mixed.sum(-1, keepdim=True) @ rolled
    return rolled


def _without_least(weights: Float[Tensor, "tokens tokens"], prefix: int, share: float) -> Tensor:
    """The smallest weights of patches set to zero; those of prefix tokens stay, which hold the whole together."""
    columns = weights[:, prefix:]
    count = int(share * columns.numel())
    if count == 0:
        return weights
    least = columns.flatten().topk(count, largest=False).indices
    kept = columns.flatten().index_fill(0, least, 0.0).view_as(columns)
    return torch.cat([weights[:, :prefix], kept], dim=1)


def gradient_rollout(
    model: Classifier, images: Images, targets: Sequence[int] | None = None
) -> list[Float[Tensor, "rows columns"]]:
    """Which patches speak for a class (Chefer et al., 2021, "Generic Attention-model Explainability"): in each layer
    the attention times the gradient of the class's logit, the positive part, averaged over the heads; ``R = R + mean @
    R`` from the first layer to the last, read where the model reads.

    The gradient goes through the attention weights alone: parameters and their ``grad`` are left as they are, and
    frozen ones do not matter. Works under ``torch.no_grad`` and with activation checkpointing.

    Args:
        model: a classifier with softmax attention throughout.
        images: a batch, or a sequence of images of differing sizes.
        targets: the number of a class for each image; None takes the predicted one.

    Returns:
        One map for each image, on its grid of patches, at least 0.

    Raises:
        UserError: another number of targets than images, a class that is not there, or no softmax attention.
    """
    tower, count = model.tower, len(images)
    if targets is not None and len(targets) != count:
        raise UserError(f"there are {len(targets)} targets for {count} images; give one class for each image")
    for target in targets or ():
        if not 0 <= target < model.num_classes:
            raise UserError(f"class {target} is out of range: the model has classes 0 to {model.num_classes - 1}")
    with watched(model, images, layer_numbers(tower, None), gradients=True) as (logits, watch):
        asked = logits.argmax(1) if targets is None else torch.tensor(targets, device=logits.device)
        score = logits.gather(1, asked[:, None]).sum()  # images do not meet, so each gets its own gradient
        weights = [part for seen in watch.seen.values() for part in seen.weights]
        gradients = iter(torch.autograd.grad(score, weights))
        relevant = {
            name: seen._replace(weights=[(part.detach() * next(gradients)).relu().mean(1) for part in seen.weights])
            for name, seen in watch.seen.items()
        }
    layers, pool = _kept(tower, relevant)
    relevance = [_accumulate([layer[place] for layer in layers], pool is not None) for place in range(count)]
    return _read(tower, images, relevance, pool)


def _accumulate(layers: Sequence[Tensor], pooled: bool) -> Float[Tensor, "tokens tokens"]:
    identity = torch.eye(len(layers[0]), dtype=layers[0].dtype, device=layers[0].device)
    total = identity
    for relevant in layers:
        total = total + relevant @ total
    # An attention pool looks at the patches themselves too; in a mean, the identity would lift every patch alike.
    return total if pooled else total - identity


def _kept(tower: Tower, seen: dict[str, Seen]) -> tuple[list[list[Tensor]], list[Tensor] | None]:
    """Layers, then images; and the attention pool's one query to each image."""
    layers = [by_image(seen[str(number)]) for number in range(len(tower.stack.blocks))]
    return layers, [each[0] for each in by_image(seen[POOL])] if POOL in seen else None


def _read(
    tower: Tower, images: Images, matrices: Sequence[Tensor], pool: Sequence[Tensor] | None
) -> list[Float[Tensor, "rows columns"]]:
    """The output's share in each patch, on the grid."""
    maps = []
    for place, (matrix, grid) in enumerate(zip(matrices, tower.grids(images), strict=True)):
        if pool is None:
            flat = read_patches(matrix, tower.prefix, tokens_read(tower.pool))
        else:
            flat = pool[place] @ matrix[tower.prefix :, tower.prefix :]
        maps.append(flat.unflatten(0, grid))
    return maps
