"""Time and peak memory of exact retrieval between many images and captions, in bounded memory.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/retrieval.py --images 100000 --captions 5 --dim 64

Random unit features; each image has as many captions as `--captions` says, somewhat nearer to it than chance. Both ways
are ranked, ties and all. "features" is what the features take, "peak" the most that the process has had resident
above what it had after the features were made, "matrix" what all scores would take in float32. With `--limit`, the
address space of the process may grow by so much and no more: beyond it an allocation fails.
"""

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.measure.memory import parse_bytes, shown_bytes
from triptych.measure.retrieval import retrieve


def draw_features(images: int, captions: int, dim: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Images, texts, and the image of each text."""
    generator = torch.Generator().manual_seed(0)
    first = F.normalize(torch.randn(images, dim, generator=generator), dim=-1)
    of = np.repeat(np.arange(images), captions)
    second = torch.randn(images * captions, dim, generator=generator).mul_(dim**-0.5)
    second.view(images, captions, dim).add_(first[:, None], alpha=0.5)
    return first, F.normalize(second, dim=-1), of


def status(name: str) -> int:
    """A number of this process's memory that the system keeps, such as VmHWM, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--captions", type=int, default=5, help="of each image")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--tile", type=int, default=1024, help="images, and texts, that are compared at a time")
    parser.add_argument("--limit", help="memory beside that after the features are made, such as 2GiB")
    options = parser.parse_args(arguments)
    images, texts, of = draw_features(options.images, options.captions, options.dim)
    own = sum(each.untyped_storage().nbytes() for each in (images, texts))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from now
    before = status("VmRSS")
    if options.limit:
        most = status("VmSize") + parse_bytes(options.limit, "limit")
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    start = time.perf_counter()
    to_text, to_image = retrieve(images, texts, of, tile=options.tile)
    seconds = time.perf_counter() - start
    peak = status("VmHWM") - before
    pairs = len(images) * len(texts)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(images):,} images, {len(texts):,} "
        f"captions, dim {options.dim}, tile {options.tile}"
    )
    print(
        f"{seconds:.1f} s, {pairs / seconds / 1e6:,.0f} million pairs/s, peak {shown_bytes(peak)} beside features of "
        f"{shown_bytes(own)}; matrix {shown_bytes(4 * pairs)}"
    )
    for way, ranks in (("image to text", to_text), ("text to image", to_image)):
        print(f"{way}: recall at 1 {ranks.recall(1).mean():.4f}, at 10 {ranks.recall(10).mean():.4f}")


if __name__ == "__main__":
    main()
