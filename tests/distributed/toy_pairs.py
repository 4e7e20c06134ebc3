"""A small image-text pair of the shape that a contrastive model has: `towers`, `embed`, `logit_scale`, `logit_bias`,
`clamp_`.
"""

import math
from copy import deepcopy
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import ClassTokenPool
from triptych.nn.position import LearnedPosition
from triptych.towers.vision import VisionTower

Batch = dict[str, Tensor]
VOCABULARY, CONTEXT, DIM = 11, 5, 6


class ToyText(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 12)
        self.body = nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, DIM))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(ids.shape[1]) < lengths[:, None]
        return self.body((self.embedding(ids) * real[..., None]).sum(1))


class ToyImage(nn.Module):
    """A real vision tower, with patch dropout and stochastic depth."""

    def __init__(self, dropout: bool) -> None:
        super().__init__()
        self.tower = VisionTower(
            16, 12, 2, partial(PatchEmbedding, patch_size=4), partial(SoftmaxMixer, heads=3), GELUFeedForward,
            LayerNorm, LearnedPosition, ClassTokenPool, stochastic_depth=0.4 * dropout, patch_dropout=0.5 * dropout,
        )  # fmt: skip
        self.projection = nn.Linear(12, DIM)

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(self.tower(images).pooled)


class ToyPair(nn.Module):
    """Contrastive over an image and a text tower."""

    def __init__(self, dropout: bool) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({"image": ToyImage(dropout), "text": ToyText(0.5 if dropout else 0.0)})
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = nn.Parameter(torch.tensor(-3.0))

    def embed(self, modality: str, *inputs: Tensor) -> Tensor:
        tower: nn.Module = self.towers.get_submodule(modality)
        return F.normalize(tower(*inputs), dim=-1)

    def features(self, batch: Batch) -> list[Tensor]:
        images = batch["image"].to(self.logit_scale.dtype) / 255 - 0.5
        return [self.embed("image", images), self.embed("text", batch["text"], batch["text_length"])]

    def clamp_(self) -> None:
        with torch.no_grad():
            self.logit_scale.clamp_(0, math.log(100.0))


@cache
def _made(dropout: bool) -> ToyPair:
    torch.manual_seed(0)
    return ToyPair(dropout)


def toy_pair(dropout: bool = False) -> ToyPair:
    """The same weights at each call."""
    return deepcopy(_made(dropout))


def toy_pairs(count: int, seed: int) -> Batch:
    """Images and captions; some of them share a concept."""
    draw = partial(torch.randint, generator=torch.Generator().manual_seed(seed))
    return {
        "image": draw(0, 256, (count, 3, 16, 16)).to(torch.uint8),
        "text": draw(VOCABULARY, (count, CONTEXT)),
        "text_length": draw(1, CONTEXT + 1, (count,)),
        "id": draw(max(1, count - 2), (count,)),
    }
