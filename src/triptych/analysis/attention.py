"""What a model attends to: the weights of every layer and head, and where on an image or a spectrogram they lie.

PyTorch's fused kernels never write the weights down, so a hook on them would find nothing. Here the softmax mixers
compute them explicitly for one pass (see `triptych.nn.watch`), with the same output up to rounding.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from triptych.errors import UserError
from triptych.features.spectrograms import Spectrograms
from triptych.features.uneven import Uneven
from triptych.models.classifier import Classifier
from triptych.nn.block import Block
from triptych.nn.pool import AttentionPool, ClassTokenPool, Pool, PrefixMeanPool
from triptych.nn.watch import AttentionWatch, Keep, Seen, keep_all
from triptych.towers.audio import AudioTower
from triptych.towers.vision import VisionTower

Tower = VisionTower | AudioTower
Model = Classifier | VisionTower | AudioTower
Images = (
    Float[Tensor, "batch channels height width"]
    | Float[Tensor, "batch frames mel_bins"]
    | Sequence[Float[Tensor, "channels _ _"]]
    | Spectrograms
)
POOL = "pool"


@dataclass(frozen=True)
class AttentionMaps:
    """The attention of some layers to a batch of images.

    ``layers``: by number of the layer (from 0), a tensor ``(heads, tokens, tokens)`` for each image, queries before
    keys, prefix tokens (class token, registers) first; rows sum to 1. ``pool``: the attention pool's ``(heads,
    patches)`` for each image, None where the model pools otherwise. ``grids``: rows and columns of patches of each
    image. ``prefix``: how many prefix tokens there are; ``read``: how many of them, the first ones, the model reads.
    ``output``: what the model gave, logits of a classifier and pooled embeddings of a tower.
    """

    layers: dict[int, list[Tensor]]
    pool: list[Tensor] | None
    grids: list[tuple[int, int]]
    prefix: int
    read: int
    output: Float[Tensor, "images _"]

    def on_grid(self, layer: int) -> list[Float[Tensor, "heads rows columns"]]:
        """The attention of one of `layers` to the patches of each image, on their grid: that of the class token (and
        the distillation token) where the model reads one, else the mean over the patches' own.
        """
        return [self._placed(weights, grid) for weights, grid in zip(self.layers[layer], self.grids, strict=True)]

    def pool_on_grid(self) -> list[Float[Tensor, "heads rows columns"]]:
        """The attention pool's maps on the grid of each image. Raises UserError where the model has no such pool."""
        if self.pool is None:
            raise UserError("this model has no attention pool: look at its layers instead")
        return [weights.unflatten(-1, grid) for weights, grid in zip(self.pool, self.grids, strict=True)]

    def _placed(self, weights: Tensor, grid: tuple[int, int]) -> Tensor:
        return read_patches(weights, self.prefix, self.read).unflatten(-1, grid)


