"""The Lightning strategy of processes that each have some blocks of one model: pipeline parallel, and copies of the
pipeline that see different samples.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from triptych.nn.float8 import use_float8
from triptych.parallel.apply import Sharding
from triptych.parallel.link import Link
from triptych.parallel.mesh import Grid
from triptych.parallel.pieces import LAYOUTS, Spread, layout_of
from triptych.parallel.pipeline import Pipeline
from triptych.parallel.sharded import PREFIX, Sharded, counts
from triptych.parallel.stage_state import StagePlaces, Whole
from triptych.parallel.stages import keep_stage, stacks_of, stage_stacks

BUCKET = 1 << 23
"""Gradients that copies of a stage average at a time."""
PER_STAGE = 4
"""Micro-batches for each stage where no size is given: with these a stage stands idle for at most a fifth of a step."""


class Pipelined(Sharded):
    """Processes of which each is a stage of `lightning_module.model`. What a model gives counts in the last one, and is
    told the others where they need it.
    """

    lockstep = False

    def __init__(self, grid: Grid, sharding: Sharding, timeout: timedelta) -> None:
        super().__init__(grid, sharding, timeout)
        self._pipeline: Pipeline | None = None
        self._whole_model: Whole | None = None
        self._optimizer_places: list[StagePlaces] = []

    @property
    def pipeline(self) -> Pipeline:
        """The stages; there once the model is cut."""
        assert self._pipeline is not None, "setup comes first"
        return self._pipeline

    def micro_batch_size(self, given: int | None, count: int) -> int:
        """Samples of a micro-batch, of a batch of `count`."""
        return given or max(1, -(-count // (PER_STAGE * self.grid.pipeline)))

    # Lightning's side

    def setup(self, trainer: Trainer) -> None:
        """Makes the optimizer over the whole model, which alone tells all groups of parameters, then takes away what is
        not of this stage.
        """
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self._cut()
        self.model_to_device()
        self.barrier()
        self.setup_precision_plugin()

    @contextmanager
    def block_backward_sync(self) -> Generator[None]:
        """Nothing is exchanged in a backward pass but between stages."""
        yield

    def reduce_gradients(self) -> None:
        """Averages the gradients over the copies of this stage."""
        if self.grid.data == 1:
            return
        gradients = [parameter.grad for parameter in self._names.values() if parameter.grad is not None]
        while gradients:
            bucket = [gradients.pop()]
            while gradients and gradients[-1].dtype == bucket[0].dtype and sum(map(Tensor.numel, bucket)) < BUCKET:
                bucket.append(gradients.pop())
            together = torch.cat([each.flatten() for each in bucket])
            dist.all_reduce(together, group=self.mesh.data_group)
            together /= self.grid.data
            for gradient, mean in zip(bucket, together.split([each.numel() for each in bucket]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    # What is saved

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Every process saves what it holds, and lists what the others do."""
        assert self._whole_model is not None
        writes = self.mesh.rank("replicate") == 0
        checkpoint["state_dict"] = self._whole_model.parts(checkpoint["state_dict"], writes, PREFIX)
        if checkpoint.get("ema") is not None:
            checkpoint["ema"] = self._whole_model.parts(checkpoint["ema"], writes)
        checkpoint["optimizer_states"] = [
            places.of_all(state, self.mesh.group("pipeline"))
            for places, state in zip(self._optimizer_places, checkpoint["optimizer_states"], strict=True)
        ]
        self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint of a whole model, without the tensors of other stages."""
        assert self._whole_model is not None
        checkpoint = self.checkpoint_io.load_checkpoint(Path(checkpoint_path), weights_only=weights_only)
        here = self.network.state_dict()
        checkpoint["state_dict"] = self._whole_model.keep(checkpoint["state_dict"], here, PREFIX)
        if checkpoint.get("ema") is not None:
            checkpoint["ema"] = self._whole_model.keep(checkpoint["ema"], here)
        return checkpoint

    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        saved = checkpoint["optimizer_states"]
        for optimizer, places, state in zip(self.optimizers, self._optimizer_places, saved, strict=True):
            optimizer.load_state_dict(places.of_here(state))

    # How

    def _cut(self) -> None:
        model, stages = self.network, self.grid.pipeline
        stage = self.mesh.rank("pipeline")
        self._whole_model, self.parameters = Whole(model), counts(model.parameters())
        link = Link(stage, stages)
        stage_stacks(model, link, {name for name, each in model.named_parameters() if each.requires_grad})
        keep_stage(model, stage, stages, self.root_device)
        stacks = stacks_of(model, stages).values()
        if self.sharding.float8:
            use_float8(stacks)
        if self.sharding.compile:
            for stack in stacks:
                for block in stack.blocks:
                    block.compile()
        self._pipeline = Pipeline(link, self.mesh.group("pipeline"), self.root_device)
        self._names = dict(model.named_parameters())
        kept = {id(parameter) for parameter in self._names.values()}
        self._optimizer_places = [StagePlaces(optimizer, kept) for optimizer in self.optimizers]
        writes = self.mesh.rank("replicate") == 0
        for parameter in self._names.values():
            own = layout_of(parameter, None, writes)
            LAYOUTS[parameter] = Spread(own, [own], self.mesh.model_group)
