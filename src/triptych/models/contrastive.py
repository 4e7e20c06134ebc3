"""Towers whose embeddings meet in one space: CLIP, SigLIP, CLAP, or three modalities at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.features.tokenizer import Tokenizer
from triptych.nn.init import initialise_projection
from triptych.nn.linear import Linear

SCALE_LIMIT = math.log(100)
Projection = Callable[[int, int], nn.Module]


class Contrastive(nn.Module):
    """Two towers or more, each with a projection to ``embedding_dim``, and the scale (and bias) of their logits
    (Radford et al., 2021, "CLIP"; Zhai et al., 2023, "SigLIP").

    ``towers`` are by modality, such as "image" and "text"; a tower is any module with an ``embedding_dim`` that gives a
    `TowerOutput`. ``projections`` are factories called as ``projection(width, embedding_dim)``; a modality that is not
    named gets a linear map without bias, and one that is None has none. ``logit_scale`` is kept as its logarithm.
    ``locked`` towers are not trained ("LiT", Zhai et al., 2022). ``preprocess`` and ``tokenizer`` say what the towers
    want of images and texts and travel with the weights; ``config`` is the plain description that the model was built
    from, where there is one.

    Raises ValueError where there are fewer than two towers, or one without a projection has another width.
    """

    config: dict[str, Any] | None = None

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        embedding_dim: int,
        projections: Mapping[str, Projection | None] | None = None,
        logit_scale_init: float = math.log(1 / 0.07),
        logit_bias_init: float | None = None,
        locked: Sequence[str] = (),
        tokenizer: Tokenizer | None = None,
        preprocess: Preprocess | AudioPreprocess | None = None,
    ) -> None:
        super().__init__()
        given = dict(projections or {})
        if len(towers) < 2:
            raise ValueError(f"A contrastive model needs at least two towers, not {', '.join(towers) or 'none'}.")
        if unknown := sorted({*given, *locked} - set(towers)):
            raise ValueError(f"There is no tower {unknown[0]!r}; the towers are {', '.join(towers)}.")
        self.embedding_dim = embedding_dim
        self.towers = nn.ModuleDict(towers)
        self.projections = nn.ModuleDict(
            {name: _projection(name, tower, embedding_dim, given.get(name, _linear)) for name, tower in towers.items()}
        )
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale_init)))
        self.logit_bias = None if logit_bias_init is None else nn.Parameter(torch.tensor(float(logit_bias_init)))
        self.tokenizer = tokenizer
        self.preprocess: Any = preprocess or _default_preprocess(towers.get("image"))
        self._locked: set[str] = set()
        for name in locked:
            self.lock(name)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the towers, in order."""
        return tuple(self.towers)

    @property
    def perceived(self) -> str:
        """The modality that is put to texts: the first that is none."""
        return next((name for name in self.towers if name != "text"), self.modalities[0])

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Float[Tensor, "_ dim"]]:
        """The embeddings of each modality given: its input, or a tuple of what its tower is called with."""
        return {
            name: self.embed(name, *(given if isinstance(given, tuple) else (given,))) for name, given in inputs.items()
        }

    def embed(self, modality: str, *inputs: Any) -> Float[Tensor, "batch dim"]:
        """Embeddings of unit length, in float32 at least. ``inputs`` are what the tower is called with, such as images,
        or ids and their lengths. Raises UserError where there is no such tower.
        """
        encoded = self.encode(modality, *inputs)
        return F.normalize(encoded if encoded.dtype == torch.float64 else encoded.float(), dim=-1)

    def encode(self, modality: str, *inputs: Any) -> Float[Tensor, "batch dim"]:
        """The projected embeddings before they are brought to unit length. Raises UserError: see `embed`."""
        if modality not in self.towers:
            raise UserError(f"this model has no tower {modality!r}; its towers are {', '.join(self.towers)}")
        return self.projections[modality](self.towers[modality](*inputs).pooled)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keeps the scale between 1 and 100, as CLIP does after each step."""
        self.logit_scale.clamp_(0, SCALE_LIMIT)

    def lock(self, modality: str) -> None:
        """Takes a tower out of training: no gradients, and evaluation mode for good. Its projection goes on."""
        self._locked.add(modality)
        self.towers[modality].requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Contrastive":
        super().train(mode)
        for name in self._locked:
            self.towers[name].eval()
        return self


def _linear(width: int, embedding_dim: int) -> nn.Module:
    return Linear(width, embedding_dim, bias=False)


def _projection(name: str, tower: Any, embedding_dim: int, make: Projection | None) -> nn.Module:
    width = tower.embedding_dim
    if make is not None:
        projection = make(width, embedding_dim)
        initialise_projection(projection)
        return projection
    if width != embedding_dim:
        raise ValueError(
            f"The tower {name!r} gives embeddings {width} wide and has no projection, but embedding_dim is "
            f"{embedding_dim}; set embedding_dim={width}, or give it a projection."
        )
    return nn.Identity()


def _default_preprocess(tower: Any) -> Preprocess | None:
    if not hasattr(tower, "image_size"):
        return None
    halves = (0.5,) * tower.channels
    return Preprocess(tower.image_size, halves, halves)
