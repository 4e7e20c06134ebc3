"""What is timed: a training step and a forward pass of a model on random images."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.analysis import machine
from triptych.evaluation.inference import AUTOCAST
from triptych.measure.memory import saved_bytes
from triptych.measure.step import step_memory

Step = Callable[[], object]


class Work:
    """Random images and labels on a device.

    Args:
        shape: of an image, `(channels, height, width)`.
        classes: of the model; with none, embeddings are told apart.
        batch_size: images of a step.
        device: to run on.
        precision: `32-true`, or a key of `AUTOCAST`.
        seed: of the images.
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, batch_size: int, device: torch.device, precision: str, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.device, self.precision = device, precision
        self.half = AUTOCAST.get(precision)
        # The peaks that are known are of half precision.
        self.peak = machine.device(device, 1).peak_flops if self.half is not None else None
        self.images = torch.randn(batch_size, *shape, generator=generator).to(device)
        self.labels = torch.randint(max(classes, 1), (batch_size,), generator=generator).to(device)

    def training(self, model: nn.Module, compiled: bool) -> Step:
        """A whole step, as a function of nothing: forward, cross-entropy, backward, torch's AdamW."""
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4)
        forward = torch.compile(model) if compiled else model
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)

        def step() -> None:
            scaler.scale(self._loss(forward, self.images, self.labels)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

        return step

    def inference(self, model: nn.Module, compiled: bool) -> Step:
        """A forward pass without gradients, as a function of nothing."""
        forward = torch.compile(model.eval()) if compiled else model.eval()

        def step() -> Tensor:
            with torch.inference_mode(), self._autocast():
                return forward(self.images)

        return step

    def saved(self, model: nn.Module) -> int:
        """Bytes that the forward pass of a training step keeps for the backward pass, without the parameters."""
        model.train()
        return saved_bytes(lambda: self._loss(model, self.images, self.labels), model.parameters())

    def memory(self, model: nn.Module) -> Callable[[int], int | None]:
        """Bytes of a training step by its batch size; see `step_memory`."""
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4)

        def loss_of(size: int) -> Tensor:
            images, labels = self.images[:1].repeat(size, 1, 1, 1), self.labels[:1].repeat(size)
            return self._loss(model, images, labels)

        return step_memory(loss_of, model, optimizer, self.device)

    @torch.no_grad()
    def largest_difference(self, ours: nn.Module, theirs: nn.Module) -> float:
        """Of the outputs of two models in evaluation mode, at full precision."""
        return float((ours.eval()(self.images) - theirs.eval()(self.images)).abs().max())

    def _loss(self, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        with self._autocast():
            return F.cross_entropy(forward(images).float(), labels)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, self.half) if self.half else nullcontext()
