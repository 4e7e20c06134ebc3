"""What differs between runs that train a classifier on labels and runs that train towers on what belongs together."""

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any, cast

from omegaconf import DictConfig
from torch import nn

from triptych.data.audio import AudioData
from triptych.data.captioned import Captioned
from triptych.data.captioned_data import CaptionedData
from triptych.data.labelled import LabelledData
from triptych.data.module import ImageData
from triptych.data.source import Source
from triptych.errors import UserError
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.native_size import NativeSize
from triptych.features.preprocess import Preprocess
from triptych.models.zero_shot import filled
from triptych.objectives.contrastive import ContrastiveObjective, Prompts
from triptych.objectives.distillation import DistillationObjective
from triptych.objectives.native import check_native
from triptych.prompts.words import spoken, templates_of
from triptych.schema.model import takes_channels
from triptych.tokens import fill_vocabulary

Settings = dict[str, Any]

# Which parts belong together, by the last word of their `_target_`; what somebody wrote themselves is not looked at.
_CLASSIFIES = {"model": {"Classifier"}, "data": {"ImageData", "AudioData"},
               "objective": {"ClassificationObjective", "DistillationObjective"}}  # fmt: skip
_CONTRASTS = {"model": {"Contrastive"}, "data": {"PairsData", "SoundPairsData"}, "objective": {"ContrastiveObjective"}}
_CHOOSE = {
    "a classifier": ("model=vit_nano_patch16_64", "data=folder", "objective=classification"),
    "contrastive towers": ("model=clip_nano", "data=pairs_manifest", "objective=contrastive"),
}


def check_kinds(config: DictConfig) -> None:
    """Raises UserError for parts of both kinds of training in one configuration, and for a loss that does not go with
    the model.
    """
    found = {}
    for kind, parts in (("a classifier", _CLASSIFIES), ("contrastive towers", _CONTRASTS)):
        for key, names in parts.items():
            if _name(config[key]) in names:
                found.setdefault(kind, []).append(key)
    if len(found) > 1:
        told = "; ".join(f"{', '.join(keys)} {'is' if len(keys) == 1 else 'are'} for {kind}"
                         for kind, keys in found.items())  # fmt: skip
        first = int(config.task == "finetune")  # which has no choice of model
        ways = " or ".join(f"{' '.join(words[first:])} for {kind}" for kind, words in _CHOOSE.items())
        raise UserError(f"these parts do not go together: {told}. Choose all of one kind, such as {ways}")
    _check_bias(config)
    _check_medium(config)


def has_captions(config: DictConfig) -> bool:
    """Whether the data of a configuration have captions."""
    return _name(config.data) in _CONTRASTS["data"]


def of_sounds(config: DictConfig) -> bool:
    """Whether the data of a configuration are sounds."""
    return _name(config.data) in ("AudioData", "SoundPairsData")


def _name(part: Any) -> str:
    return str((part or {}).get("_target_")).rpartition(".")[2]


def _check_medium(config: DictConfig) -> None:
    """Raises UserError for sounds and a tower that reads images, and the other way round."""
    tower, sounds = (config.model or {}).get("tower"), _name(config.data) == "AudioData"
    if tower is None or _name(tower) not in ("VisionTower", "TimmTower", "AudioTower"):
        return
    listens = _name(tower) == "AudioTower"
    if listens != sounds:
        said = (
            ("sounds", "reads images", "model=ast_nano") if sounds else ("images", "reads sounds", "data=audio_folder")
        )
        raise UserError(
            f"these parts do not go together: data are {said[0]}, and the model {said[1]}. Choose all of one kind, "
            f"such as {said[2]}"
        )


def _check_bias(config: DictConfig) -> None:
    """Raises UserError for a loss that needs a bias and towers that have none, and the other way round."""
    if _name(config.model) not in _CONTRASTS["model"] or _name(config.objective) not in _CONTRASTS["objective"]:
        return
    sigmoid = _name(config.objective.loss) == "sigmoid_contrastive"
    bias = config.model.logit_bias_init is not None
    tuned = config.task == "finetune"
    if sigmoid and not bias:
        way = "" if tuned else " or set model.logit_bias_init=-10 model.logit_scale_init=2.3"
        raise UserError(
            "the sigmoid loss of objective=siglip adds a bias to the logits, and the model has none "
            f"(model.logit_bias_init=null): choose objective=contrastive{way}"
        )
    if bias and _name(config.objective.loss) == "softmax_contrastive":
        way = "" if tuned else " or set model.logit_bias_init=null"
        raise UserError(
            f"the model has a bias of its logits (model.logit_bias_init={config.model.logit_bias_init:g}), which the "
            f"softmax loss of objective=contrastive would never train: choose objective=siglip{way}"
        )


def check_classifier(config: DictConfig, task: str) -> None:
    """Raises UserError where a task for classifiers is given another model or other data."""
    for key in ("model", "data"):
        if str((config[key] or {}).get("_target_")).rpartition(".")[2] in _CONTRASTS[key]:
            raise UserError(
                f"{key} is for contrastive towers, and `triptych {task}` takes classifiers of images: choose another "
                f"{key} (`triptych ls {key}`)"
            )


