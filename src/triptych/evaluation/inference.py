"""What a model says of a data set: every sample once, in whole batches that no number of processes changes."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from triptych.data.collation import collation_of
from triptych.data.loader import BadSamples, StepLoader
from triptych.data.order import Order
from triptych.data.samples import Failure
from triptych.data.source import Source
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.features.uneven import Uneven

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Said:
    """Logits and labels of samples, and those that could not be read.

    Args:
        indices: numbers of the samples in their data set.
        labels: class numbers (samples,), or rows of 0 and 1 (samples, classes) where there are several labels.
        logits: one row a sample, float32.
        failures: samples that could not be read.
    """

    indices: Int64[np.ndarray, " samples"]
    labels: np.ndarray
    logits: Float[np.ndarray, "samples classes"]
    failures: tuple[Failure, ...]


class Forward:
    """The model on a device, from pixels of the right size, or waveforms, to logits on the CPU.

    Args:
        model: in evaluation mode.
        preprocess: its normalisation.
        device: to run on.
        precision: `32-true`, or a key of `AUTOCAST`.
    """

    def __init__(
        self, model: nn.Module, preprocess: Preprocess | AudioPreprocess, device: torch.device, precision: str
    ) -> None:
        self.device = device
        self._model = model.to(device)
        self._preprocess = preprocess
        self._type = AUTOCAST.get(precision)

    @torch.inference_mode()
    def __call__(self, raw: Tensor | Uneven) -> Float[Tensor, "batch classes"]:
        """Logits, float32, of uint8 images `(batch, channels, height, width)`, or each of its own size, or of
        waveforms.
        """
        inputs = self._preprocess.normalise(cast(Any, raw.to(self.device, non_blocking=True)))
        with torch.autocast(self.device.type, self._type) if self._type else nullcontext():
            return self._model(inputs).float().cpu()


class WholeBatches(Order):
    """The batches of one process: every `world_size`-th, whole.

    A matrix product may round differently for another batch size. Whole batches have the same samples however many
    processes share the set, so that every logit is the same to the last bit.

    Args:
        size: samples in the set.
        batch_size: of a batch.
        rank: of the process, which takes the batches `rank`, `rank + world_size`, ...
        world_size: processes that share the set.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(size, batch_size, shuffle=False)
        self._rank, self._world_size = rank, world_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches of this process."""
        return len(range(self._rank, super().steps_per_epoch, self._world_size))

    def indices(self, step: int, rank: int = 0, world_size: int = 1) -> Int64[np.ndarray, " batch"]:
        """Samples of this process's batch `step`; the order is shared out already, so `rank` must be 0 of 1."""
        if (rank, world_size) != (0, 1):
            raise ValueError(f"the batches are already shared out; asked for rank {rank} of {world_size}")
        start = (self._rank + step * self._world_size) * self.batch_size
        return np.arange(start, min(start + self.batch_size, self.size), dtype=np.int64)


class _Collected(BadSamples):
    """Keeps what could not be read: it is told of all processes together, at the end."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 1.0)
        self.failures: list[Failure] = []

    def report(self, failures: tuple[Failure, ...], visits: int) -> None:
        self.failures += failures


def run_over(
    source: Source,
    forward: Forward,
    preprocess: Preprocess | AudioPreprocess,
    order: WholeBatches,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Said:
    """What the model says of the samples of `order`.

    Args:
        source: the data set.
        forward: the model.
        preprocess: brings each sample to what the model takes.
        order: the batches of this process.
        workers: processes that read images; 0 reads in this one.
        progress: told the batches done and to do after each.
    """
    bad = _Collected(len(source))
    joined = collation_of(preprocess)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    if order.steps_per_epoch:
        loader = StepLoader(source, order, preprocess.cut, joined, bad, workers, training=False)
        for done, batch in enumerate(loader, start=1):
            # Copies, for a batch's memory is used again for the next one.
            parts.append((batch["index"].clone(), batch["label"].clone(), forward(batch[joined.modality])))
            if progress is not None:
                progress(done, len(loader))
    if not parts:
        return Said(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0), np.float32), tuple(bad.failures))
    indices, labels, logits = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return Said(indices, labels, logits, tuple(bad.failures))


def merge(parts: list[Said]) -> Said:
    """What several processes found, in the order of the samples.

    Raises:
        UserError: no sample could be read, or the model gave a number that is not finite.
    """
    failures = tuple(sorted(failure for part in parts for failure in part.failures))
    held = [part for part in parts if len(part.indices)]
    if not held:
        first = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[:3])
        raise UserError(f"none of the {len(failures)} samples can be read. First: {first}")
    indices = np.concatenate([part.indices for part in held])
    order = np.argsort(indices, kind="stable")
    logits = np.concatenate([part.logits for part in held])[order]
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise UserError(
            f"the model gives logits that are not finite for {len(broken)} of {len(logits)} samples (the first is "
            f"sample {indices[order][broken[0]]}): its weights are damaged, or device.precision is too coarse"
        )
    return Said(indices[order], np.concatenate([part.labels for part in held])[order], logits, failures)
