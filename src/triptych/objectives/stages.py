"""What an objective does otherwise where its model is in the stages of a pipeline."""

from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.objectives.batch import Batch, size_of, split
from triptych.parallel.pipeline import Pipeline
from triptych.parallel.pipelined import Pipelined
from triptych.parallel.stages import stage_of_each


class InStages(LightningModule):
    """A module of which the model may be in stages, one in each process: then it runs by way of all of them, on
    micro-batches, and what comes of it is known in the last one only, until that tells the others.
    """

    in_stages = True
    """Whether it can be trained so."""
    model: nn.Module
    micro_batch_size: int | None

    @property
    def stages(self) -> Pipeline | None:
        """The stages of the model, where it is in stages."""
        strategy = self.trainer.strategy
        return strategy.pipeline if isinstance(strategy, Pipelined) else None

    def most(self, count: int) -> int:
        """Samples of a micro-batch of a batch of so many."""
        strategy = self.trainer.strategy
        if isinstance(strategy, Pipelined):
            return strategy.micro_batch_size(self.micro_batch_size, count)
        return self.micro_batch_size or max(count, 1)

    def through(self, work: Callable[[Batch], list[Tensor]], batch: Batch) -> list[Tensor]:
        """What `work` gives for the samples of a batch, outside of training: where the model is in stages, by way of
        all of them, and then known to all.
        """
        if self.stages is None:
            return work(batch)
        parts = list(split(batch, self.most(size_of(batch)))) or [batch]
        found = self.stages.forward(work, parts)
        return [self.stages.share(torch.cat(each)) for each in zip(*found, strict=True)]

    def told(self, value: Tensor) -> Tensor:
        """A value that is made of what comes after the blocks, which only the last stage has."""
        return value if self.stages is None else self.stages.share(value)


def check_stages(objective: InStages, stages: int, precision: str) -> None:
    """Raises UserError where a training cannot be that of a pipeline of so many stages."""
    if precision == "16-mixed":
        raise UserError(
            f"trainer.precision={precision} scales a loss that only the last of trainer.pipeline={stages} stages "
            "knows, which is not built: take bf16-mixed or 32-true"
        )
    if not objective.in_stages:
        raise UserError(
            f"{type(objective).__name__} keeps what the tower gives, and with trainer.pipeline={stages} no process has "
            "a whole tower: take trainer=ddp"
        )
    stage_of_each(objective.model, stages)
