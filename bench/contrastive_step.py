"""Training steps of a CLIP: ours against open_clip's own model, loss and optimizer, from the same weights.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/contrastive_step.py --size half --batch 32 --pairs 9

A step is forward, loss, backward, AdamW and the clamp of the scale. Captions have lengths as those of picture captions
have: 12 tokens on average, start and end token included, a few of 25 and more. open_clip runs the text tower over all
77 places of its context, ours over the tokens that are there. Its optimizer is made as its training makes it
(`torch.optim.AdamW`, its own groups); "fused" gives it the fused kernel too, so that only models and losses differ.
Embeddings and losses of both are compared first. "saved" is what the graph keeps for the backward pass.
"""

import argparse
import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.loss import ClipLoss
from safetensors.torch import save_file
from torch import Tensor, nn

import triptych
from triptych.features.clip_tokenizer import ClipTokenizer
from triptych.losses import contrastive
from triptych.measure.memory import saved_bytes, shown_bytes
from triptych.measure.timing import compare
from triptych.optim.adamw import adamw

# Width of the image tower, of the text tower, blocks of each, width of the common space, side and patch in pixels.
SIZES = {
    "tiny": (192, 128, 6, 128, 224, 32),
    "half": (384, 256, 12, 256, 224, 32),
    "B/32": (768, 512, 12, 512, 224, 32),
    "B/16": (768, 512, 12, 512, 224, 16),
}
RECIPE: dict[str, Any] = {"lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.2}
CONTEXT = 77


def model_config(size: tuple[int, ...]) -> dict[str, Any]:
    """What open_clip calls a model's configuration; heads are 64 wide."""
    image, text, depth, embedding, side, patch = size
    return {
        "embed_dim": embedding,
        "vision_cfg": {"image_size": side, "layers": depth, "width": image, "patch_size": patch},
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": ClipTokenizer.vocab_size, "width": text, "heads": text // 64,
            "layers": depth,
        },
    }  # fmt: skip


