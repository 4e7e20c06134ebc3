"""Towers that learn to put what belongs together at one place."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from triptych.errors import UserError
from triptych.features.front_end import FrontEnd, as_type
from triptych.losses import softmax_contrastive, softmax_cross_entropy
from triptych.losses.contrastive import PairLoss
from triptych.objectives.base import Objective
from triptych.objectives.batch import Batch, split
from triptych.objectives.gradient_cache import cached_backward, staged_backward
from triptych.objectives.metrics import SingleLabelMetrics
from triptych.objectives.predictions import Predictions
from triptych.objectives.retrieval import RetrievalMetrics
from triptych.objectives.validation import check_loaders, checked_names, few_samples, share_counts
from triptych.parallel.exchange import Exchange, OwnRows
from triptych.parallel.gather import Shards
from triptych.parallel.mesh import data_group
from triptych.parallel.sharded import Sharded

# What a contrastive model has: `embed(modality, *inputs)` gives unit vectors, the scale is a logarithm, a bias may be
# None, and `clamp_()` keeps the scale in its range.
PARTS = ("towers", "embed", "logit_scale", "logit_bias", "clamp_")
_LENGTH = "_length"  # the lengths of `text` are `text_length`
_TEXTS = 256  # prompts embedded at once where no micro-batch size is given


class Prompts(NamedTuple):
    """The names of classes as token ids, in one or more sentences each, and their lengths in tokens."""

    ids: Int[Tensor, "classes templates context"]
    lengths: Int[Tensor, "classes templates"]


class ContrastiveObjective(Objective):
    """Trains a model with two or more towers on batches that have, for each of `model.towers`, its input: `image`
    (uint8) and `audio` (waveforms), of which its one of the `front_ends` makes what the tower takes, `text` (token
    ids), ...; beside it, where the tower takes one,
    `text_length` and so on; and, if samples can share a caption or a concept, `id` (integers): samples with the same
    id are positives of each other.

    `loss` is one of `triptych.losses`, `exchange` the way in which processes share it: every sample is compared with
    those of all processes. A batch above `micro_batch_size` goes through gradient caching, so the gradients are those
    of the whole batch. After each step the model clamps its scale; `logit_scale` is logged as the factor that it is.

    A validation set of pairs logs `RetrievalMetrics` and its loss in batches as they come. A set in `prompts` (by its
    name) has `image` or `audio` and a class as `label`, or as `id`, and is classified by the nearest class: embeddings
    of a class's prompts, averaged; it logs `SingleLabelMetrics`, and keeps `predictions` and `confusion` as
    `ClassificationObjective` does.
    """

    multi_label = False

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        front_ends: Sequence[FrontEnd],
        loss: PairLoss = softmax_contrastive,
        exchange: Exchange | None = None,
        prompts: Mapping[str, Prompts] | None = None,
        clip: float | None = None,
        micro_batch_size: int | None = None,
        validation_names: Sequence[str] = ("val",),
    ) -> None:
        super().__init__(model, optimizer, schedule, clip, micro_batch_size)
        if missing := [name for name in PARTS if not hasattr(model, name)]:
            raise UserError(
                f"objective=contrastive compares the towers of a model, but {type(model).__name__} has no "
                f"{', '.join(missing)}; choose a contrastive model, or objective=classification"
            )
        self.exchange = exchange or OwnRows()
        self.exchange.check(loss)
        self.compute_loss = loss
        self.modalities = list(self.pair.towers)
        # What prompts classify: the first that is no text.
        self._classified = next((each for each in self.modalities if each != "text"), self.modalities[0])
        # Settings out of range are refused now, not at the first step.
        one = torch.zeros(1, 1)
        loss(one, one, torch.zeros(1).long(), torch.zeros(1).long(), torch.zeros(()), torch.zeros(()))
        self.validation_names = checked_names(validation_names)
        self.prompts = {"val" if name == validation_names[0] else name: each for name, each in (prompts or {}).items()}
        if unknown := sorted(set(self.prompts) - set(self.validation_names)):
            raise UserError(f"there are prompts for {unknown}, but the validation sets are {list(validation_names)}")
        self.metrics = nn.ModuleList(
            SingleLabelMetrics(len(self.prompts[name].ids))
            if name in self.prompts
            else RetrievalMetrics(self.modalities)
            for name in self.validation_names
        )
        self.monitor = f"val/{self._sets()[0][1].monitor}"
        self.validation_metrics = [f"{name}/{metric}" for name, metrics in self._sets() for metric in metrics.names]
        self.predictions: dict[str, Predictions] = {}
        self.confusion: dict[str, Tensor] = {}
        self._classes: dict[str, Tensor] = {}
        self.front_ends = {front_end.modality: front_end for front_end in front_ends}

    def features(self, batch: Batch) -> list[Float[Tensor, "batch dim"]]:
        """The unit embeddings of a batch in each modality; of none, without a sample, but with a gradient of 0."""
        count = len(batch[self.modalities[0]])
        some = batch if count else self.blank(batch)
        return [self._embed(modality, some)[:count] for modality in self.modalities]

    @property
    def pair(self) -> Any:
        """The model, with its `towers`, `embed`, `logit_scale`, `logit_bias` and `clamp_`."""
        return self.model

    def loss(self, batch: Batch) -> Tensor:
        """This process's part of the loss of the global batch, whose mean over processes it is; all must ask."""
        features = self.features(batch)
        return self._exchange(features, self._shared, batch.get("id"), self._agree(features))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimizer step, and the clamp of the scale."""
        logged = self._logs_now
        loss = super().training_step(batch, batch_idx)
        self.pair.clamp_()
        if logged:
            self.log("logit_scale", self.told(self.pair.logit_scale.detach().exp()), batch_size=1)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Starts all counts afresh, and embeds the classes."""
        check_loaders(self.trainer, self.validation_names)
        self.confusion = {}
        for name, metrics in self._sets():
            metrics.reset()
            share_counts(metrics, self.trainer)
            if name in self.prompts:
                self.predictions[name] = Predictions()
                self._classes[name] = self._embed_classes(self.prompts[name])

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Counts one batch of a validation set; a rank's share of a short last one may be empty."""
        name, metrics = self._sets()[dataloader_idx]
        if isinstance(metrics, RetrievalMetrics):
            features, ids = self.through(self.features, batch), batch.get("id")
            shards = self._agree(features)
            loss = self.told(self._exchange(features, self._shared, ids, shards))
            if ids is None:
                ids = metrics.samples + torch.tensor(shards.own, device=loss.device)
            metrics.update(features, ids, loss, shards.total)
            return
        labels = batch["label"] if "label" in batch else batch["id"]
        if not len(labels):
            strategy = self.trainer.strategy
            if isinstance(strategy, Sharded) and strategy.lockstep:
                self._embed(self._classified, self.blank(batch))  # an act of all processes
        else:
            (logits,) = self.through(lambda part: [self._logits(part, self._classes[name])], batch)
            metrics.update(logits, labels, softmax_cross_entropy(logits, labels))
            self.predictions[name].add(logits, labels, batch["index"])

    def on_validation_epoch_end(self) -> None:
        """Logs each set under its name."""
        for name, metrics in self._sets():
            retrieval = isinstance(metrics, RetrievalMetrics)
            with few_samples():
                found = metrics.compute(self._group) if retrieval else metrics.compute()
                confusion = None if retrieval else metrics.confusion()
            for metric, value in found.items():
                shown = f"{name}/{metric}" == self.monitor
                self.log(f"{name}/{metric}", value, prog_bar=shown, batch_size=1)
            if confusion is not None:
                self.confusion[name] = confusion.cpu()

    def blank(self, batch: Batch) -> Batch:
        """One sample of zeros, of length 1."""
        lengths = {key: value.new_ones(1) for key, value in batch.items() if key.endswith(_LENGTH)}
        return super().blank(batch) | lengths

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the global batch, after they are averaged over processes."""
        micro_batches, _ = self._micro_batches(batch)

        def loss(features: list[Tensor], shared: list[Tensor]) -> Tensor:
            return self._exchange(features, shared, batch.get("id"), self._agree(features))

        def backward(part: Tensor, last: bool) -> None:
            with self._without_sync(not last):
                self.manual_backward(part)

        if self.stages is not None:
            return staged_backward(micro_batches, self.features, loss, self._shared, self.stages)
        return cached_backward(micro_batches, self.features, loss, self._shared, backward)

    def _exchange(
        self, features: Sequence[Tensor], shared: Sequence[Tensor], ids: Tensor | None, shards: Shards
    ) -> Tensor:
        scale, bias = shared if len(shared) == 2 else (shared[0], None)
        return self.exchange(features, scale, bias, ids, self.compute_loss, shards)

    def _embed(self, modality: str, batch: Batch) -> Tensor:
        given = batch[modality]
        if modality in self.front_ends:
            given = as_type(self.front_ends[modality](given), self.dtype)
        length = f"{modality}{_LENGTH}"
        return self.pair.embed(modality, given, *([batch[length]] if length in batch else []))

    def _logits(self, batch: Batch, classes: Float[Tensor, "classes dim"]) -> Float[Tensor, "batch classes"]:
        return self.pair.logit_scale.exp() * self._embed(self._classified, batch).float() @ classes.T

    def _embed_classes(self, prompts: Prompts) -> Float[Tensor, "classes dim"]:
        """Each prompt's embedding has unit length, their mean over the templates again (Radford et al. 2021)."""
        classes, templates = prompts.lengths.shape
        size = self.micro_batch_size or _TEXTS
        ids, lengths = (each.to(self.device).flatten(0, 1) for each in prompts)
        texts = {"text": ids, f"text{_LENGTH}": lengths}
        # In all processes alike: sharded weights are gathered by all of them for each forward.
        with self.trainer.precision_plugin.val_step_context():
            parts = [self.through(lambda part: [self._embed("text", part).float()], part)[0]
                     for part in split(texts, size)]  # fmt: skip
            found = torch.cat(parts)
        return F.normalize(found.view(classes, templates, -1).mean(1), dim=-1)

    def _agree(self, features: Sequence[Tensor]) -> Shards:
        return Shards.agree(len(features[0]), features[0].device, self._group)

    @property
    def _shared(self) -> list[nn.Parameter]:
        return [self.pair.logit_scale] + ([] if self.pair.logit_bias is None else [self.pair.logit_bias])

    @property
    def _group(self) -> dist.ProcessGroup | None:
        """The processes that hold other samples: peers that hold parts of one model hold the same."""
        return data_group(self.trainer)

    def _sets(self) -> list[tuple[str, SingleLabelMetrics | RetrievalMetrics]]:
        kinds = [cast(SingleLabelMetrics | RetrievalMetrics, metrics) for metrics in self.metrics]
        return list(zip(self.validation_names, kinds, strict=True))
