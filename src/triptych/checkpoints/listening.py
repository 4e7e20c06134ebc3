"""An image model made one that listens: the audio tower that its blocks fit, filled with its weights."""

import copy
import logging
from typing import Any

from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.inflate import inflate
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive

log = logging.getLogger("triptych.weights")

_CARRIED = (
    "dim", "depth", "mixer", "feedforward", "norm", "pool", "registers", "layer_scale", "stochastic_depth", "init",
    "input_norm",
)  # fmt: skip
_RUNNING = {"_target_": "triptych.nn.coordinates.running_time", "_partial_": True}


def listening(given: Classifier | Contrastive, preprocess: AudioPreprocess) -> Classifier:
    """A classifier of sounds, without a head, whose tower has the blocks of an image tower of ours, and its weights as
    far as they go (see `inflate`): the same patches, one channel; learned positions become those of bands and moments,
    rotary ones count moments from 0.

    Args:
        given: with a `config`.
        preprocess: of the sounds.

    Raises:
        UserError: an image tower of another kind, or parts that an audio tower cannot have.
    """
    config: dict[str, Any] = (getattr(given, "config", None) or {}).get("model", {})
    source = config.get("towers", {}).get("image") or config.get("tower") or {}
    if not str(source.get("_target_")).endswith(".VisionTower"):
        raise UserError(
            "These weights are of no plain ViT of ours, which alone becomes an audio tower by itself. Choose the "
            "model, and give them to it: `triptych train model=ast_nano weights=...`, with its sizes set to theirs"
        )
    seconds = preprocess.max_seconds or 10.0
    tower = {key: copy.deepcopy(source[key]) for key in _CARRIED if key in source}
    tower |= {
        "_target_": "triptych.towers.audio.AudioTower",
        "mel_bins": preprocess.front_end.mel_bins,
        "frames": preprocess.front_end.count(round(seconds * preprocess.sample_rate)),
        "patch": {**source["patch"], "channels": 1},
        "position": _position(source["position"]),
    }
    model = {"_target_": "triptych.models.classifier.Classifier", "tower": tower, "num_classes": 0}
    made: Classifier = build(model, MODEL_PACKAGES)
    log.info("an image model that listens: %s", inflate(made, given))
    made.preprocess = preprocess
    made.config = {"model": model}
    return made


def _position(given: dict[str, Any]) -> dict[str, Any]:
    name = str(given["_target_"]).rpartition(".")[2]
    if name == "LearnedPosition":
        return {
            "_target_": "triptych.nn.time_position.LearnedTimePosition", "_partial_": True,
            "embed_prefix": given.get("embed_prefix", True),
        }  # fmt: skip
    if "coordinates" in given:
        return {**copy.deepcopy(given), "coordinates": dict(_RUNNING), "reference": None}
    return copy.deepcopy(given)