def attention_maps(
    model: Model, images: Images, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> AttentionMaps:
    """The softmax attention of `model` to `images`, float and normalised, in evaluation mode and without gradients.

    Args:
        model: a classifier or a tower with softmax attention; its mode is put back as it was.
        images: a batch, or a sequence of images of differing sizes, which runs packed.
        layers: numbers of the layers to keep, from 0, negative ones from the end; None keeps all. Others stay fused.
        heads: numbers of the layers' heads to keep; None keeps all.

    Raises:
        UserError: a layer or head that is not there, or a mixer without softmax attention.
    """
    tower = tower_of(model)
    chosen = layer_numbers(tower, layers)
    with watched(model, images, chosen, _head_chooser(heads)) as (output, watch):
        found = {number: by_image(watch.seen[str(number)]) for number in chosen}
        pool = [weights.squeeze(-2) for weights in by_image(watch.seen[POOL])] if POOL in watch.seen else None
    return AttentionMaps(found, pool, tower.grids(images), tower.prefix, tokens_read(tower.pool), output)


def tokens_read(pool: Pool) -> int:
    """How many prefix tokens, the first ones, a pool reads."""
    return 1 if isinstance(pool, ClassTokenPool) else 2 if isinstance(pool, PrefixMeanPool) else 0


def tower_of(model: Model) -> Tower:
    """The tower of a classifier, or the tower itself. Raises UserError for a tower of another kind."""
    tower = model.tower if isinstance(model, Classifier) else model
    if not isinstance(tower, VisionTower | AudioTower):
        raise UserError(
            f"attention is shown of a VisionTower or AudioTower, and this model's tower is a {type(tower).__name__}"
        )
    return tower


def layer_numbers(tower: Tower, layers: Sequence[int] | None) -> list[int]:
    """`layers` counted from 0, in order and once each; all of them for None. Raises UserError out of range."""
    depth = len(tower.stack.blocks)
    for number in layers or ():
        if not -depth <= number < depth:
            raise UserError(f"layer {number} is out of range: the model has layers 0 to {depth - 1} (-1 is the last)")
    return list(range(depth)) if layers is None else sorted({number % depth for number in layers})


def read_patches(
    weights: Float[Tensor, "*heads tokens tokens"], prefix: int, read: int
) -> Float[Tensor, "*heads patches"]:
    """What reaches the output from each patch: the mean over the rows of the prefix tokens that are read, or where
    there is none over the patches' rows.
    """
    return (weights[..., :read, prefix:] if read else weights[..., prefix:, prefix:]).mean(-2)


@contextmanager
def watched(
    model: Model,
    images: Images,
    layers: Sequence[int],
    keep: Keep = keep_all,
    gradients: bool = False,
) -> Iterator[tuple[Tensor, AttentionWatch]]:
    """One explicit pass of `model` in evaluation mode: its output, and the watch with what `layers` (and an attention
    pool) have seen. With `gradients`, the block may differentiate the output by the weights.

    Raises UserError where a layer has no softmax attention.
    """
    tower = tower_of(model)
    blocks = [block for block in tower.stack.blocks if isinstance(block, Block)]
    modules: dict[str, torch.nn.Module] = {str(number): blocks[number].mixer for number in layers}
    if isinstance(tower.pool, AttentionPool):
        modules[POOL] = tower.pool
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with (
            torch.inference_mode(False),
            torch.set_grad_enabled(gradients),
            torch.compiler.set_stance("force_eager"),
            AttentionWatch(modules, keep, gradients) as watch,
        ):
            # A tensor made in inference mode can have no gradient; its copy can.
            given = images.clone() if isinstance(images, Tensor | Uneven) else [image.clone() for image in images]
            output = model(given)
            for number in layers:
                _check(number, blocks[number].mixer, watch.seen[str(number)])
            yield output if isinstance(output, Tensor) else output.pooled, watch
    finally:
        for part, training in modes.items():
            part.training = training


def by_image(seen: Seen) -> list[Tensor]:
    """The kept weights of each sequence, without padding."""
    layout, weights = seen
    if len(weights) == 1:
        # An attention pool has one query and no prefix tokens among its keys.
        left_out = layout.max_length - weights[0].shape[-1]
        return [
            row[..., :size, : size - left_out]
            for row, size in zip(weights[0].unbind(0), layout.host_sizes, strict=True)
        ]
    of_length: dict[int, list[Tensor]] = {}
    for group, part in zip(layout.groups, weights, strict=True):
        of_length.setdefault(group.length, []).extend(part.unbind(0))
    in_turn = {length: iter(parts) for length, parts in of_length.items()}
    return [next(in_turn[size]) for size in layout.host_sizes]


def _check(number: int, mixer: torch.nn.Module, seen: Seen) -> None:
    expected = max(1, len(seen.layout.groups))
    if len(seen.weights) != expected:
        raise UserError(
            f"layer {number} has no softmax attention to show: its mixer is {type(mixer).__name__}, which computes "
            f"{len(seen.weights)} attentions through triptych.nn.attention, and {expected} is expected"
        )


def _head_chooser(heads: Sequence[int] | None) -> Keep:
    def choose(name: str, weights: Tensor) -> Tensor:
        if heads is None or name == POOL:
            return weights
        count = weights.shape[1]
        for head in heads:
            if not -count <= head < count:
                raise UserError(f"head {head} is out of range: there are heads 0 to {count - 1} (-1 is the last)")
        return weights[:, list(heads)]

    return choose
