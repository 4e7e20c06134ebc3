"""Time to stack a batch of uint8 images against timm's `fast_collate`, and what each augmentation costs a sample.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/collate.py --batch 256 --size 224 --pairs 31

timm takes NumPy arrays or tensors, and is measured on each; Triptych takes tensors. One thread. "ring" is the loader's
route, into memory that has been used before; "fresh" is the same stack into new memory, whose page faults cost more
than the copy.
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
from triptych.data.transforms import CentreCrop, PadCrop, RandAugment, RandomResizedCrop, ThreeAugment, Transform
from triptych.measure.timing import compare

Batch = tuple[Tensor, Tensor]


def routes(images: list[Tensor], labels: list[int]) -> dict[str, Callable[[], Batch]]:
    """Ways in which Triptych makes a batch."""
    shape = (len(images), *images[0].shape)
    ring = BufferRing(lanes=1, slots=2, size=len(images) * images[0].numel())

    def used_memory() -> Batch:
        slot = ring.take(0)
        if slot is None:
            raise RuntimeError("no buffer was given back")
        ring.fill(slot, images)
        return ring.hand_out(slot, shape), torch.from_numpy(np.array(labels, dtype=np.int64))

    def fresh_memory() -> Batch:
        return collate(images), torch.from_numpy(np.array(labels, dtype=np.int64))

    return {"ring": used_memory, "fresh": fresh_memory}


def collate_table(batch: int, size: int, pairs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (3, size, size)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(batch)]
    labels = list(range(batch))
    tensors = list(zip(images, labels, strict=True))
    forms = {"tensors": tensors, "arrays": [(image.numpy(), label) for image, label in tensors]}
    print(f"{batch} images {shape} uint8, one thread, {pairs} pairs")
    print("ours   timm on    ours ms  timm ms  ratio (quartiles)")
    for name, ours in routes(images, labels).items():
        if not torch.equal(ours()[0], fast_collate(tensors)[0]):
            raise RuntimeError("the two disagree")
        for form, samples in forms.items():
            result = compare(lambda samples=samples: fast_collate(samples), ours, pairs)
            print(f"{name:<7}{form:<9}{result.second.median * 1e3:>9.2f}{result.first.median * 1e3:>9.2f}  {result}")


def presets_table(sizes: list[int], repeats: int) -> None:
    makers: dict[str, Callable[[int], Transform]] = {
        "none": CentreCrop,
        "light": RandomResizedCrop,
        "pad_crop": PadCrop,
        "randaugment": lambda size: RandAugment(RandomResizedCrop(size)),
        "three_augment": lambda size: ThreeAugment(RandomResizedCrop(size)),
    }
    print("microseconds a sample, median, from an image one third larger than the result")
    for name, make in makers.items():
        costs = []
        for size in sizes:
            image = torch.randint(0, 256, (3, size * 4 // 3, size * 4 // 3), dtype=torch.uint8)
            transform = make(size)
            times = []
            for _ in range(repeats):
                begun = time.perf_counter()
                transform(image)
                times.append(time.perf_counter() - begun)
            costs.append(f"{size} px {statistics.median(times) * 1e6:.0f} (mean {statistics.mean(times) * 1e6:.0f})")
        print(f"{name:<15}{', '.join(costs)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=31)
    options = parser.parse_args()
    torch.set_num_threads(1)
    collate_table(options.batch, options.size, options.pairs)
    presets_table([48, 64, 224], repeats=200)


if __name__ == "__main__":
    main()
