"""Micro-batches through the stages of a pipeline, by torch.distributed.pipelining (1F1B; Narayanan et al., 2019,
"PipeDream").

Each stage runs the same work on the same micro-batches: a loss, or embeddings. Between stages go the tokens of the
stacks alone; each stage knows from its own input how they lie. Micro-batches may differ in their tokens (packed texts
and clips): they travel in rows of one length, the rest of which is padding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.nn import functional as F

from triptych.parallel.link import Crossing, Link

Work = Callable[[Any], Any]


class Passage(nn.Module):
    """One stage of the work on one micro-batch, as a `PipelineStage` calls it."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link
        self.work: Work = _nothing
        self.items: Sequence[Any] = ()
        self.crossings: list[list[Crossing]] = []
        self.rooms: list[int] = []
        self.found: list[Any] = []

    def forward(self, *arrived: Tensor, number: int) -> tuple[Tensor, ...]:
        """The padded tokens for the next stage; in the last stage what the work gives, where that is a loss."""
        crossings = self.crossings[number]
        tokens = [each[: c.rows].view(c.shape) for each, c in zip(arrived, crossings, strict=bool(arrived))]
        with self.link.open(tokens) as left:
            found = self.work(self.items[number])
        self.found.append(found.detach() if isinstance(found, Tensor) else found)
        if self.link.last:
            return (found,) if isinstance(found, Tensor) else ()
        return tuple(
            F.pad(x.to(c.dtype).reshape(c.rows, -1), (0, 0, 0, room - c.rows))
            for x, c, room in zip(left, crossings, self.rooms, strict=True)
        )


@dataclass
class _Ready:
    """A schedule for so many rows of tokens."""

    rooms: list[int]
    stage: PipelineStage
    schedule: Schedule1F1B | ScheduleGPipe


class Pipeline:
    """The stages of one model.

    Args:
        link: between the stacks of this process and those of its neighbours.
        group: the processes of the stages, in order.
        device: of this process.
    """

    def __init__(self, link: Link, group: dist.ProcessGroup, device: torch.device) -> None:
        self.link, self._group, self._device = link, group, device
        self._passage = Passage(link)
        self._ready: dict[Any, _Ready] = {}

    def forward(self, work: Callable[[Any], list[Tensor]], items: Sequence[Any]) -> list[list[Tensor]]:
        """What `work` gives for each item, without gradients; right in the last stage, see `share`."""
        with torch.no_grad():
            return self._run(work, items, learns=False)

    def backward(self, work: Callable[[Any], Tensor], items: Sequence[Any]) -> Tensor:
        """Adds up the gradients of what `work` gives, a scalar, over the items, at least one for each stage; the sum of
        the scalars, in all stages.
        """
        return self.share(torch.stack(self._run(work, items, learns=True)).sum())

    def share(self, tensor: Tensor) -> Tensor:
        """The last stage's tensor, in all of them."""
        found = tensor.detach().contiguous().clone()
        dist.broadcast(found, group=self._group, group_src=self.link.stages - 1)
        return found

    def _run(self, work: Work, items: Sequence[Any], learns: bool) -> list[Any]:
        passage = self._passage
        passage.work, passage.items, passage.found = work, items, []
        passage.crossings = [self._measure(work, item) for item in items]
        ready = self._schedule(passage.crossings, learns)
        passage.rooms = ready.rooms
        count = len(items)
        try:
            ready.schedule.step(
                arg_mbs=[()] * count,
                kwarg_mbs=[{"number": number} for number in range(count)],
                target_mbs=[None] * count if learns else None,
                return_outputs=False,
            )
            return passage.found
        finally:
            ready.stage.clear_runtime_states()
            passage.work, passage.items, passage.found = _nothing, (), []

    def _measure(self, work: Work, item: Any) -> list[Crossing]:
        """How tokens lie between the stages; costs the embedding of the input, and draws no random numbers."""
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices), self.link.measuring() as crossings:
            work(item)
        assert crossings, "the work calls no stack"
        return crossings

    def _schedule(self, crossings: list[list[Crossing]], learns: bool) -> _Ready:
        """A schedule with room for all micro-batches: one that is there, as making one is an exchange."""
        first = crossings[0]
        kinds = [(c.shape[-1], c.dtype, c.arrives_learning, c.leaves_learning) for c in first]
        needed = [max(each[place].rows for each in crossings) for place in range(len(first))]
        key = (learns, len(crossings), *kinds)
        known = self._ready.get(key)
        if known is not None and all(room >= rows for room, rows in zip(known.rooms, needed, strict=True)):
            return known
        rooms = needed if known is None else [max(pair) for pair in zip(known.rooms, needed, strict=True)]
        arriving = [torch.empty(room, c.shape[-1], dtype=c.dtype, device="meta", requires_grad=c.arrives_learning)
                    for room, c in zip(rooms, first, strict=True)]  # fmt: skip
        leaving = [torch.empty(room, c.shape[-1], dtype=c.dtype, device="meta", requires_grad=c.leaves_learning)
                   for room, c in zip(rooms, first, strict=True)]  # fmt: skip
        if self.link.last:
            leaving = [torch.empty((), device="meta")] if learns else []
        stage = PipelineStage(
            self._passage, self.link.stage, self.link.stages, self._device,
            input_args=() if self.link.first else tuple(arriving), output_args=tuple(leaving), group=self._group,
        )  # fmt: skip
        count = len(crossings)
        made = (
            Schedule1F1B(stage, count, loss_fn=_as_it_is, scale_grads=False) if learns else ScheduleGPipe(stage, count)
        )
        self._ready[key] = _Ready(rooms, stage, made)
        return self._ready[key]


def _as_it_is(output: tuple[Tensor], target: None) -> Tensor:
    """The loss that the work gave."""
    return output[0]


def _nothing(item: Any) -> Any:
    raise AssertionError("no work was given")
