"""All images of a data set looked at, by several processes; what is kept of them does not grow with their size."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

import torch

from triptych.data.source import BadSample, Source
from triptych.doctor.look import Seen, look
from triptych.errors import UserError

_CHUNK = 32
_WORTH_PROCESSES = 500
"""Below this many images one process is done before others have started."""

_sources: list[Source] = []


@dataclass(frozen=True)
class Split:
    """One part of the data.

    Attributes:
        name: `train`, or the name of a validation set.
        source: its samples.
        labels: names of the classes of each sample: one, several, or none.
        seen: what was seen of each.
    """

    name: str
    source: Source
    labels: list[tuple[str, ...]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def names(self, rows: Sequence[int]) -> list[str]:
        """Where samples lie."""
        return [self.source.name(row) for row in rows]

    def where(self, condition: Callable[[Seen], bool]) -> list[int]:
        """Samples that can be read and of which `condition` holds."""
        return [row for row, seen in enumerate(self.seen) if not seen.fault and condition(seen)]


def examine(parts: dict[str, Source], processes: int, progress: Callable[[int], None]) -> list[Split]:
    """Looks at every image of every part.

    Args:
        parts: sources by the name of the split.
        processes: that look; 1 looks in this one.
        progress: told the number of images that were looked at since the last call.

    Raises:
        UserError: a process died, as a decoder that takes too much memory is killed.
    """
    splits = []
    total = sum(map(len, parts.values()))
    for name, source in parts.items():
        seen: list[Seen] = []
        many = processes if total >= _WORTH_PROCESSES else 1
        for each in _looks(source, many):
            seen.append(each)
            progress(1)
        splits.append(Split(name, source, [_names(source, row) for row in range(len(source))], seen))
    return splits


def _looks(source: Source, processes: int) -> Iterator[Seen]:
    if processes <= 1:
        yield from (look(source, row) for row in range(len(source)))
        return
    # Forked processes share the source; spawned ones get a copy.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    try:
        with ProcessPoolExecutor(processes, context, _start, (source,)) as pool:
            yield from pool.map(_look, range(len(source)), chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that read images was killed, perhaps by an image that takes more memory than there is: "
            "processes=1 looks at one image at a time"
        ) from error


def _start(source: Source) -> None:
    torch.set_num_threads(1)
    _sources[:] = [source]


def _look(row: int) -> Seen:
    return look(_sources[0], row)


def _names(source: Source, row: int) -> tuple[str, ...]:
    target = getattr(source, "target", None)
    try:
        label = target(row) if target is not None else source.read(row)[1]
    except BadSample:
        return ()
    if isinstance(label, torch.Tensor):
        return tuple(source.classes[place] for place in label.nonzero().flatten().tolist())
    return (source.classes[label],)
