"""Who holds what: the processes of a job as a grid of pipeline stages, replicas, shards and tensor-parallel peers."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from triptych.errors import UserError

NAMES = ("pipeline", "replicate", "shard", "tensor")


@dataclass(frozen=True)
class Grid:
    """How many processes each axis has; their product is the number of processes.

    Args:
        pipeline: stages of consecutive blocks.
        replicate: groups that each hold a whole model, sharded or not (HSDP where ``shard`` is above 1, too).
        shard: processes that share the weights, gradients and optimizer states of a model (FSDP).
        tensor: processes that share each matrix product; peers see the same samples.
    """

    pipeline: int = 1
    replicate: int = 1
    shard: int = 1
    tensor: int = 1

    @classmethod
    def of(cls, processes: int, sharded: bool, replicas: int = 1, tensor: int = 1, pipeline: int = 1) -> "Grid":
        """The grid of so many processes: what tensors and stages leave is for data.

        Raises:
            UserError: the processes do not divide so.
        """
        rest, over = divmod(processes, tensor * pipeline)
        if over or not rest:
            raise UserError(
                f"{processes} processes do not divide into groups of trainer.tensor={tensor} times "
                f"trainer.pipeline={pipeline}: set trainer.devices to a multiple of {tensor * pipeline}"
            )
        if pipeline > 1 and (sharded or tensor > 1):
            other = "trainer.sharded=true" if sharded else f"trainer.tensor={tensor}"
            raise UserError(
                f"trainer.pipeline={pipeline} together with {other} is not built: a stage of a pipeline has its blocks "
                "whole. Take trainer=pipeline, of which trainer.devices may be a multiple for more data at a time, or "
                "set trainer.pipeline=1"
            )
        if not sharded:
            if replicas > 1:
                raise UserError(
                    f"trainer.replicas={replicas} is the number of whole models among sharded ones, and "
                    "trainer.sharded=false shards none: take trainer=fsdp, or leave trainer.replicas at 1"
                )
            return cls(pipeline, rest, 1, tensor)
        if rest % replicas:
            raise UserError(
                f"{rest} data-parallel processes do not divide into trainer.replicas={replicas} whole models: "
                f"choose a divisor of {rest}"
            )
        return cls(pipeline, replicas, rest // replicas, tensor)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sizes in the order of `NAMES`; neighbours in rank are neighbours in the last axis."""
        return self.pipeline, self.replicate, self.shard, self.tensor

    @property
    def data(self) -> int:
        """Processes (or groups of them) that see different samples."""
        return self.replicate * self.shard

    def data_rank(self, rank: int) -> int:
        """Which share of each batch the process of this rank sees."""
        return rank // self.tensor % self.data

    @property
    def plain(self) -> bool:
        """Whether every process holds the whole model."""
        return self.pipeline == self.shard == self.tensor == 1


class Mesh:
    """This process's place in a grid, and the groups that it shares each axis with; all processes must make it.

    Args:
        grid: of all processes.
        device_type: "cpu" or "cuda".
    """

    def __init__(self, grid: Grid, device_type: str) -> None:
        self.grid = grid
        self.devices: DeviceMesh = init_device_mesh(device_type, grid.shape, mesh_dim_names=NAMES)
        self._data = self.devices["replicate", "shard"]._flatten("data")
        self._model = self.devices["shard", "tensor"]._flatten("model")

    @cached_property
    def data_rank(self) -> int:
        """Which share of each batch this process sees."""
        return self._data.get_local_rank()

    @property
    def data_group(self) -> dist.ProcessGroup:
        """The processes that see the other shares."""
        return self._data.get_group()

    @property
    def model_group(self) -> dist.ProcessGroup:
        """The processes that hold the same blocks of one model together."""
        return self._model.get_group()

    def rank(self, axis: str) -> int:
        """Of this process, along an axis."""
        return self.devices.get_local_rank(axis)

    def group(self, axis: str) -> dist.ProcessGroup:
        """The processes along an axis."""
        return self.devices.get_group(axis)

    @property
    def sharding(self) -> DeviceMesh:
        """What FSDP shards over: one axis, or two with replicas (HSDP)."""
        return self.devices["replicate", "shard"] if self.grid.replicate > 1 else self.devices["shard"]


def data_share(trainer: Trainer | None) -> tuple[int, int]:
    """Which share of each batch this process sees, of how many."""
    if trainer is None or trainer.world_size == 1:
        return 0, 1
    mesh = getattr(trainer.strategy, "mesh", None)
    return (mesh.data_rank, mesh.grid.data) if isinstance(mesh, Mesh) else (trainer.global_rank, trainer.world_size)


def data_group(trainer: Trainer) -> dist.ProcessGroup | None:
    """The processes that see the other shares; None for all there are."""
    mesh = getattr(trainer.strategy, "mesh", None)
    return mesh.data_group if isinstance(mesh, Mesh) else None


def speaks_for_share(trainer: Trainer) -> bool:
    """Whether this process is the one of its tensor-parallel peers and stages that counts, where each share counts
    once.
    """
    mesh = getattr(trainer.strategy, "mesh", None)
    return not isinstance(mesh, Mesh) or mesh.rank("tensor") == mesh.rank("pipeline") == 0


def backend_of(device: torch.device | str) -> str:
    """The backend of torch.distributed for a device; objects travel through the CPU everywhere."""
    return "cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo"
