"""Time to stack a batch of uint8 images, against timm's `fast_collate`.

    python bench/collate.py [--batch 256] [--size 224] [--pairs 30]

timm takes NumPy arrays or tensors, and is measured on each; Triptych takes tensors. One thread. The two run in turn in
one process (A B A B ...), and the ratio is the median over the pairs, so that a busy machine slows both. Each batch is
dropped before the next is made, as in training.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from timm.data.loader import fast_collate
from torch import Tensor

from triptych.data.collate import BufferRing, collate


def seconds(make: Callable[[], object]) -> float:
    begun = time.perf_counter()
    made = make()
    taken = time.perf_counter() - begun
    del made
    return taken


def compare(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> tuple[float, float, float]:
    """Median milliseconds of ours and of theirs, and the median ratio theirs / ours."""
    for _ in range(3):
        ours(), theirs()
    times = [(seconds(ours), seconds(theirs)) for _ in range(pairs)]
    return (
        statistics.median(our for our, _ in times) * 1e3,
        statistics.median(their for _, their in times) * 1e3,
        statistics.median(their / our for our, their in times),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (3, options.size, options.size)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(options.batch)]
    labels = list(range(options.batch))
    tensors = list(zip(images, labels, strict=True))
    arrays = [(image.numpy(), label) for image, label in tensors]
    ring = BufferRing(lanes=1, slots=2, size=options.batch * images[0].numel())

    def loader_route() -> tuple[Tensor, Tensor]:
        """What the data loader does: a buffer that has been used before."""
        slot = ring.take(0)
        if slot is None:
            raise RuntimeError("no buffer was given back")
        ring.fill(slot, images)
        return ring.hand_out(slot, (options.batch, *shape)), torch.from_numpy(np.array(labels, dtype=np.int64))

    def fresh_memory() -> tuple[Tensor, Tensor]:
        return collate(images), torch.from_numpy(np.array(labels, dtype=np.int64))

    expected, _ = fast_collate(tensors)
    if not torch.equal(loader_route()[0], expected):
        raise RuntimeError("the two disagree")
    del expected
    print(f"{options.batch} images {shape} uint8, one thread, median of {options.pairs} pairs")
    print(f"{'ours':<14}{'timm on':<10}{'ours ms':>9}{'timm ms':>9}{'ratio':>8}")
    for name, ours in (("ring (loader)", loader_route), ("fresh memory", fresh_memory)):
        for form, batch in (("tensors", tensors), ("arrays", arrays)):
            our, their, ratio = compare(ours, lambda batch=batch: fast_collate(batch), options.pairs)
            print(f"{name:<14}{form:<10}{our:>9.2f}{their:>9.2f}{ratio:>7.1f}x")


if __name__ == "__main__":
    main()
