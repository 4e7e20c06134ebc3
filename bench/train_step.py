"""Training steps of our ViTs against timm's: forward, backward and torch.optim.AdamW, float32, 224 px, random images.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE python bench/train_step.py --models tiny small --batch 8 --pairs 15

The first table has timm's time over ours for the same dense model. The second has our dense step's time over ours with
work left out, and beside it the same ratio of the FLOPs that PyTorch's counter sees.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import compare

from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import ClassTokenPool
from triptych.nn.position import LearnedPosition
from triptych.towers.vision import VisionTower

SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
CLASSES = 1000


def ours(size: str, stochastic_depth: float = 0.0, patch_dropout: float = 0.0) -> Classifier:
    """Our ViT of timm's ``vit_{size}_patch16_224``."""
    dim, heads = SIZES[size]
    tower = VisionTower(
        image_size=224,
        dim=dim,
        depth=12,
        patch=partial(PatchEmbedding, patch_size=16),
        mixer=partial(SoftmaxMixer, heads=heads),
        feedforward=GELUFeedForward,
        norm=LayerNorm,
        position=LearnedPosition,
        pool=ClassTokenPool,
        stochastic_depth=stochastic_depth,
        patch_dropout=patch_dropout,
    )
    return Classifier(tower, CLASSES)


def training_step(model: nn.Module, images: Tensor, labels: Tensor, compiled: bool) -> Callable[[], object]:
    """One whole step, as a function of nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        F.cross_entropy(forward(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def flops(model: nn.Module, images: Tensor, labels: Tensor, draws: int = 8) -> float:
    """FLOPs of forward and backward, the mean of some draws."""
    with FlopCounterMode(display=False) as counter:
        for _ in range(draws):
            F.cross_entropy(model(images), labels).backward()
    model.zero_grad()
    return counter.get_total_flops() / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=["tiny", "small"])
    parser.add_argument("--batch", type=int, default=8, help="images in a step")
    parser.add_argument("--pairs", type=int, default=15, help="alternating runs of both")
    parser.add_argument("--compile", action="store_true", help="ours under torch.compile, timm eager")
    parser.add_argument("--dense-only", action="store_true", help="leave out the second table")
    options = parser.parse_args()

    torch.manual_seed(0)
    images, labels = torch.randn(options.batch, 3, 224, 224), torch.randint(CLASSES, (options.batch,))
    print(
        f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads, batch {options.batch}"
    )
    print(f"\n{'dense':8} {'timm / ours (quartiles)':28} {'timm s':>8} {'ours s':>8}")
    for size in options.models:
        theirs = training_step(timm.create_model(f"vit_{size}_patch16_224"), images, labels, False)
        result = compare(theirs, training_step(ours(size), images, labels, options.compile), options.pairs)
        print(f"{size:8} {result!s:28} {result.first_seconds:8.3f} {result.second_seconds:8.3f}", flush=True)
    if options.dense_only:
        return
    print(f"\n{'ours':30} {'dense / with (quartiles)':28} {'FLOPs, dense / with':>20}")
    for size in options.models:
        dense = ours(size)
        for name, settings in (
            ("stochastic depth 0.3", {"stochastic_depth": 0.3}),
            ("patch dropout 0.5", {"patch_dropout": 0.5}),
        ):
            model = ours(size, **settings)
            saved = flops(dense, images, labels, 1) / flops(model, images, labels)
            dense_step = training_step(dense, images, labels, False)
            result = compare(dense_step, training_step(model, images, labels, False), options.pairs)
            print(f"{size + ', ' + name:30} {result!s:28} {saved:20.3f}", flush=True)


if __name__ == "__main__":
    main()
