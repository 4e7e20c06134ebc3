"""The data sets to evaluate on, with labels in the places of the model's classes."""

from pathlib import Path
from typing import Any

from triptych.build import RUN_PACKAGES, build
from triptych.data.files import suggest
from triptych.data.medium import Medium
from triptych.data.sound import Sounds
from triptych.data.source import BadSample, Relabelled, Source, SourceFactory, with_root, with_setting
from triptych.errors import UserError
from triptych.evaluation.given import GivenModel
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess

TRAIN = "train"
_TRIED = 100  # samples, until one can be read


def build_sets(
    data: dict[str, Any], names: list[str] | None, given: GivenModel, allow: tuple[str, ...] = ()
) -> dict[str, Source]:
    """The sources of a data configuration by name, each matched to the model by the names of its classes.

    Args:
        data: the settings of a data module, of which `train`, `validation` and `root` count.
        names: which of them; None takes every validation set.
        given: the model.
        allow: packages of the user's own that the settings may name.

    Raises:
        UserError: no such set; classes, labels or channels that the model does not have.
    """
    medium = medium_of(data, given.preprocess, given.path)
    found = sources_of(data, names, allow, medium)
    sources = {name: _matched(name, source, given) for name, source in found.items()}
    if isinstance(given.preprocess, Preprocess):
        for name, source in sources.items():
            check_channels(name, source, len(given.preprocess.mean))
    return sources


def medium_of(data: dict[str, Any], preprocess: Preprocess | AudioPreprocess, path: Path) -> Medium | None:
    """How sounds are decoded for the model; None for images.

    Raises:
        UserError: data of sounds for a model of images, or the other way round.
    """
    sounds = str(data.get("_target_")).rpartition(".")[2] in ("AudioData", "SoundPairsData")
    if sounds != isinstance(preprocess, AudioPreprocess):
        words = ("sounds", "images") if sounds else ("images", "sounds")
        raise UserError(f"the data are {words[0]}, and the model in {path} is of {words[1]}: choose other data")
    if not isinstance(preprocess, AudioPreprocess):
        return None
    return Sounds(
        preprocess.sample_rate, data.get("stereo", "mean"), data.get("resampling", True), preprocess.min_seconds
    )


def sources_of(
    data: dict[str, Any], names: list[str] | None, allow: tuple[str, ...] = (), medium: Medium | None = None
) -> dict[str, Source]:
    """The sources of a data configuration by name, as they are, of a medium other than pictures where there is one.
    Arguments: `build_sets`.

    Raises:
        UserError: no such set, or something else than a set.
    """
    if not (isinstance(data.get("validation"), dict) and isinstance(data.get("train"), dict)):
        raise UserError(
            f"the data ({data.get('_target_')}) do not say what their train and validation sets are: give data=... "
            "(`triptych ls data` lists the choices)"
        )
    configs = dict(data["validation"])
    known = [*configs, *([TRAIN] if TRAIN not in configs else [])]
    configs.setdefault(TRAIN, data["train"])
    chosen = list(data["validation"]) if names is None else names
    for name in chosen:
        if name not in configs:
            raise UserError(f"sets has {name!r}, which is no set of these data{suggest(name, known)}")
    if not chosen:
        raise UserError(f"there is no set to evaluate: choose from sets=[{','.join(known)}]")
    sources = {
        name: with_root(data.get("root"), _of(medium, build(configs[name], (*RUN_PACKAGES, *allow))))()
        for name in dict.fromkeys(chosen)
    }
    for name, source in sources.items():
        if not isinstance(source, Source):
            raise UserError(f"the set {name!r} is a {type(source).__name__}, which is no set of samples")
    return sources


def _of(medium: Medium | None, factory: SourceFactory) -> SourceFactory:
    return factory if medium is None else with_setting(factory, "medium", medium)


def _matched(name: str, source: Source, given: GivenModel) -> Source:
    if given.classes is None:
        outputs = getattr(given.model, "num_classes", "some")
        raise UserError(
            f"{given.path} does not name its {outputs} classes, and labels are matched by name: give "
            "checkpoint.classes=FILE, a text file with a name a line, in the order of the model's outputs"
        )
    if given.multi_label is not None and source.multilabel != given.multi_label:
        words = {True: "several labels a sample", False: "one label a sample"}
        raise UserError(
            f"the set {name!r} has {words[source.multilabel]}, and the model in {given.path} was trained with "
            f"{words[given.multi_label]}: choose other data, or another label of them"
        )
    unknown = [each for each in source.classes if each not in given.classes]
    if unknown:
        raise UserError(
            f"the set {name!r} has the class {unknown[0]!r}"
            f"{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''} that the model in {given.path} does not "
            f"know; it knows {len(given.classes)} classes{suggest(unknown[0], given.classes)}"
        )
    return source if source.classes == given.classes else Relabelled(source, given.classes)


def check_channels(name: str, source: Source, channels: int) -> None:
    """Raises UserError where the first image that can be read has other channels."""
    for index in range(min(len(source), _TRIED)):
        try:
            picture, _ = source.read(index)
        except BadSample:
            continue
        # A PIL image is converted; a tensor has the channels that its source was told.
        found = getattr(picture, "shape", (channels,))[0]
        if found != channels:
            raise UserError(
                f"images of the set {name!r} have {found} channel{'s' if found > 1 else ''} "
                f"({source.name(index)}), and the model takes {channels}: for folders and shards set "
                f"{f'data.{TRAIN}' if name == TRAIN else f'data.validation.{name}'}.channels={channels}"
            )
        return
