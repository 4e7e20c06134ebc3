"""Training steps of an AST: ours against transformers' own, packed clips against padded ones, patchout against none.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/audio_step.py --size tiny --batch 2 --clips 8 --pairs 9

A step is forward, cross-entropy, backward and PyTorch's fused AdamW, on random spectrograms; the front end is measured
in `bench/log_mel.py`. "dense": clips of the full length in both, from the same weights, transformers with its SDPA
attention; logits are compared first. "packed": clips of 0.5 to 10 s (spread evenly), end to end in ours, against
the same clips padded to the longest in ours, and to transformers' fixed length in its own. "patchout": ours
with a share of patches left out against ours with all. Beside each ratio of times stands the same ratio of the FLOPs
that PyTorch's counter sees, forward and backward.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import triptych
from triptych.features.spectrograms import Spectrograms
from triptych.features.torchaudio_import import import_torchaudio
from triptych.measure.timing import compare
from triptych.nn.drop import Patchout

# Width, blocks, heads.
SIZES = {"nano": (96, 4, 3), "tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
BINS, FRAMES, CLASSES = 128, 1024, 50
PART = ("dense", "packed", "patchout")
Logits = Callable[[], Tensor]


def both_models(size: tuple[int, int, int], stride: int) -> tuple[Any, Any]:
    """transformers' model with random weights, tokens and positions included, and ours read from what it saves."""
    dim, depth, heads = size
    import_torchaudio()  # transformers imports it with its models, and would fail where it is built for another CUDA
    settings: dict[str, Any] = {"num_labels": CLASSES}
    config = transformers.ASTConfig(
        hidden_size=dim, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * dim,
        frequency_stride=stride, time_stride=stride, max_length=FRAMES, num_mel_bins=BINS, **settings,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    theirs = transformers.ASTForAudioClassification(config)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith(("_token", "position_embeddings")):
                parameter.normal_(std=0.02)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return theirs.train(), triptych.load(Path(folder)).train()


def draw_clips(count: int, draw: random.Random) -> Spectrograms:
    """Clips of 50 to 1000 frames of 10 ms, spread evenly and shuffled."""
    lengths = [round(50 + 950 * (place + 0.5) / count) for place in range(count)]
    draw.shuffle(lengths)
    return Spectrograms(torch.randn(sum(lengths), BINS), lengths, -1.28)


class Sides:
    """Both models on a device, and steps and FLOPs of either."""

    def __init__(self, size: str, stride: int, device: torch.device, precision: str) -> None:
        self.device, self.half = device, precision == "bf16"
        self.theirs, self.ours = (model.to(device) for model in both_models(SIZES[size], stride))

    def loss(self, logits: Logits, labels: Tensor) -> Callable[[], Tensor]:
        def value() -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                return F.cross_entropy(logits(), labels)

        return value

    def compare(self, name: str, first: tuple[nn.Module, Logits], second: tuple[nn.Module, Logits], pairs: int) -> None:
        """Prints a row: how many times faster the second is."""
        with torch.no_grad():
            labels = torch.randint(CLASSES, (len(second[1]()),), device=self.device)
        losses = [self.loss(logits, labels) for _, logits in (first, second)]
        counted = [flops(loss) for loss in losses]
        steps = [training_step(model, loss) for (model, _), loss in zip((first, second), losses, strict=True)]
        result = compare(steps[0], steps[1], pairs, warmup=1, device=self.device)
        print(
            f"{name:<42}{result!s:<26}{counted[0] / counted[1]:>6.2f}"
            f"{result.first.median:>10.3f}{result.second.median:>9.3f}",
            flush=True,
        )


def flops(loss: Callable[[], Tensor]) -> int:
    """Those of forward and backward."""
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops()


def training_step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], object]:
    """One whole step, as a function of nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def dense(sides: Sides, batch: int, pairs: int) -> None:
    """Raises RuntimeError where the logits differ."""
    theirs, ours = sides.theirs, sides.ours
    mel = torch.randn(batch, FRAMES, BINS, device=sides.device)
    with torch.no_grad():
        difference = float((ours(mel) - theirs(mel).logits).abs().max())
    if difference > 1e-4:
        raise RuntimeError(f"the logits differ by {difference:.2g}, so these are not the same model")
    print(f"logits differ by {difference:.1e}")
    sides.compare(
        f"dense, {batch} clips: transformers / ours", (theirs, lambda: theirs(mel).logits), (ours, lambda: ours(mel)),
        pairs,
    )  # fmt: skip


def packed(sides: Sides, count: int, pairs: int) -> None:
    theirs, ours = sides.theirs, sides.ours
    clips = draw_clips(count, random.Random(0)).to(sides.device)
    longest = clips.padded()[0]
    full = F.pad(longest, (0, 0, 0, FRAMES - longest.shape[1]))
    seconds = sum(clips.lengths) / 100
    print(f"{count} clips of {seconds / count:.1f} s on average, the longest of {max(clips.lengths) / 100:.1f} s")
    packed = ours, lambda: ours(clips)
    sides.compare("packed: ours padded / ours packed", (ours, lambda: ours(longest)), packed, pairs)
    sides.compare("packed: transformers / ours packed", (theirs, lambda: theirs(full).logits), packed, pairs)


def patchout(sides: Sides, batch: int, pairs: int, share: float) -> None:
    model = sides.ours
    mel = torch.randn(batch, FRAMES, BINS, device=sides.device)
    parts = {True: Patchout(rate=share), False: Patchout()}

    def run(some: bool) -> Logits:
        def logits() -> Tensor:
            model.tower.patch_dropout = parts[some]
            return model(mel)

        return logits

    name = f"patchout {share:g}: all / with"
    sides.compare(name, (model, run(False)), (model, run(True)), pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PART, default=list(PART))
    parser.add_argument("--size", choices=list(SIZES), default="tiny", help="width, as of DeiT's sizes")
    parser.add_argument("--stride", type=int, choices=[10, 16], default=10, help="of patches, in bins and frames")
    parser.add_argument("--batch", type=int, default=2, help="clips of full length in a step")
    parser.add_argument("--clips", type=int, default=8, help="clips of differing lengths in a step")
    parser.add_argument("--share", type=float, default=0.5, help="of patches left out")
    parser.add_argument("--pairs", type=int, default=9, help="alternating runs of both")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16 is autocast")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    sides = Sides(options.size, options.stride, torch.device(options.device), options.precision)
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {options.device}, {options.precision}, "
        f"{torch.get_num_threads()} threads, size {options.size}, stride {options.stride}\n"
        f"{'':<42}{'times faster (quartiles)':<26}{'FLOPs':>6}{'first s':>10}{'second s':>9}"
    )
    if "dense" in options.parts:
        dense(sides, options.batch, options.pairs)
    if "packed" in options.parts:
        packed(sides, options.clips, options.pairs)
    if "patchout" in options.parts:
        patchout(sides, options.batch, options.pairs, options.share)


if __name__ == "__main__":
    main()
