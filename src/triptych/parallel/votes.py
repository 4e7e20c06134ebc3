"""What processes must decide together at a step boundary, without one waiting for another."""

import torch
import torch.distributed as dist


class Votes:
    """Flags that any process may raise, and that all see raised at the same step.

    Each `exchange` starts one small exchange in the background, and brings home the one that was started a step before:
    a flag is seen one step after it was raised, and no step waits. A process that is alone sees its flags at once.

    Args:
        names: of the flags.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._raised: set[str] = set()
        self._agreed: set[str] = set()
        self._under_way: tuple[dist.Work, torch.Tensor] | None = None
        self._group: dist.ProcessGroup | None = None

    def cast(self, name: str) -> None:
        """Raises a flag, until the next exchange takes it along; safe in a signal handler."""
        assert name in self._names, name
        self._raised.add(name)

    def exchange(self) -> None:
        """A step boundary; all processes must call it."""
        raised, self._raised = self._raised, set()
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            self._agreed = raised
            return
        self.settle()
        if self._group is None:
            group = dist.new_group(backend="gloo")  # the flags never wait for a device
            assert isinstance(group, dist.ProcessGroup)
            self._group = group
        flags = torch.tensor([int(name in raised) for name in self._names])
        work = dist.all_reduce(flags, dist.ReduceOp.MAX, self._group, async_op=True)
        assert work is not None
        self._under_way = (work, flags)

    def settle(self) -> None:
        """Waits for the exchange that is under way, as the end of training does."""
        if self._under_way is not None:
            work, flags = self._under_way
            work.wait()
            self._agreed = {name for name, flag in zip(self._names, flags.tolist(), strict=True) if flag}
            self._under_way = None

    def seen(self, name: str) -> bool:
        """Whether some process had raised the flag, as far as all know."""
        return name in self._agreed
