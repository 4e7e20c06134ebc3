"""Training steps on images of mixed sizes: packed against padded, and against timm's NaFlexViT.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/mixed_sizes.py --models tiny small --batch 16 --pairs 9

A step is forward, backward and torch.optim.AdamW in float32. Sides are drawn from 96 to 256 px in whole patches of 16.
The same images, by four roads: packed; padded to the longest sequence of the batch; each image padded with zeros to the
largest height and width of the batch, which is what a model of one size needs; and timm's NaFlexViT of the same
architecture (mean pool, learned positions resampled to each grid), which pads to the longest sequence. Every ratio is
the other's time over that of packed.
"""

import argparse
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from timm.models.naflexvit import NaFlexVit, NaFlexVitCfg
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.features.mixed_images import MixedImages
from triptych.features.native_size import NativeSize
from triptych.measure.timing import compare
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import MeanPool
from triptych.nn.position import LearnedPosition
from triptych.towers.vision import VisionTower

SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
CLASSES, PATCH, NOMINAL = 1000, 16, 256


def ours(size: str) -> Classifier:
    """A ViT with mean pooling and a learned position for each patch of 256 x 256 px."""
    dim, heads = SIZES[size]
    tower = VisionTower(
        image_size=NOMINAL,
        dim=dim,
        depth=12,
        patch=partial(PatchEmbedding, patch_size=PATCH),
        mixer=partial(SoftmaxMixer, heads=heads),
        feedforward=GELUFeedForward,
        norm=LayerNorm,
        position=LearnedPosition,
        pool=MeanPool,
    )
    return Classifier(tower, CLASSES)


def theirs(size: str) -> NaFlexVit:
    """The same architecture as timm's NaFlexViT."""
    dim, heads = SIZES[size]
    grid = NOMINAL // PATCH
    settings = NaFlexVitCfg(
        patch_size=PATCH, embed_dim=dim, depth=12, num_heads=heads, class_token=False, global_pool="avg", fc_norm=True,
        pos_embed="learned", pos_embed_grid_size=(grid, grid), reg_tokens=0,
    )  # fmt: skip
    return NaFlexVit(settings, num_classes=CLASSES)


def draw_images(batch: int, draw: random.Random) -> list[Tensor]:
    """Images of 96 to 256 px a side, of random pixels."""
    return [torch.randn(3, PATCH * draw.randint(6, 16), PATCH * draw.randint(6, 16)) for _ in range(batch)]


def naflex_input(images: list[Tensor], model: Classifier) -> dict[str, Tensor]:
    """The images as timm's loader gives them: patches, their coordinates, and which are real."""
    cuts = [model.tower.patch.cut(image[None]) for image in images]
    longest = max(patches.shape[1] for patches, _ in cuts)
    patches = torch.zeros(len(images), longest, cuts[0][0].shape[-1])
    places = torch.zeros(len(images), longest, 2, dtype=torch.int64)
    real = torch.zeros(len(images), longest, dtype=torch.bool)
    for row, (cut, (rows, columns)) in enumerate(cuts):
        count = cut.shape[1]
        # timm's patches have the channels last.
        patches[row, :count] = cut[0].view(count, 3, PATCH, PATCH).permute(0, 2, 3, 1).flatten(1)
        places[row, :count] = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        real[row, :count] = True
    return {"patches": patches, "patch_coord": places, "patch_valid": real}


def training_step(model: nn.Module, given: Any, labels: Tensor) -> Callable[[], object]:
    """One whole step, as a function of nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        F.cross_entropy(model(given), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=["tiny", "small"])
    parser.add_argument("--batch", type=int, default=16, help="images in a step")
    parser.add_argument("--pairs", type=int, default=9, help="alternating runs of both")
    options = parser.parse_args()

    torch.manual_seed(0)
    images = draw_images(options.batch, random.Random(0))
    labels = torch.randint(CLASSES, (options.batch,))
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    counts = [image.shape[1] * image.shape[2] // PATCH**2 for image in images]
    print(
        f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads, batch {options.batch}"
        f"\ntokens of an image: mean {sum(counts) / len(counts):.0f}, longest {max(counts)}, "
        f"{height * width // PATCH**2} at {height} x {width} px"
    )
    print(f"\n{'model':8}{'against':18}{'time / packed (quartiles)':28}{'other s':>8}{'packed s':>9}")
    for size in options.models:
        model = ours(size)
        packed, padded = (MixedImages.of(images, NativeSize(PATCH, route=route)) for route in ("packed", "padded"))
        zeros = torch.stack([F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images])
        others = {
            "padded sequences": training_step(ours(size), padded, labels),
            "padded images": training_step(ours(size), zeros, labels),
            "timm NaFlexViT": training_step(theirs(size), naflex_input(images, model), labels),
        }
        step = training_step(model, packed, labels)
        for name, other in others.items():
            result = compare(other, step, options.pairs)
            print(f"{size:8}{name:18}{result!s:28}{result.first.median:8.3f}{result.second.median:9.3f}", flush=True)


if __name__ == "__main__":
    main()
