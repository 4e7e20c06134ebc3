"""What all objectives share: one batch is one optimizer step, split into micro-batches whose gradients add up
exactly.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from triptych.errors import UserError
from triptych.features.uneven import Uneven
from triptych.objectives.batch import Batch, size_of, split
from triptych.objectives.guard import FiniteGuard
from triptych.objectives.stages import InStages
from triptych.objectives.steps import planned_steps
from triptych.parallel.control import Control
from triptych.parallel.sharded import Sharded

# What a resume takes from the configuration and not from the checkpoint; the schedule does so for the rates.
SETTINGS = ("weight_decay", "betas", "eps", "momentum", "nesterov", "ns_steps")


class Objective(InStages, ABC):
    """A model, its loss and its metrics, trained by manual optimisation.

    A subclass says what the loss of some samples is (`loss`), may change the whole batch first (`prepare`), and
    validates. The base makes one optimizer step of each batch, so that `trainer.global_step` counts batches, and

    - splits the batch into micro-batches of at most `micro_batch_size` samples (and, where these have their own sizes,
      of no more than `Uneven.cuts` says), each weighted by its share of the samples of all ranks: the gradients are
      those of the whole batch up to float rounding, whatever the split;
    - clips the gradients to a global norm of `clip`, after unscaling them where float16 needs a scaled loss;
    - stops with a TrainingFault by a loss or gradient norm that is not finite, or leaves out up to
      `skip_bad_steps` such steps in a row, which count as steps (see `FiniteGuard`); `on_bad_step` is told of each;
    - steps the schedule, and logs `train/loss`, `lr` (of the fastest group) and `grad_norm` (before clipping) every
      `trainer.log_every_n_steps` steps; in between it never waits for a GPU.

    `optimizer(model)` and `schedule(optimizer, total_steps)` are factories. After a resume, the settings of the
    optimizer are those given here, not those saved: what a configuration says is what runs.

    A subclass says which metrics a validation logs (`validation_metrics`), and which of them tells the best checkpoint
    (`monitor`).
    """

    monitor: str
    validation_metrics: list[str]

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        clip: float | None = None,
        micro_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if clip is not None and not clip > 0:
            raise UserError(f"objective.clip is {clip}, but must be above 0; null turns clipping off")
        if micro_batch_size is not None and micro_batch_size < 1:
            raise UserError(
                f"micro_batch_size is {micro_batch_size}, but must be at least 1; null takes the whole batch at once"
            )
        self.automatic_optimization = False
        self.model = model
        self.clip = clip
        self.micro_batch_size = micro_batch_size
        self.guard = FiniteGuard()
        self.on_bad_step: Callable[[int, str, list[int]], None] = _ignore
        self.control = Control()
        self._good = True
        self._make_optimizer = optimizer
        self._make_schedule = schedule
        self._settings: list[dict[str, Any]] = []
        self._grad_norm: Tensor | None = None

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over the samples of a micro-batch, a scalar."""

    def prepare(self, batch: Batch) -> Batch:
        """Changes the batch as a whole, before it is split; draws of random numbers for the step belong here."""
        return batch

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """The optimizer over the model, and the schedule over the planned number of steps."""
        optimizer = self._make_optimizer(self.model)
        self._settings = [{key: group[key] for key in SETTINGS if key in group} for group in optimizer.param_groups]
        return [optimizer], [self._make_schedule(optimizer, planned_steps(self.trainer))]

    def on_train_start(self) -> None:
        """Puts the configured settings of the optimizer back over those that a checkpoint brought."""
        for group, settings in zip(self.trainer.optimizers[0].param_groups, self._settings, strict=True):
            group.update(settings)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimizer step; returns the loss of the batch, detached, on the device: of all ranks' samples where they
        are asked at this step, else of this rank's.
        """
        optimizer = cast(LightningOptimizer, self.optimizers())
        step = self.trainer.global_step + 1
        logged = self._logs_now
        optimizer.zero_grad()
        self.guard.take(step, batch.get("index"))
        loss = self._backward(self.prepare(batch))
        agreed = logged or self.guard.limit > 0 or loss.device.type == "cpu"
        reported = self._mean_of_ranks(loss) if agreed else loss
        self._good = self._watch("the loss", reported, step)
        if logged:
            self._check_finite()
        if isinstance(self.trainer.strategy, Sharded):
            self.trainer.strategy.reduce_gradients()
        optimizer.step()  # clips and looks at the gradients in `on_before_optimizer_step`
        self.guard.made(self._good)
        if logged:
            self.log("train/loss", reported, prog_bar=True, batch_size=1)
            self.log("lr", max(group["lr"] for group in optimizer.param_groups), batch_size=1)
            if self._grad_norm is not None:
                self.log("grad_norm", self._grad_norm, batch_size=1)
        cast(LRScheduler, self.lr_schedulers()).step()
        return reported

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips by global norm; Lightning calls this within the step, when gradients are complete and unscaled."""
        if self._good and (self.clip is not None or self._logs_now or self.guard.limit > 0):
            self._good = self._look_at_gradients(optimizer)
        if not self._good:
            optimizer.zero_grad()  # the step counts, and changes nothing

    def _look_at_gradients(self, optimizer: Optimizer) -> bool:
        """Clips the gradients and keeps their norm for the log; whether it is finite."""
        gradients = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        # A fused optimizer unscales float16 gradients itself, later.
        scale = scaler.get_scale() if scaler and getattr(optimizer, "_step_supports_amp_scaling", False) else 1.0
        if isinstance(self.trainer.strategy, Sharded):
            norm = self.trainer.strategy.clip_gradients(gradients, None if self.clip is None else self.clip * scale)
        elif self.clip is None:
            norm = get_total_norm([cast(Tensor, p.grad) for p in gradients])
        else:
            norm = clip_grad_norm_(gradients, self.clip * scale)
        norm = norm / scale
        self._grad_norm = norm
        if scaler is not None:  # it expects overflows, and skips the step itself
            return True
        return self._watch("the norm of the gradients", norm, self.trainer.global_step + 1)

    def _watch(self, name: str, value: Tensor, step: int) -> bool:
        good = self.guard.watch(name, value, step)
        if not good:
            self.on_bad_step(step, f"{name} is {value.item()}", self.guard.samples(step))
        return good

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to save weights that a loss which is not finite may have spoilt."""
        self._check_finite()

    def on_train_end(self) -> None:
        """The last steps since the last logged one are looked at too."""
        self._check_finite()

    def _backward(self, batch: Batch) -> Tensor:
        """Adds up the gradients of the micro-batches; returns the mean loss of the batch.

        A rank that has no sample of a short last batch takes part in the exchange of gradients with zeros.
        """
        count = size_of(batch)
        micro_batches, share = self._micro_batches(batch)

        def weighted(micro_batch: Batch) -> Tensor:
            if samples := size_of(micro_batch):
                return self.loss(micro_batch) * (samples / count * share)
            return self.loss(self.blank(batch)) * 0.0

        if self.stages is not None:
            return self.stages.backward(weighted, micro_batches)
        total = torch.zeros((), device=self.device)
        for index, micro_batch in enumerate(micro_batches):
            with self._without_sync(index < len(micro_batches) - 1):
                loss = weighted(micro_batch)
                self.manual_backward(loss)
            total += loss.detach()
        return total

    def _micro_batches(self, batch: Batch) -> tuple[list[Batch], float]:
        """At least one, and one for each stage of a pipeline; where each pass is an act of all ranks, as many in each.
        Those without a sample are at the end.

        And this rank's samples over the mean of all ranks: averaging gradients over ranks then weighs each sample
        alike.
        """
        count = size_of(batch)
        found = list(split(batch, self.most(count))) or [batch]
        everyone = self.control.gather(count, len(found))
        share = count * len(everyone) / sum(samples for samples, _ in everyone) if count else 0.0
        if not isinstance(self.trainer.strategy, Sharded):
            return found, share
        empty = {key: value[:0] for key, value in batch.items()}
        strategy = self.trainer.strategy
        most = strategy.grid.pipeline if self.stages else max(int(batches) for _, batches in everyone)
        return [*found, *[empty] * (most - len(found))], share

    def blank(self, batch: Batch) -> Batch:
        """One sample of zeros, shaped like those of an empty batch."""
        return {
            key: value.blank() if isinstance(value, Uneven) else value.new_zeros(1, *value.shape[1:])
            for key, value in batch.items()
        }

    def _without_sync(self, quiet: bool) -> AbstractContextManager[None]:
        """Holds back the exchange of gradients between ranks until the last micro-batch."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if quiet and isinstance(strategy, ParallelStrategy) else nullcontext()

    def _mean_of_ranks(self, value: Tensor) -> Tensor:
        return value if self.trainer.world_size == 1 else self.trainer.strategy.reduce(value.clone(), reduce_op="mean")

    def _check_finite(self) -> None:
        if self.trainer.world_size == 1:
            self.guard.check()
        else:
            self.guard.check(lambda step: self.trainer.strategy.reduce(step.clone(), reduce_op="min"))

    @property
    def _logs_now(self) -> bool:
        """Whether Lightning will write this step down: every `trainer.log_every_n_steps`."""
        return self.trainer._logger_connector.should_update_logs


def _ignore(step: int, reason: str, samples: list[int]) -> None:
    """Nothing is to be done about a step that is left out."""
