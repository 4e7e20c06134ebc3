"""Fits a trained model to other data: works out from the weights what to train, and trains it like any run."""

import copy
import logging
import math
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from triptych.build import RUN_PACKAGES, build
from triptych.checkpoints.image_tower import image_classifier
from triptych.checkpoints.listening import listening
from triptych.checkpoints.load import load
from triptych.checkpoints.resize import resized
from triptych.command.messages import compose_plain
from triptych.data.audio import AudioData
from triptych.data.captioned_data import CaptionedData
from triptych.data.labelled import LabelledData
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.kinds import has_captions, of_sounds
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.run import train
from triptych.schema import saved
from triptych.schema.finetune import Advice
from triptych.schema.model import takes_channels
from triptych.strategies import Full
from triptych.weights import sees

log = logging.getLogger("triptych.finetune")

# Of the rate of a classifier. What is published for CLIP is lower still, 1e-5 for all weights of a ViT-B at 512 pairs a
# step (Goyal et al., 2023, "Finetune like you pretrain"); a small model that knew drawings did as well at five times
# the rate that this gives.
CONTRASTIVE_RATE = 0.2
STORED = "triptych.features.mel_presets.stored"


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
    if any(config.tower_weights.values()):
        raise UserError("tower_weights.* are for `triptych train`: here weights=... gives every tower. Leave them out")
    given: Any = load(config.weights, allow=tuple(config.allow_targets))
    if not getattr(given, "config", None):
        raise UserError(f"weights={config.weights} do not say how their model is made, so it cannot be changed to fit")
    given, notes = _for_data(given, config)
    if of_sounds(config) and sees(given):
        # Nothing of the data of sounds depends on a model, which is not known yet.
        given = listening(given, cast(AudioData, _data(config, given)).preprocess)
        notes = [*notes, "the weights are an image model's, and the data are sounds: its tower becomes an audio tower"]
    if config.image_size is not None or config.patch_size is not None:
        sizes = (OmegaConf.to_container(size) if OmegaConf.is_config(size) else size
                 for size in (config.image_size, config.patch_size))  # fmt: skip
        try:
            given = resized(given, *cast(Any, sizes), allow=tuple(config.allow_targets))
        except ValueError as error:
            raise UserError(f"image_size={config.image_size}, patch_size={config.patch_size}: {error}") from error
    config.model = saved.part(_changed(given.config["model"], config), "model")
    if config.preprocess == "weights":
        _take_preprocess(config, given.preprocess)
    data, strategy = _data(config, given), _strategy(config)
    contrastive = isinstance(given, Contrastive)
    tower: Any = given.towers[given.perceived] if contrastive else given.tower
    config.advice = OmegaConf.structured(advise(len(data.train_source), strategy, tower.embedding_dim, contrastive))
    return train(config, given, [*notes, *_notes(config)])


def _for_data(given: nn.Module, config: DictConfig) -> tuple[nn.Module, list[str]]:
    """What of the model goes on with data of this kind, and what the log should say of it; the objective is filled in
    where nobody chose one.
    """
    if not has_captions(config):
        if not isinstance(given, Contrastive):
            return given, []
        note = "these towers are contrastive, and the data have labels: the image tower is taken, with a new head"
        return image_classifier(given), [note]
    if isinstance(given, Classifier):
        raise UserError(
            f"weights={config.weights} are a classifier, which has no tower for the captions of the data. Choose data "
            "with labels (such as data=folder), or train a text tower beside it: `triptych train data=... "
            f"model=clip_nano objective=contrastive tower_weights.image={config.weights}`, with the sizes of "
            "model.towers.image set to its own"
        )
    if not isinstance(given, Contrastive):
        return given, []
    if given.tokenizer is None:
        raise UserError(
            f"weights={config.weights} have no tokenizer, so captions cannot be read: put its files (tokenizer.json or "
            "spiece.model) beside the weights"
        )
    if _chose("objective"):
        return given, []
    choice = "contrastive" if given.logit_bias is None else "siglip"
    config.objective = compose_plain(config.task, [f"objective={choice}"]).objective
    return given, [f"chosen by the weights: objective={choice}"]


def _chose(group: str) -> bool:
    """Whether the command line says anything of a group."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(word.lstrip("+~").partition("=")[0].replace("/", ".").split(".")[0] == group for word in words)


def _changed(model: dict[str, Any], config: DictConfig) -> dict[str, Any]:
    """The saved model's configuration with the rates that were asked for; classes and channels are the data's. What
    stands still is the strategy's choice, whatever was locked before.
    """
    model = copy.deepcopy(model)
    model |= {"locked": []} if "towers" in model else {"num_classes": None}
    towers = model.get("towers", {})
    tower = towers.get("image") or towers.get("audio") or model["tower"]
    takes_channels(model)["channels"] = None
    for key in ("stochastic_depth", "patch_dropout"):
        value = config[key]
        if value is None:
            continue
        if key not in tower:
            raise UserError(f"{key}={value}, but the model of weights={config.weights} has no {key}: leave it out")
        tower[key] = value
    return model


def _take_preprocess(config: DictConfig, wanted: Preprocess | AudioPreprocess) -> None:
    """Input as the weights know it. Pixels: grey from colour, and colour from grey, by the mean over channels."""
    if isinstance(wanted, AudioPreprocess):
        config.data.front_end = saved.part(
            {"_target_": STORED, "settings": wanted.front_end.to_dict()}, "data.front_end"
        )
        return
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


def _data(config: DictConfig, given: Any) -> LabelledData:
    """The data as they are so far, to be counted; nothing of them is kept."""
    settings: Any = OmegaConf.to_container(config.data, resolve=True, throw_on_missing=True)
    data: LabelledData = build(settings | {"cache": False}, (*RUN_PACKAGES, *config.allow_targets))
    if isinstance(data, CaptionedData):
        data.tokenizer = given.tokenizer
    return data


def _strategy(config: DictConfig) -> Full:
    settings: Any = OmegaConf.to_container(config.strategy, resolve=True, throw_on_missing=True)
    return build(settings, (*RUN_PACKAGES, *config.allow_targets))


def advise(samples: int, strategy: Full, width: int, contrastive: bool = False) -> Advice:
    """Settings for a number of training samples: some hundred steps for few, fewer passes over many. `contrastive`
    towers, which learn from the negatives of a batch, get larger batches, and a smaller rate.

    The rates are for AdamW: 2.5e-4 over all weights of a pre-trained ViT-B at 64 samples a step (Steiner et al., 2021,
    "How to train your ViT?"), in inverse proportion to the width of the embedding (Yang et al., 2022, "Tensor Programs
    V"), to the root of the batch (Malladi et al., 2022), times what the strategy allows (measured: docs/results.md).
    """
    batch_size = min(256 if contrastive else 128, max(8, 2 ** round(math.log2(max(samples, 1) / 16))))
    epochs = min(50.0, max(3.0, round(600 * batch_size / max(samples, 1))))
    lr = 2.5e-4 * 768 / width * math.sqrt(batch_size / 64) * strategy.lr * (CONTRASTIVE_RATE if contrastive else 1)
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
