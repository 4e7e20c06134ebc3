"""`triptych zero_shot`: which of its questions is asked."""

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from triptych.errors import UserError
from triptych.evaluation.common import Settings, share
from triptych.evaluation.outputs import need_parquet
from triptych.parallel.ranks import Ranks
from triptych.prompts.words import ClassFile, labels_of, templates_of
from triptych.zero_shot.measure import Measurement
from triptych.zero_shot.picture import ask


def zero_shot(config: DictConfig) -> int:
    """Answers as `config` (the schema's `ZeroShot`) says; the exit code.

    Raises:
        UserError: what is given is not there or does not fit. What can be told without the model is told first.
    """
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    if settings["templates"] is not None:
        settings["templates"] = templates_of(settings["templates"])
    if settings["image"] is not None:
        return ask(settings, _labels(settings))
    if settings["labels"] is not None:
        raise UserError(
            "labels=... goes with image=...: the classes of data have names of their own, and classes=FILE gives others"
        )
    if settings["classes"] is not None:
        ClassFile(settings["classes"])
    few = next((shots for shots in settings["shots"] if shots < 1), None)
    if few is not None:
        raise UserError(f"shots has {few}; each must be at least 1")
    if settings["predictions"] == "parquet":
        need_parquet()
    return share(_measure, settings)


def _measure(settings: Settings, ranks: Ranks) -> None:
    Measurement(settings, ranks).run()


def _labels(settings: dict[str, Any]) -> list[str]:
    if settings["labels"] is not None:
        if settings["classes"] is not None:
            raise UserError("labels=... and classes=... both name what the image could show: leave one of them out")
        return labels_of(settings["labels"])
    if settings["classes"] is None:
        raise UserError(
            f"image={settings['image']} needs names to choose from: give labels='a cat,a dog', or classes=FILE"
        )
    return list(dict.fromkeys(ClassFile(settings["classes"]).names))
