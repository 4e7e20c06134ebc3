"""The largest error of a logit under bfloat16 autocast at a scale of 100: ours, and open_clip's.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/logit_error.py --batch 512 --dim 512

Pairs lie as close as those of a trained model do, so the logits of partners are near 100. Both sides are given the same
unit features, in float32 as ours come out of the model and in bfloat16; the error is the distance from the product in
float64 of just these. open_clip's logits are those of its `ClipLoss`; ours, which are never whole in memory, are read
from the loss of one pair at a time, whose cost is its logit where that is large.
"""

import argparse
import math
from collections.abc import Sequence

import torch
from open_clip.loss import ClipLoss
from torch import Tensor
from torch.nn import functional as F

from triptych.losses import sigmoid_contrastive

SCALE, SHIFT = 100.0, 130.0


def partners(batch: int, dim: int, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Unit vectors and, row by row, others near them: cosines of 0.5 to 1."""
    generator = torch.Generator().manual_seed(0)
    first, other = (F.normalize(torch.randn(batch, dim, generator=generator), dim=-1) for _ in range(2))
    near = torch.linspace(0.5, 1.0, batch)[:, None]
    second = F.normalize(near * first + (1 - near.square()).sqrt() * other, dim=-1)
    return first.to(kind), second.to(kind)


def our_logits(first: Tensor, second: Tensor) -> Tensor:
    """Of partners: two ids that differ cost softplus(logit + bias), which is that sum where it is large."""
    scale, bias = torch.tensor(math.log(SCALE)), torch.tensor(SHIFT)
    ids = torch.arange(2, device=first.device)
    with torch.autocast(first.device.type, torch.bfloat16):
        costs = [
            sigmoid_contrastive(a[None], b[None], ids[:1], ids[1:], scale.to(a.device), bias.to(a.device))
            for a, b in zip(first, second, strict=True)
        ]
    return torch.stack(costs).double() - SHIFT


def their_logits(first: Tensor, second: Tensor) -> Tensor:
    """Of partners, from the matrix of open_clip's loss."""
    with torch.autocast(first.device.type, torch.bfloat16):
        return ClipLoss().get_logits(first, second, torch.tensor(SCALE, device=first.device))[0].diagonal().double()


def errors(batch: int, dim: int, kind: torch.dtype, device: str = "cpu") -> tuple[float, float]:
    """The largest of open_clip's and of ours."""
    first, second = (each.to(device) for each in partners(batch, dim, kind))
    exact = SCALE * (first.double() * second.double()).sum(1)
    theirs, ours = (float((logits(first, second) - exact).abs().max()) for logits in (their_logits, our_logits))
    return theirs, ours


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    print(f"torch {torch.__version__}, {options.device}, batch {options.batch}, dim {options.dim}, scale {SCALE:.0f}")
    for kind in (torch.float32, torch.bfloat16):
        theirs, ours = errors(options.batch, options.dim, kind, options.device)
        print(f"features in {kind}: open_clip {theirs:.3g}, ours {ours:.2g}")


if __name__ == "__main__":
    main()