class Kind(ABC):
    """What a run does with its data, its model and its objective."""

    @abstractmethod
    def fill(self, model: Settings, data: LabelledData, allow: tuple[str, ...]) -> None:
        """Fills in what the model's configuration leaves to the data, before they are set up."""

    @abstractmethod
    def image_tower(self, model: nn.Module) -> Any:
        """The tower that reads the images."""

    @abstractmethod
    def arguments(self, data: LabelledData, objective: Settings) -> Settings:
        """What the objective needs beside what every one does."""

    @abstractmethod
    def recipe(self, data: LabelledData) -> Settings:
        """What a checkpoint says beside the model and its preprocessing."""

    def preprocess(self, model: nn.Module, data: LabelledData, settings: Settings) -> Preprocess | AudioPreprocess:
        """What the model wants of its input from now on."""
        if isinstance(data, AudioData):
            return data.preprocess
        assert isinstance(data, ImageData)
        size, native = data.image_size, None
        evaluate = settings["data"]["evaluate"]
        if isinstance(size, NativeSize):
            tower = self.image_tower(model)
            check_native(size, tower, settings)
            # What only training does is no part of what the model wants of its images.
            size, native = tower.image_size, replace(size, sides=None, max_batch_tokens=None)
        return Preprocess(
            size, data.mean, data.std, evaluate["interpolation"], evaluate["crop_fraction"], native=native
        )


class Classifying(Kind):
    """Labels: the model has a head of as many classes as the data."""

    def fill(self, model: Settings, data: LabelledData, allow: tuple[str, ...]) -> None:
        """Classes and channels; the bands of sounds must be those that the tower reads."""
        if isinstance(data, AudioData) and model["tower"].get("mel_bins") != data.front_end.mel_bins:
            raise UserError(
                f"the front end gives {data.front_end.mel_bins} bands, and model.tower.mel_bins is "
                f"{model['tower'].get('mel_bins')}: set it to {data.front_end.mel_bins}, or choose another "
                "data.front_end (its mel_bins, where it has that setting)"
            )
        _fill(model, "num_classes", len(data.classes), "classes")
        _fill(takes_channels(model), "channels", data.channels, "channels")

    def image_tower(self, model: nn.Module) -> Any:
        """The only one."""
        return getattr(model, "tower", None)

    def arguments(self, data: LabelledData, objective: Settings) -> Settings:
        """Raises UserError for data with several labels a sample and an objective for one, or the other way round."""
        multi_label = objective.get("multi_label", False)
        if data.multilabel != multi_label:
            raise UserError(
                f"objective.multi_label={multi_label}, but the data have "
                f"{'several labels' if data.multilabel else 'one label'} a sample: choose "
                f"objective={'multi_label' if data.multilabel else 'classification'}"
            )
        return {"num_classes": len(data.classes), "front_end": data.front_end}

    def recipe(self, data: LabelledData) -> Settings:
        """The classes."""
        return {"classes": data.classes, "multi_label": data.multilabel}


class Contrasting(Kind):
    """Captions: the model has a tokenizer, which makes ids of those of the data, and no classes."""

    def fill(self, model: Settings, data: LabelledData, allow: tuple[str, ...]) -> None:
        """Channels; and the tokenizer, made of the captions where it is one of those, which the data get, too."""
        data = cast(CaptionedData, data)
        _fill(takes_channels(model), "channels", data.channels, "channels")
        data.tokenizer = fill_vocabulary(model, data.corpus(), allow)

    def image_tower(self, model: nn.Module) -> Any:
        """That of the modality `image`."""
        return cast(Any, model).towers["image"]

    def arguments(self, data: LabelledData, objective: Settings) -> Settings:
        """The prompts of the validation sets that are classified."""
        return {"prompts": self._prompts(cast(CaptionedData, data)), "front_ends": [data.front_end]}

    def recipe(self, data: LabelledData) -> Settings:
        """Nothing: any class can be named."""
        return {}

    def _prompts(self, data: CaptionedData) -> dict[str, Prompts]:
        found = {}
        templates = templates_of(data.templates or "photo")
        for name, source in data.validation_sources.items():
            labelled = not isinstance(source, Captioned)
            if (data.templates is None and not labelled) or not _has_names(source):
                continue
            names = [spoken(each) for each in source.classes]
            ids, lengths = data.tokenizer([text for each in names for text in filled(templates, each)])
            shape = (len(names), len(templates))
            found[name] = Prompts(ids.unflatten(0, shape), lengths.unflatten(0, shape))
        return found


def kind_of(objective: Any) -> Kind:
    """The kind of run that an objective, or a factory of one, is for."""
    made = objective.func if isinstance(objective, partial) else objective
    return Contrasting() if isinstance(made, type) and issubclass(made, ContrastiveObjective) else Classifying()


def check_teacher(objective: object, data: LabelledData) -> None:
    """Raises UserError where a teacher knows other classes than the data have."""
    if isinstance(objective, DistillationObjective):
        objective.teacher.check(len(data.classes), data.classes)


def _has_names(source: Source) -> bool:
    """Each sample is of a class that has a name; a sample without one is of a class of its own."""
    if not isinstance(source, Captioned):
        return bool(source.classes)
    return bool(source.classes) and int(source.pairs.ids.max(initial=0)) < len(source.classes)


def _fill(place: Settings, key: str, wanted: int, what: str) -> None:
    if place.get(key) is None:
        place[key] = wanted
    elif place[key] != wanted:
        raise UserError(
            f"the model has {key}={place[key]}, but the data have {wanted} {what}: leave {key} of the model empty "
            "(null)"
        )
