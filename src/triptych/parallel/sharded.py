"""The Lightning strategy of processes that hold one model together: FSDP2, HSDP, tensor parallel, and both.

Everything that is saved goes by the names and shapes of the whole model, so that any number of processes, and any
strategy, can go on with it.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.utilities.distributed import _sync_ddp_if_available
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer

from triptych.parallel.apply import Sharding, outermost, parallelise
from triptych.parallel.mesh import Grid, Mesh
from triptych.parallel.norm import scale_gradients, total_norm
from triptych.parallel.optimizer_state import Places, part
from triptych.parallel.pieces import LAYOUTS, Cut, Spread, layout_of, local

PREFIX = "model."


class Sharded(ParallelStrategy):
    """Processes that each hold a part of `lightning_module.model`.

    Args:
        grid: how the processes divide.
        sharding: what is done to the model beside.
        timeout: how long a process may keep the others waiting.
    """

    lockstep = True
    """Each forward and backward pass is an act of all processes, so all must make as many."""

    def __init__(self, grid: Grid, sharding: Sharding, timeout: timedelta) -> None:
        super().__init__()
        self.grid, self.sharding, self.timeout = grid, sharding, timeout
        self._mesh: Mesh | None = None
        self._names: dict[str, nn.Parameter] = {}
        self._whole: list[nn.Parameter] = []
        self.parameters = (0, 0)
        """How many numbers the whole model has, and how many of them are trained."""

    @property
    def mesh(self) -> Mesh:
        """The processes; known once they are connected."""
        assert self._mesh is not None, "setup_environment comes first"
        return self._mesh

    # Lightning's side

    @property
    def root_device(self) -> torch.device:
        assert self.parallel_devices is not None
        return self.parallel_devices[self.local_rank]

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True

    def set_world_ranks(self) -> None:
        """Tells Lightning which process this is, as its own strategies do: it logs in the first one only. What it
        read of the environment when it was imported may be older than the processes.
        """
        rank_zero_only.rank = self.global_rank  # pyright: ignore[reportFunctionMemberAccess]

    def setup_environment(self) -> None:
        super().setup_environment()
        self._mesh = Mesh(self.grid, self.root_device.type)

    def setup(self, trainer: Trainer) -> None:
        """Cuts up the model, then makes the optimizer over what is here of it."""
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        self.model_to_device()
        self._cut()
        self.barrier()
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def model_to_device(self) -> None:
        assert self.model is not None
        self.model.to(self.root_device)

    def barrier(self, name: str | None = None) -> None:
        dist.barrier(device_ids=[self.root_device.index] if self.root_device.type == "cuda" else None)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        box = [obj]
        dist.broadcast_object_list(box, src)
        return box[0]

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        return _sync_ddp_if_available(tensor, group, reduce_op=reduce_op) if isinstance(tensor, Tensor) else tensor

    def teardown(self) -> None:
        assert self.accelerator is not None
        self.precision_plugin.teardown()
        self.accelerator.teardown()

    # Gradients

    @contextmanager
    def block_backward_sync(self) -> Generator[None]:
        """Holds gradients back in this process, for one reduction at the last micro-batch. Lightning's own does nothing
        for FSDP2.
        """
        units = [part for part in outermost(self.network) if isinstance(part, FSDPModule)]
        for unit in units:
            unit.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            for unit in units:
                unit.set_requires_gradient_sync(True)

    def reduce_gradients(self) -> None:
        """Averages the gradients of what no process can hold a part of: scalars."""
        if self.grid.data == 1:
            return
        gradients = [parameter.grad for parameter in self._whole if parameter.grad is not None]
        if gradients:
            together = torch.stack(gradients)
            dist.all_reduce(together, op=dist.ReduceOp.SUM, group=self.mesh.data_group)
            for gradient, total in zip(gradients, (together / self.grid.data).unbind(), strict=True):
                gradient.copy_(total)

    def clip_gradients(self, parameters: Sequence[Tensor], most: float | None) -> Tensor:
        """The norm of the gradients of all processes, each counted once; brought down to `most` where it is given."""
        norm = total_norm(parameters, self.root_device)
        if most is not None:
            scale_gradients(parameters, norm, most)
        return norm

    # What is saved

    @property
    def network(self) -> nn.Module:
        """The model within the Lightning module."""
        assert self.lightning_module is not None
        return self.lightning_module.get_submodule("model")

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Every process saves what it holds."""
        layouts = {name: LAYOUTS[parameter].own for name, parameter in self._names.items()}
        checkpoint["state_dict"] = {
            key: part(value, layouts.get(key.removeprefix(PREFIX))) for key, value in checkpoint["state_dict"].items()
        }
        if checkpoint.get("ema") is not None:
            checkpoint["ema"] = {key: part(value, layouts.get(key)) for key, value in checkpoint["ema"].items()}
        checkpoint["optimizer_states"] = [
            self._places(optimizer).of_all(state)
            for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        ]
        self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint of a whole model, of which every tensor is what is here."""
        checkpoint = self.checkpoint_io.load_checkpoint(Path(checkpoint_path), weights_only=weights_only)
        for prefix, tensors in ((PREFIX, checkpoint["state_dict"]), ("", checkpoint.get("ema") or {})):
            for name, parameter in self._names.items():
                if (whole := tensors.get(f"{prefix}{name}")) is not None:
                    tensors[f"{prefix}{name}"] = LAYOUTS[parameter].own.local_of(whole, local(parameter))
        return checkpoint

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        state = self.lightning_module.state_dict(keep_vars=True)
        with torch.no_grad():
            for key, saved in checkpoint["state_dict"].items():
                if strict or key in state:
                    local(state[key]).copy_(saved)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(self._places(optimizer).of_here(state))

    # How

    def _cut(self) -> None:
        model = self.network
        self.parameters = counts(model.parameters())
        cuts = parallelise(model, self.mesh, self.sharding)
        self._names = dict(model.named_parameters())
        self._whole = [parameter for parameter in self._names.values() if parameter.ndim == 0]
        own = {name: layout_of(each, cuts.get(name), self._writes(each, cuts.get(name)))
               for name, each in self._names.items()}  # fmt: skip
        group = self.mesh.model_group
        peers: list[Any] = [None] * group.size()
        dist.all_gather_object(peers, own, group)
        for name, parameter in self._names.items():
            LAYOUTS[parameter] = Spread(own[name], [peer[name] for peer in peers], group)

    def _writes(self, parameter: nn.Parameter, cut: Cut | None) -> bool:
        mesh = self.mesh
        sharded = parameter is not local(parameter)
        return (
            mesh.rank("replicate") == 0
            and (sharded or mesh.rank("shard") == 0)
            and (cut is not None or mesh.rank("tensor") == 0)
        )

    def _places(self, optimizer: Optimizer) -> Places:
        return Places(optimizer, list(self._names.values()))


def counts(parameters: Iterable[Tensor]) -> tuple[int, int]:
    """How many numbers there are, and how many of them are trained."""
    sizes = [(each.numel(), each.requires_grad) for each in parameters]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)
