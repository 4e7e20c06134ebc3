"""Fits a trained model to other data: works out from the weights what to train, and trains it like any run."""

import logging
import math
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from triptych.build import RUN_PACKAGES, build
from triptych.checkpoints.load import load
from triptych.checkpoints.resize import resized
from triptych.data.module import ImageData
from triptych.errors import UserError
from triptych.features.preprocess import Preprocess
from triptych.run import train
from triptych.schema import saved
from triptych.schema.finetune import Advice
from triptych.schema.model import takes_channels
from triptych.strategies import Full

log = logging.getLogger("triptych.finetune")


def finetune(config: DictConfig) -> int:
    """Fine-tunes as `config` (the schema's `Finetune`) says; the exit code."""
    if config.resume:
        return train(config)
    if config.advice != OmegaConf.structured(Advice):
        raise UserError(
            "advice.* is filled in by the data: set trainer.epochs, data.batch_size or optimizer.lr instead"
        )
    if not config.weights:
        raise UserError("weights is not set: give the model to start from, weights=RUN_DIRECTORY or a folder or file")
    given = load(config.weights, allow=tuple(config.allow_targets))
    if not getattr(given, "config", None):
        raise UserError(f"weights={config.weights} do not say how their model is made, so it cannot be changed to fit")
    if config.image_size is not None or config.patch_size is not None:
        sizes = (OmegaConf.to_container(size) if OmegaConf.is_config(size) else size
                 for size in (config.image_size, config.patch_size))  # fmt: skip
        try:
            given = resized(given, *cast(Any, sizes), allow=tuple(config.allow_targets))
        except ValueError as error:
            raise UserError(f"image_size={config.image_size}, patch_size={config.patch_size}: {error}") from error
    config.model = saved.part(_changed(cast(Any, given).config["model"], config), "model")
    if config.preprocess == "weights":
        _take_preprocess(config, cast(Any, given).preprocess)
    config.advice = OmegaConf.structured(advise(*_count(config), cast(Any, given).tower.embedding_dim))
    return train(config, given, _notes(config))


def _changed(model: dict[str, Any], config: DictConfig) -> dict[str, Any]:
    """The saved model's configuration with the rates that were asked for; classes and channels are the data's."""
    model = {**model, "num_classes": None, "tower": dict(model["tower"])}
    tower = model["tower"]
    if "patch" in tower:
        tower["patch"] = dict(tower["patch"])
    takes_channels(model)["channels"] = None
    for key in ("stochastic_depth", "patch_dropout"):
        value = config[key]
        if value is None:
            continue
        if key not in tower:
            raise UserError(f"{key}={value}, but the model of weights={config.weights} has no {key}: leave it out")
        tower[key] = value
    return model


def _take_preprocess(config: DictConfig, wanted: Preprocess) -> None:
    """Pixels as the weights know them; grey from colour, and colour from grey, by the mean over channels."""
    channels = len(config.data.mean)
    for key, values in (("mean", wanted.mean), ("std", wanted.std)):
        same = len(values) == channels
        config.data[key] = list(values) if same else [sum(values) / len(values)] * channels
    if wanted.mode == "center" and wanted.interpolation in ("nearest", "bilinear", "bicubic"):
        config.data.evaluate.interpolation = wanted.interpolation
        config.data.evaluate.crop_fraction = wanted.crop
    else:
        log.warning(
            "the weights want pictures resized by %s, mode %s, which training does not offer: it takes %s, mode center",
            wanted.interpolation, wanted.mode, config.data.evaluate.interpolation,
        )  # fmt: skip


def _count(config: DictConfig) -> tuple[int, Full]:
    """Training samples, and the strategy."""
    settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    allow = (*RUN_PACKAGES, *settings["allow_targets"])
    data: ImageData = build(settings["data"], allow)
    return len(data.train_source), build(settings["strategy"], allow)


def advise(samples: int, strategy: Full, width: int) -> Advice:
    """Settings for a number of training samples: some hundred steps for few, fewer passes over many.

    The rates are for AdamW: 2.5e-4 over all weights of a pre-trained ViT-B at 64 samples a step (Steiner et al., 2021,
    "How to train your ViT?"), in inverse proportion to the width of the embedding (Yang et al., 2022, "Tensor Programs
    V"), to the root of the batch (Malladi et al., 2022), times what the strategy allows (measured: docs/results.md).
    """
    batch_size = min(128, max(8, 2 ** round(math.log2(max(samples, 1) / 16))))
    epochs = min(50.0, max(3.0, round(600 * batch_size / max(samples, 1))))
    lr = 2.5e-4 * 768 / width * math.sqrt(batch_size / 64) * strategy.lr
    return Advice(epochs, batch_size, float(f"{lr:.2g}"))


def _notes(config: DictConfig) -> list[str]:
    """What was chosen for the user, a line for the log."""
    values = {"trainer.epochs": "epochs", "data.batch_size": "batch_size", "optimizer.lr": "lr"}
    chosen = []
    for key, name in values.items():
        place, _, leaf = key.rpartition(".")
        if OmegaConf.is_interpolation(config[place], leaf):
            chosen.append(f"{key}={config.advice[name]:g}")
    return [f"chosen by the number of training pictures: {', '.join(chosen)}"] if chosen else []
