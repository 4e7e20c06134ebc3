"""Small numbers that the hosts of a job tell each other at each step, apart from what their devices exchange."""

import time

import torch
import torch.distributed as dist


class Control:
    """Exchanges a few numbers at a time, through the CPU: no device is waited for. Who waits here for the others, and
    for how long, tells who is late.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        """Seconds so far that this process was ahead of the last one."""
        self._group: dist.ProcessGroup | None = None

    def gather(self, *numbers: int | float) -> list[list[float]]:
        """The numbers of every process, by rank; each must give as many."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return [[float(number) for number in numbers]]
        if self._group is None:
            group = dist.new_group(backend="gloo")
            assert isinstance(group, dist.ProcessGroup)
            self._group = group
        own = torch.tensor(numbers, dtype=torch.float64)
        everyone = own.new_empty(dist.get_world_size() * len(own))
        started = time.monotonic()
        dist.all_gather_into_tensor(everyone, own, self._group)
        self.waited += time.monotonic() - started
        return everyone.unflatten(0, (-1, len(own))).tolist()
