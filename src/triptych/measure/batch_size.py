"""The largest batch whose training step fits into a memory, from the memory of steps that were really made."""

from collections.abc import Callable
from dataclasses import dataclass

from triptych.errors import UserError
from triptych.measure.memory import shown_bytes

MOST = 2**16
_SMALL = (2, 4)


@dataclass(frozen=True)
class Found:
    """The batch that fits.

    Args:
        batch_size: samples.
        bytes: of a step of it, measured.
        measured: bytes of each batch that was tried; None where it did not fit into the device at all.
    """

    batch_size: int
    bytes: int
    measured: dict[int, int | None]


def sizes(most: int = MOST) -> list[int]:
    """Batch sizes that suit a device: powers of two and what lies half-way between them, up to ``most``.

    1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ...
    """
    powers = [2**power for power in range(most.bit_length())]
    return sorted(size for size in {*powers, *(power * 3 // 2 for power in powers)} if size <= most)


def largest_batch(bytes_of: Callable[[int], int | None], memory: int, most: int = MOST) -> Found:
    """The largest of `sizes` whose step takes at most ``memory`` bytes.

    Two small batches are measured and a line is laid through them, which says where to look; the answer is always a
    batch that was measured itself, and (unless it is ``most``) so is the next larger one, which does not fit.

    Args:
        bytes_of: measures a step of so many samples; None where the device has no room for it.
        memory: the limit in bytes.
        most: the largest batch worth trying.

    Raises:
        UserError: not even one sample fits.
    """
    measured: dict[int, int | None] = {}

    def fits(size: int) -> bool:
        if size not in measured:
            measured[size] = bytes_of(size)
        taken = measured[size]
        return taken is not None and taken <= memory

    candidates = sizes(most)
    place = max(i for i, size in enumerate(candidates) if size <= _predicted(fits, measured, memory, most))
    while not fits(candidates[place]):
        if place == 0:
            taken = measured[candidates[0]]
            needs = "does not fit into the device" if taken is None else f"takes {shown_bytes(taken)}"
            raise UserError(
                f"a training step of one sample {needs}, and memory is {shown_bytes(memory)}: allow more memory, or "
                "take a smaller model or smaller images"
            )
        place -= 1
    while place + 1 < len(candidates) and fits(candidates[place + 1]):
        place += 1
    best = candidates[place]
    taken = measured[best]
    assert taken is not None
    return Found(best, taken, measured)


def _predicted(fits: Callable[[int], bool], measured: dict[int, int | None], memory: int, most: int) -> int:
    """Where the line through two small batches meets the limit; 1 where it says nothing."""
    small, larger = (min(size, most) for size in _SMALL)
    if not (fits(small) and fits(larger)) or small == larger:
        return 1
    low, high = measured[small], measured[larger]
    assert low is not None
    assert high is not None
    slope = (high - low) / (larger - small)
    if slope <= 0:
        return larger
    return max(1, min(most, int(larger + (memory - high) / slope)))
