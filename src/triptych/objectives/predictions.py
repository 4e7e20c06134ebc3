"""The first samples of a validation set with what the model said of them, for pictures."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass
class Predictions:
    """Logits, labels and sample numbers of the first `limit` samples of a validation set, on the CPU."""

    limit: int = 2000
    _parts: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    _held: int = 0

    def add(self, logits: Float[Tensor, "batch classes"], labels: Tensor, index: Int[Tensor, " batch"]) -> None:
        """Keeps what still fits; past the limit it does not wait for the device."""
        room = self.limit - self._held
        if room <= 0:
            return
        self._parts.append((logits[:room].float().cpu(), labels[:room].cpu(), index[:room].cpu()))
        self._held += len(self._parts[-1][0])

    @property
    def logits(self) -> Float[Tensor, "samples classes"]:
        """One row of logits per kept sample."""
        return torch.cat([logits for logits, _, _ in self._parts])

    @property
    def labels(self) -> Tensor:
        """The labels as the data gave them: class numbers (samples,), or rows of targets (samples, classes)."""
        return torch.cat([labels for _, labels, _ in self._parts])

    @property
    def index(self) -> Int[Tensor, " samples"]:
        """The numbers of the samples within their data set."""
        return torch.cat([index for _, _, index in self._parts])

    def __len__(self) -> int:
        return self._held
