"""Trains timm's ViT of equal size on a run's own data for the seconds that the run took, and evaluates it.

    python bench/same_time.py outputs/train/emoji/DATE_TIME

Takes the finished run's own configuration: the same data, order, augmentation, mixing, loss, optimizer settings (timm's
own AdamW or Muon), clipping and moving average (timm's own), the same threads, and as many seconds of training as the
run took (`summary.json`), with the learning rate following the same warm-up and cosine over those seconds. The model is
timm's `VisionTransformer` of the same width, depth, heads, patches and pooling, with timm's learned positions, in a
plain PyTorch loop. Prints one row each.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from timm.models.vision_transformer import VisionTransformer
from timm.optim._optim_factory import create_optimizer_v2
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from triptych.build import build
from triptych.data.module import ImageData
from triptych.features.native_size import NativeSize
from triptych.optim.schedule import warmup_cosine
from triptych.schema import register, saved

SPAN = 1_000_000  # the schedule's steps are millionths of the time


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run directory")
    parser.add_argument("--seconds", type=float, help="training time; the run's own if not given")
    arguments = parser.parse_args()
    register()
    settings: Any = OmegaConf.to_container(saved.read(arguments.run / "config.yaml"), resolve=True)
    summary = json.loads((arguments.run / "summary.json").read_text())
    seconds = arguments.seconds or summary["train_seconds"]
    torch.manual_seed(settings["seed"])
    if settings["trainer"]["threads"]:
        torch.set_num_threads(settings["trainer"]["threads"])
    data: ImageData = build(settings["data"])
    data.setup("fit")
    model = peer(settings["model"]["tower"], data)
    epochs, ema = train(model, data, settings, seconds)
    print(f"{'model':<10} {'parameters':>10} {'seconds':>8} {'epochs':>7}  metrics")
    ours = {key: round(value, 4) for key, value in summary["metrics"].items() if key.endswith("accuracy")}
    print(f"{'triptych':<10} {summary['parameters']['total']:>10} {summary['train_seconds']:>8.0f} "
          f"{summary['steps'] / data.steps_per_epoch:>7.2f}  {ours}")  # fmt: skip
    size = sum(parameter.numel() for parameter in model.parameters())
    theirs = evaluate(ema.module if ema is not None else model, data)
    print(f"{'timm':<10} {size:>10} {seconds:>8.0f} {epochs:>7.2f}  {theirs}")


def peer(tower: dict[str, Any], data: ImageData) -> VisionTransformer:
    """timm's ViT of the same width, depth, heads, patches and pooling."""
    if isinstance(data.image_size, NativeSize):
        raise SystemExit("timm's plain ViT takes images of one size only: compare a run of data/image_size=null")
    pool = "avg" if tower["pool"]["_target_"].endswith("MeanPool") else "token"
    return VisionTransformer(
        img_size=data.image_size,
        patch_size=tower["patch"]["patch_size"],
        in_chans=data.channels,
        num_classes=len(data.classes),
        global_pool=pool,
        class_token=pool == "token",
        embed_dim=tower["dim"],
        depth=tower["depth"],
        num_heads=tower["mixer"]["heads"],
        drop_path_rate=tower["stochastic_depth"],
        patch_drop_rate=tower["patch_dropout"],
        weight_init="",
    )


def train(
    model: nn.Module, data: ImageData, settings: dict[str, Any], seconds: float
) -> tuple[float, ModelEmaV3 | None]:
    """A plain loop for as long as it may; its epochs, and the moving average of the weights if the run had one."""
    optimization = settings["optimizer"]
    muon = optimization["_target_"].endswith("muon")
    special: dict[str, Any] = {"nesterov": optimization["nesterov"]} if muon else {"fused": True}
    optimizer = create_optimizer_v2(
        model,
        opt="muon" if muon else "adamw",
        lr=optimization["lr"],
        weight_decay=optimization["weight_decay"],
        betas=tuple(optimization["betas"]),
        **special,
    )
    ema = ModelEmaV3(model, decay=settings["ema"]["decay"], use_warmup=True) if settings["ema"] else None
    objective = settings["objective"]
    loss = build(objective["loss"])
    mix = build(objective["mix"]) if objective["mix"] else None
    schedule = settings["schedule"]
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (data.mean, data.std))
    data.stop_step = SPAN
    batches = iter(data.train_dataloader())
    next(batches)  # workers start; the run's own time leaves its first step out too
    model.train()
    step, begin = 0, time.monotonic()
    while (progress := (time.monotonic() - begin) / seconds) < 1:
        batch = next(batches)
        factor = warmup_cosine(int(progress * SPAN), SPAN, round(schedule["warmup"] * SPAN), schedule["final"])
        for group in optimizer.param_groups:
            group["lr"] = optimization["lr"] * factor
        images, labels = (batch["image"].float() - mean) / std, batch["label"]
        if mix is not None:
            images, labels = mix(images, labels, len(data.classes), step)
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        if objective["clip"]:
            nn.utils.clip_grad_norm_(model.parameters(), objective["clip"])
        optimizer.step()
        step += 1
        if ema is not None:
            ema.update(model, step)
    return step / data.steps_per_epoch, ema


@torch.inference_mode()
def evaluate(model: nn.Module, data: ImageData) -> dict[str, float]:
    """Accuracy on each validation set."""
    model.eval()
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (data.mean, data.std))
    found = {}
    for name, loader in zip(data.validation_names, data.val_dataloader(), strict=True):
        right = count = 0
        for batch in loader:
            right += int((model((batch["image"].float() - mean) / std).argmax(1) == batch["label"]).sum())
            count += len(batch["label"])
        found[f"{name}/accuracy"] = round(right / count, 4)
    return found


if __name__ == "__main__":
    main()
