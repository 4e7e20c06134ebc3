"""Several processes that share an evaluation: those that a launcher such as torchrun started, or our own."""

import multiprocessing
import multiprocessing.connection
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from triptych.analysis.machine import usable_cores
from triptych.errors import UserError

Found = TypeVar("Found")

_RANK, _WORLD, _LOCAL, _MEETING = "RANK", "WORLD_SIZE", "LOCAL_RANK", "TRIPTYCH_MEETING"


class Ranks:
    """This process among those that share the work; only results travel between them, through the CPU.

    Args:
        rank: of this process, from 0.
        world_size: how many there are.
        local: place of this process on its machine: which of its devices it takes.
        local_size: how many there are on this machine.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, local: int = 0, local_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size
        self.local, self.local_size = local, local_size

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    @property
    def threads(self) -> int | None:
        """This process's share of the cores; None where it has them to itself."""
        return max(1, usable_cores() // self.local_size) if self.local_size > 1 else None

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
        for each in found:
            if isinstance(each, UserError):
                raise each
        return found


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that a launcher started, connected; this one alone where there was no launcher."""
    world_size = int(os.environ.get(_WORLD, "1"))
    if world_size == 1:
        yield Ranks()
        return
    rank, local = int(os.environ[_RANK]), int(os.environ.get(_LOCAL, "0"))
    meeting = os.environ.get(_MEETING)
    # gloo on any device: logits have come to the CPU before they travel.
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}" if meeting else "env://", rank=rank, world_size=world_size,
        timeout=timedelta(days=1),
    )  # fmt: skip
    try:
        yield Ranks(rank, world_size, local, int(os.environ.get("LOCAL_WORLD_SIZE", world_size)))
    finally:
        dist.destroy_process_group()


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get(_WORLD, "1")) > 1


def launch(body: Callable[[Any], int], argument: Any, processes: int) -> int:
    """Runs `body(argument)` in so many new processes, each of which finds itself `joined`; the first exit code that is
    not 0. When one fails, the others are ended.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        crew = [
            context.Process(target=_child, args=(body, argument, rank, processes, str(meeting)))
            for rank in range(processes)
        ]
        for each in crew:
            each.start()
        try:
            waiting = list(crew)
            while waiting:
                multiprocessing.connection.wait([each.sentinel for each in waiting])
                waiting = [each for each in waiting if each.exitcode is None]
                failed = [each.exitcode for each in crew if each.exitcode]
                # A user's mistake is the same in all of them, and the first one tells it.
                if failed and failed[0] != UserError.exit_code:
                    return failed[0]
        finally:
            for each in crew:
                if each.exitcode is None:
                    each.terminate()
                each.join()
        return next((each.exitcode for each in crew if each.exitcode), 0)


def _child(body: Callable[[Any], int], argument: Any, rank: int, processes: int, meeting: str) -> None:
    os.environ |= {_RANK: str(rank), _LOCAL: str(rank), _WORLD: str(processes), _MEETING: meeting}
    os.environ["LOCAL_WORLD_SIZE"] = str(processes)
    try:
        code = body(argument)
    except UserError as error:
        if rank == 0:
            print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
