"""Classification of images or sounds: single label, several labels, or soft targets."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from triptych.errors import UserError
from triptych.features.front_end import FrontEnd, as_type
from triptych.features.uneven import Uneven
from triptych.losses import softmax_cross_entropy
from triptych.objectives.base import Objective
from triptych.objectives.batch import Batch
from triptych.objectives.metrics import ClassificationMetrics, MultiLabelMetrics, SingleLabelMetrics
from triptych.objectives.mixing import Mask, Mix
from triptych.objectives.predictions import Predictions
from triptych.objectives.validation import check_loaders, checked_names, few_samples, share_counts
from triptych.parallel.sharded import Sharded

Loss = Callable[[Tensor, Tensor], Tensor]

MANY = {"image": "images", "audio": "sounds"}


class ClassificationObjective(Objective):
    """Trains `model(input) -> logits` on batches of `image` (uint8) or `audio`, `label` and `index`; `front_end` makes
    the input of what the loader brings, on the device.

    A label is a class number, or a row of floats per sample: several labels with `multi_label`, class probabilities
    without. `loss(logits, labels)` is a mean over samples and takes both kinds (see `triptych.losses`). `mix` and
    `mask` change training batches only.

    Raises UserError for settings that do not go together.

    Each validation set logs `loss` and its metrics (`SingleLabelMetrics`, `MultiLabelMetrics`): the first as
    `val/...`, the others under their name in `validation_names`. After a validation, `predictions[name]` holds what
    was said of its first samples and `confusion[name]` the confusion matrix over all of them; the first is named
    `val`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        num_classes: int,
        front_end: FrontEnd,
        loss: Loss = softmax_cross_entropy,
        mix: Mix | None = None,
        mask: Mask | None = None,
        multi_label: bool = False,
        clip: float | None = None,
        micro_batch_size: int | None = None,
        validation_names: Sequence[str] = ("val",),
    ) -> None:
        super().__init__(model, optimizer, schedule, clip, micro_batch_size)
        self.front_end = front_end
        self.validation_names = checked_names(validation_names)
        function = loss.func if isinstance(loss, partial) else loss
        if multi_label and function is softmax_cross_entropy:
            raise UserError(
                "multi_label=true with softmax_cross_entropy, which gives each sample one label; "
                "take triptych.losses.binary_cross_entropy"
            )
        # A loss with a setting out of range is refused now, not at the first step.
        loss(torch.zeros(1, num_classes), torch.zeros(1, num_classes) if multi_label else torch.zeros(1).long())
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.compute_loss = loss
        self.mix, self.mask = _fitting("mix", mix, front_end), _fitting("mask", mask, front_end)
        kind = MultiLabelMetrics if multi_label else SingleLabelMetrics
        self.metrics = nn.ModuleList(kind(num_classes) for _ in self.validation_names)
        self.monitor = f"val/{kind.monitor}"
        self.validation_metrics = [
            f"{name}/{metric}"
            for name, metrics in zip(self.validation_names, self._metrics(), strict=True)
            for metric in metrics.names
        ]
        self.predictions: dict[str, Predictions] = {}
        self.confusion: dict[str, Tensor] = {}

    def normalise(self, raw: Any) -> Any:
        """What the model takes, of what the loader brings: in the type of the weights, on the device of the input."""
        return as_type(self.front_end(raw), self.dtype)

    def raw(self, batch: Batch) -> Any:
        """What the loader brought, beside labels and indices."""
        return batch[self.front_end.modality]

    def prepare(self, batch: Batch) -> Batch:
        """Mixes and masks the batch before it is split, so that micro-batches change nothing; a rank's share of a short
        last one may be empty.
        """
        if (self.mix is None and self.mask is None) or not len(batch["label"]):
            return batch
        return self.finish(*self.mixed(batch))

    def mixed(self, batch: Batch) -> tuple[Any, Tensor]:
        """What the loader brought and its labels, after a mix that is made of it."""
        raw, labels = self.raw(batch), batch["label"]
        if self.mix is None or not self.mix.of_raw:
            return raw, labels
        return self.mix(raw, labels, self.num_classes, self.trainer.global_step)

    def finish(self, raw: Any, labels: Tensor) -> Batch:
        """The model's input of what `mixed` gave, mixed by any other mix, and masked."""
        made = self.normalise(raw)
        if self.mix is not None and not self.mix.of_raw:
            if isinstance(made, Uneven):
                raise UserError("objective.mix mixes images of one size, and these have their own: take mix=null")
            made, labels = self.mix(made, labels, self.num_classes, self.trainer.global_step)
        return {"prepared": made if self.mask is None else self.mask(made, self.trainer.global_step), "label": labels}

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of the samples of a micro-batch."""
        return self.compute_loss(self.logits(batch, "train"), batch["label"])

    def logits(self, batch: Batch, source: str) -> Tensor:
        """What the model says of the samples of a (micro-)batch; `source` is "train" or the validation set's name."""
        return self.model(batch["prepared"] if "prepared" in batch else self.normalise(self.raw(batch)))

    def on_validation_epoch_start(self) -> None:
        """Starts all counts afresh."""
        check_loaders(self.trainer, self.validation_names)
        for name, metrics in zip(self.validation_names, self._metrics(), strict=True):
            metrics.reset()
            share_counts(metrics, self.trainer)
            self.predictions[name] = Predictions()
        self.confusion = {}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Counts one batch of a validation set; a rank's share of a short last one may be empty."""
        name = self.validation_names[dataloader_idx]
        if not len(batch["label"]):
            strategy = self.trainer.strategy
            if isinstance(strategy, Sharded) and strategy.lockstep:
                self.logits(self.blank(batch), name)  # an act of all processes
            return
        (logits,), labels = self.through(lambda part: [self.logits(part, name)], batch), batch["label"]
        self._metrics()[dataloader_idx].update(logits, labels, self.compute_loss(logits, labels))
        self.predictions[name].add(logits, labels, batch["index"])

    def on_validation_epoch_end(self) -> None:
        """Logs each set under its name."""
        for name, metrics in zip(self.validation_names, self._metrics(), strict=True):
            with few_samples():
                found, confusion = metrics.compute(), metrics.confusion()
            for metric, value in found.items():
                shown = f"{name}/{metric}" == self.monitor
                self.log(f"{name}/{metric}", value, prog_bar=shown, batch_size=1)
            if confusion is not None:
                self.confusion[name] = confusion.cpu()

    def _metrics(self) -> list[ClassificationMetrics]:
        return [metrics for metrics in self.metrics if isinstance(metrics, ClassificationMetrics)]


def _fitting(name: str, part: Any, front_end: FrontEnd) -> Any:
    """Raises UserError for a part that changes sounds where images are trained on, and the other way round."""
    changes = getattr(part, "modality", front_end.modality)  # one of the user's own need not say
    if changes != front_end.modality:
        raise UserError(
            f"objective.{name} is {type(part).__name__}, which is for {MANY.get(changes, changes)}, and the data are "
            f"{MANY.get(front_end.modality, front_end.modality)}: choose another one, or objective.{name}=null"
        )
    return part