def both_models(size: tuple[int, ...]) -> tuple[nn.Module, Any]:
    """open_clip's model with its own random weights, and ours read from what it saves."""
    config = model_config(size)
    theirs = open_clip.CLIP(**config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
        save_file(
            {key: t.contiguous() for key, t in theirs.state_dict().items()}, folder / "open_clip_model.safetensors"
        )
        return theirs.train(), triptych.load(folder).train()


def draw_lengths(count: int, draw: random.Random) -> list[int]:
    """Tokens of captions: start, end, and a log-normal number between, 10 on average, as words of captions have."""
    return [2 + min(CONTEXT - 2, max(1, round(draw.lognormvariate(math.log(10) - 0.08, 0.4)))) for _ in range(count)]


def draw_ids(lengths: Sequence[int], draw: random.Random) -> Tensor:
    """Rows of random tokens, as the tokenizer of both pads them."""
    ids = torch.zeros(len(lengths), CONTEXT, dtype=torch.int64)
    for row, length in enumerate(lengths):
        inner = [draw.randrange(1, ClipTokenizer.start_token) for _ in range(length - 2)]
        ids[row, :length] = torch.tensor([ClipTokenizer.start_token, *inner, ClipTokenizer.end_token])
    return ids


def their_optimizer(model: nn.Module, fused: bool | None) -> torch.optim.AdamW:
    """As open_clip's training makes it: no decay for gains, biases and the scale."""
    plain = [p for name, p in model.named_parameters() if p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name]
    known = {id(parameter) for parameter in plain}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": rest, "weight_decay": RECIPE["weight_decay"]}]
    return torch.optim.AdamW(groups, lr=RECIPE["lr"], betas=RECIPE["betas"], eps=RECIPE["eps"], fused=fused)


class Sides:
    """Both models on one batch: their embeddings, losses and steps."""

    def __init__(self, size: tuple[int, ...], batch: int, device: torch.device, precision: str) -> None:
        draw = random.Random(0)
        self.device, self.half = device, precision == "bf16"
        theirs, self.ours = both_models(size)
        self.theirs = theirs.to(device)
        self.ours.to(device)
        self.lengths = draw_lengths(batch, draw)
        self.ids = draw_ids(self.lengths, draw).to(device)
        self.images = torch.randn(batch, 3, size[4], size[4], device=device)
        self.on_host = torch.tensor(self.lengths)
        self.their_loss = ClipLoss()

    def their_features(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.theirs(self.images, self.ids)

    def our_features(self) -> list[Tensor]:
        return list(self.ours({"image": self.images, "text": (self.ids, self.on_host)}).values())

    def theirs_of_loss(self) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.their_loss(*self.their_features())

    def ours_of_loss(self) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return contrastive(self.our_features(), self.ours.logit_scale)

    @torch.no_grad()
    def difference(self) -> float:
        """The largest between entries of the unit embeddings, in float32."""
        expected = self.their_features()[:2]
        return max(float((a - b).abs().max()) for a, b in zip(self.our_features(), expected, strict=True))


def training_step(
    loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, clamp: Callable[[], object]
) -> Callable[[], object]:
    """One whole step, as a function of nothing."""

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        clamp()

    return step


def measure(name: str, batch: int, pairs: int, device: torch.device, precision: str) -> None:
    """Prints a row for each optimizer of the peer. Raises RuntimeError where the embeddings or losses differ."""
    torch.manual_seed(0)
    sides = Sides(SIZES[name], batch, device, precision)
    difference = sides.difference()
    if difference > 1e-5:
        raise RuntimeError(f"{name}: the embeddings differ by {difference:.2g}, so these are not the same model")
    losses = [float(loss().detach()) for loss in (sides.theirs_of_loss, sides.ours_of_loss)]
    if abs(losses[0] - losses[1]) > (0.1 if sides.half else 1e-4):
        raise RuntimeError(f"{name}: open_clip's loss is {losses[0]}, ours {losses[1]}")
    kept = [
        saved_bytes(loss, model.parameters())
        for loss, model in ((sides.theirs_of_loss, sides.theirs), (sides.ours_of_loss, sides.ours))
    ]
    scale: Any = sides.theirs.logit_scale
    ours = training_step(sides.ours_of_loss, adamw(sides.ours, **RECIPE), sides.ours.clamp_)
    for kernel, fused in (("as trained", None), ("fused", True)):
        optimizer = their_optimizer(sides.theirs, fused)

        def clamp() -> None:
            with torch.no_grad():
                scale.clamp_(0, math.log(100))

        theirs = training_step(sides.theirs_of_loss, optimizer, clamp)
        result = compare(theirs, ours, pairs, warmup=1, device=device)
        print(
            f"{name:<6}{batch:>6} {sum(sides.lengths) / batch:>6.1f} {difference:>9.1e}  {kernel:<12}"
            f"{result!s:<25}{result.first.median:>10.3f}{result.second.median:>8.3f}"
            f"  {shown_bytes(kept[0])}, {shown_bytes(kept[1])}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=["half"], help="proportions of ViT-B/32")
    parser.add_argument("--batch", type=int, default=32, help="pairs of image and caption in a step")
    parser.add_argument("--pairs", type=int, default=9, help="alternating runs of both")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16 is autocast")
    options = parser.parse_args(arguments)
    print(
        f"torch {torch.__version__}, open_clip {open_clip.__version__}, {options.device}, {options.precision}, "
        f"{torch.get_num_threads()} threads\n"
        f"{'size':<6}{'batch':>6} {'tokens':>6} {'differ by':>9}  {'their AdamW':<12}{'theirs / ours (quartiles)':<25}"
        f"{'theirs s':>10}{'ours s':>8}  saved, theirs and ours"
    )
    for name in options.size:
        measure(name, options.batch, options.pairs, torch.device(options.device), options.precision)


if __name__ == "__main__":
    main()
