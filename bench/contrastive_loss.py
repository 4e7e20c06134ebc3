"""Memory and time of contrastive losses that hold a tile at a time, against the whole matrix.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/contrastive_loss.py --batch 2048 --dim 512 --pairs 11

"plain" is open_clip's loss of one process; its gradients are compared with ours first. "saved" is what the graph keeps
for the backward pass, in distinct memory; time is forward and backward. With `--device cuda`, "peak" is what the
allocator had at most, above the embeddings.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial

import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor
from torch.nn import functional as F

from triptych.losses import contrastive, sigmoid_contrastive, softmax_contrastive
from triptych.measure.memory import saved_bytes
from triptych.measure.timing import compare

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
MIB = 2**20


def plain_softmax(first: Tensor, second: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return ClipLoss()(first, second, scale.exp()) + 0 * bias


def plain_sigmoid(first: Tensor, second: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return SigLipLoss()(first, second, scale.exp(), bias)


def tiled(loss: Callable[..., Tensor], tile: int | None) -> Loss:
    return lambda first, second, scale, bias: contrastive([first, second], scale, bias, loss=partial(loss, tile=tile))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    drawn = (torch.randn(options.batch, options.dim, device=options.device) for _ in range(2))
    first, second = (F.normalize(each, dim=-1).requires_grad_() for each in drawn)
    scale, bias = (torch.tensor(value, device=options.device, requires_grad=True) for value in (math.log(20.0), -10.0))
    inputs = first, second, scale, bias
    on_cuda = first.device.type == "cuda"

    def step(loss: Loss) -> tuple[Tensor, ...]:
        found = torch.autograd.grad(loss(*inputs), inputs)
        if on_cuda:
            torch.cuda.synchronize()
        return found

    def peak(loss: Loss) -> str:
        if not on_cuda:
            return "-"
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(loss)
        return f"{(torch.cuda.max_memory_allocated() - before) / MIB:.1f}"

    print(f"batch {options.batch}, dim {options.dim}, {options.device}, float32, {options.pairs} pairs")
    print(
        f"{'loss':<9}{'form':<12}{'saved MiB':>10}{'of plain':>10}{'peak MiB':>10}{'ms':>9}  plain / ours (quartiles)"
    )
    for name, plain, loss in (
        ("softmax", plain_softmax, softmax_contrastive), ("sigmoid", plain_sigmoid, sigmoid_contrastive)
    ):  # fmt: skip
        whole = saved_bytes(partial(plain, *inputs))
        expected = step(plain)
        shown = False
        for tile in [*options.tiles, None]:
            ours = tiled(loss, tile)
            for gradient, wanted in zip(step(ours), expected, strict=True):
                if (gradient - wanted).norm() > 1e-5 * wanted.norm() + 1e-6:
                    raise RuntimeError(f"{name}, tile {tile}: the gradients disagree")
            result = compare(partial(step, plain), partial(step, ours), options.pairs)
            if not shown:
                print(
                    f"{name:<9}{'plain':<12}{whole / MIB:>10.2f}{1:>10.3f}{peak(plain):>10}"
                    f"{result.first.median * 1e3:>9.1f}"
                )
                shown = True
            saved = saved_bytes(partial(ours, *inputs))
            form = f"tile {tile}" if tile else "one tile"
            print(
                f"{name:<9}{form:<12}{saved / MIB:>10.2f}{saved / whole:>10.3f}{peak(ours):>10}"
                f"{result.second.median * 1e3:>9.1f}  {result}"
            )


if __name__ == "__main__":
    main()
