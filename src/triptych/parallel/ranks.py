"""The processes that share one job: those that a launcher such as torchrun started, or our own (`parallel.launch`)."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from torch._C._distributed_c10d import (  # in torch.distributed too, but not for type checkers
    PrefixStore,
    Store,
    TCPStore,
)

from triptych.errors import UserError
from triptych.parallel.attempt import agree_on_attempt
from triptych.parallel.launch import ATTEMPT, CORES, LOCAL, LOCAL_WORLD, MEETING, RANK, WORLD, shared

Found = TypeVar("Found")

LONG = timedelta(days=1)


@dataclass(frozen=True)
class Ranks:
    """This process among those that share the work.

    Args:
        rank: of this process, from 0.
        world_size: how many there are.
        local: place of this process on its machine: which of its devices it takes.
        local_size: how many there are on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """On how many machines they run, each with as many processes."""
        return self.world_size // self.local_size

    @property
    def threads(self) -> int | None:
        """This process's share of the cores; None where it has them to itself."""
        if self.local_size == 1:
            return None
        if own := os.environ.get(CORES):
            return int(own)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.local_size)

    def agree(self, work: Callable[[], Found]) -> Found:
        """What `work` gives in this process, once it has been done in all of them.

        Raises:
            UserError: `work` raised it in one of them; the same one in all of them.
        """
        result: list[Found] = []
        self.gather(lambda: result.append(work()))
        return result[0]

    def gather(self, work: Callable[[], Found]) -> list[Found]:
        """What `work` gives in each process, by rank, in every process.

        Raises:
            UserError: see `agree`.
        """
        if self.world_size == 1:
            return [work()]
        try:
            own: Found | UserError = work()
        except UserError as error:
            own = UserError(str(error))
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, own)
        for rank, each in enumerate(found):
            if isinstance(each, UserError):
                alone = rank > 0 and not any(isinstance(other, UserError) for other in found[:rank])
                raise shared(UserError(f"{each} (rank {rank})") if alone else each)
        return found

    def from_first(self, work: Callable[[], Found]) -> Found:
        """What `work` gives in the first process, which alone does it, in every process.

        Raises:
            UserError: see `agree`.
        """
        found: Any = self.gather(lambda: work() if self.first else None)[0]
        return found


@contextmanager
def joined(backend: str = "gloo", timeout: float | None = None) -> Iterator[Ranks]:
    """The processes that a launcher started, connected; this one alone where there was no launcher.

    Args:
        backend: of torch.distributed, such as "gloo" or "cpu:gloo,cuda:nccl".
        timeout: seconds that a process may keep the others waiting; None for a day.
    """
    world_size = int(os.environ.get(WORLD, "1"))
    if world_size == 1:
        yield Ranks()
        return
    rank, local = int(os.environ[RANK]), int(os.environ.get(LOCAL, "0"))
    # The backend's own limit comes after that of `Watch`, which names who is missing.
    patience = LONG if timeout is None else timedelta(seconds=1.2 * timeout + 10)
    meeting = os.environ.get(MEETING)
    store = _meet(Path(meeting), rank, world_size, patience) if meeting else _of_agent(rank, world_size, patience)
    dist.init_process_group(
        backend, init_method=None if store else "env://", store=store, rank=rank, world_size=world_size,
        timeout=patience,
    )  # fmt: skip
    try:
        yield Ranks(rank, world_size, local, int(os.environ.get(LOCAL_WORLD, world_size)))
    finally:
        dist.destroy_process_group()


def _meet(meeting: Path, rank: int, world_size: int, patience: timedelta) -> Store:
    """A store for processes of one machine, at a port that the first of them was given by the system."""
    place, address = meeting / "port", "127.0.0.1"
    if rank == 0:
        store = TCPStore(address, 0, world_size, is_master=True, timeout=patience, wait_for_workers=False)
        unfinished = meeting / "port.part"
        unfinished.write_text(str(store.port))
        unfinished.rename(place)
    else:
        while not place.exists():
            time.sleep(0.01)
        store = TCPStore(address, int(place.read_text()), world_size, is_master=False, timeout=patience)
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(store.port)}  # as torchrun says it
    return store


def _of_agent(rank: int, world_size: int, patience: timedelta) -> Store | None:
    """The part of torchrun's store that is this attempt's own; None where the first process serves a new store."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=patience)
    name = agree_on_attempt(PrefixStore("attempts", store), rank, world_size, patience.total_seconds())
    os.environ[ATTEMPT] = name
    return PrefixStore(f"attempt/{name}", store)


def connect(timeout: float) -> Store:
    """One more connection to the store that the processes of the job share.

    Args:
        timeout: seconds to wait for an answer.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    patience = timedelta(seconds=timeout)
    return TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=patience)
