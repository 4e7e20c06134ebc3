"""A model that another one learns from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from triptych.checkpoints.load import load
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.features.waveforms import Waveforms


class Teacher:
    """A classifier that stands still, how much it counts, and how soft it speaks.

    Args:
        path: any checkpoint that `triptych.load` reads.
        weight: its share of the loss, 0 to 1.
        temperature: divides the logits of both models, above 0.

    Raises:
        UserError: a setting out of its range; the checkpoint cannot be loaded.
    """

    def __init__(self, path: str | Path, weight: float = 0.5, temperature: float = 1.0) -> None:
        if not 0 <= weight <= 1:
            raise UserError(f"objective.teacher.weight is {weight}, but must lie between 0 and 1")
        if not temperature > 0:
            raise UserError(f"objective.teacher.temperature is {temperature}, but must be above 0")
        self.path, self.weight, self.temperature = path, weight, temperature
        self.model = cast(Any, load(path)).requires_grad_(False).eval()
        self.preprocess: Preprocess | AudioPreprocess = self.model.preprocess

    @property
    def modality(self) -> str:
        """What it looks at or listens to: "image" or "audio"."""
        return "audio" if isinstance(self.preprocess, AudioPreprocess) else "image"

    def check(self, num_classes: int, classes: list[str] | None) -> None:
        """Raises UserError unless it tells the same classes apart, as far as it knows their names."""
        own = (self.model.config or {}).get("classes")
        if self.model.num_classes != num_classes:
            raise UserError(
                f"objective.teacher.path={self.path} tells {self.model.num_classes} classes apart, but the data have "
                f"{num_classes}; choose a teacher that was trained on the same classes"
            )
        if own and classes and own != classes:
            mine, its = next((a, b) for a, b in zip(classes, own, strict=True) if a != b)
            raise UserError(
                f"objective.teacher.path={self.path} was trained on other classes: {its!r} stands where the data have "
                f"{mine!r}; choose a teacher that was trained on the same classes"
            )

    @torch.no_grad()
    def ask(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Its logits on images of any size with pixels in 0..1, brought to its own size, channels and normalisation."""
        model, wanted = self.model.to(images.device), cast(Preprocess, self.preprocess)
        if tuple(images.shape[-2:]) != tuple(wanted.image_size):
            images = F.interpolate(images, list(wanted.image_size), mode="bicubic", antialias=True)
        if images.shape[1] != len(wanted.mean):
            images = images.mean(1, keepdim=True).expand(-1, len(wanted.mean), -1, -1)
        mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (wanted.mean, wanted.std))
        return model(((images - mean) / std).to(next(model.parameters()).dtype))

    @torch.no_grad()
    def hear(self, waveforms: Waveforms) -> Float[Tensor, "batch classes"]:
        """Its logits on clips, brought to its own sample rate, length and spectrograms."""
        model, wanted = self.model.to(waveforms.device), cast(AudioPreprocess, self.preprocess)
        return model(wanted(list(waveforms), waveforms.sample_rate).type_as(next(model.parameters()).dtype))

    def loss(
        self,
        own: Float[Tensor, ""],
        logits: Float[Tensor, "batch classes"],
        said: Float[Tensor, "batch classes"],
        distance: Callable[[Tensor, Tensor, float], Tensor],
    ) -> Float[Tensor, ""]:
        """`1 - weight` of the student's `own` loss, `weight` of its distance to what the teacher `said`."""
        return (1 - self.weight) * own + self.weight * distance(logits, said, self.temperature)
