"""Starts the towers of a contrastive model from the checkpoints of others, each by itself."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from triptych.checkpoints.load import load
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive

log = logging.getLogger("triptych.weights")

# Settings of a tower that only training reads.
_TRAINING = frozenset(("init", "stochastic_depth", "patch_dropout", "dropout", "pretrained", "layer_scale"))


class GivenTower:
    """A tower of a checkpoint.

    Args:
        name: image or text.
        path: any checkpoint that `triptych.load` reads. The tower of that name is taken from contrastive ones, and the
            only one of a classifier for images.
        allow: packages that the checkpoint's config may name besides.

    Raises:
        UserError: the checkpoint cannot be read, or has no such tower.
    """

    def __init__(self, name: str, path: str | Path, allow: tuple[str, ...] = ()) -> None:
        self.name, self.key = name, f"tower_weights.{name}={path}"
        model = load(path, allow=allow)
        plain = (getattr(model, "config", None) or {}).get("model", {})
        if isinstance(model, Contrastive):
            if name not in model.modalities:
                raise UserError(
                    f"{self.key}: there is no {name} tower; the towers there are {', '.join(model.modalities)}"
                )
            self.module: nn.Module = model.towers[name]
            self.config, self.tokenizer = plain.get("towers", {}).get(name), plain.get("tokenizer")
        elif isinstance(model, Classifier) and name == "image":
            self.module, self.config, self.tokenizer = model.tower, plain.get("tower"), None
        else:
            raise UserError(
                f"{self.key} holds a {type(model).__name__}, which has no {name} tower: give contrastive towers"
            )

    def fill(self, model: dict[str, Any]) -> None:
        """Puts the tokenizer of a text tower into a model's plain configuration, which may leave it to the captions.

        Raises:
            UserError: the model has another one, whose ids mean other words.
        """
        if self.name != "text" or self.tokenizer is None:
            return
        own = model.get("tokenizer")
        made = isinstance(own, dict) and "OfCaptions" in str(own.get("_target_"))
        if own is not None and not made and own != self.tokenizer:
            raise UserError(
                f"{self.key} reads the ids of its own tokenizer ({_short(self.tokenizer)}), and the model has another "
                f"({_short(own)}): leave model.tokenizer out, which takes that of the weights"
            )
        model["tokenizer"] = self.tokenizer

    def copy_to(self, model: nn.Module, described: dict[str, Any]) -> None:
        """Copies the weights into the tower of that name of ``model``; ``described`` is its plain configuration.

        Raises:
            UserError: they do not fit, and the first misfit is named with both shapes; or the tower would compute
                something else from the same weights, such as with other heads.
        """
        assert isinstance(model, Contrastive)
        tower = model.towers[self.name]
        theirs, own = self.module.state_dict(), tower.state_dict()
        different = list(_different(self.config or {}, described))
        for name in [*own, *theirs]:
            there, here = (tuple(each[name].shape) if name in each else "missing" for each in (theirs, own))
            if there != here:
                raise UserError(
                    f"{self.key} does not fit this tower: {name} is {there} there and {here} here. "
                    f"{self._way_out(different)}"
                )
        # Whatever shows in no shape; images of another size do no harm where positions fit.
        if told := [f"{key} is {one} there and {other} here" for key, one, other in different if key != "image_size"]:
            raise UserError(
                f"{self.key} would compute something else in this tower: {', '.join(told)}. {self._way_out(different)}"
            )
        tower.load_state_dict(theirs)
        log.info("%s: %d weights loaded into the %s tower", self.key, len(own), self.name)

    def _way_out(self, different: list[tuple[str, Any, Any]]) -> str:
        place = f"model.towers.{self.name}."
        words = [f"{place}{key}={_typed(there)}" for key, there, _ in different if not isinstance(there, _Part)]
        parts = [
            f"{place}{key} is a {there} (model/tower/{key.replace('.', '/')}@{place}{key}=... chooses it)"
            for key, there, _ in different
            if isinstance(there, _Part)
        ]
        if not different:
            return f"Make {place.rstrip('.')} as the weights have it"
        return ". ".join(
            ([f"Set {' '.join(words)}"] if words else []) + ([f"There {', '.join(parts)}"] if parts else [])
        )


def given_towers(settings: dict[str, Any]) -> list[GivenTower]:
    """The towers that the settings of a run name.

    Raises:
        UserError: the model is no pair of towers, or all its weights come from elsewhere.
    """
    asked = {name: path for name, path in settings["tower_weights"].items() if path is not None}
    if not asked:
        return []
    if settings["weights"]:
        raise UserError("weights gives every tower, and tower_weights.* gives single ones: set one of the two")
    towers = settings["model"].get("towers")
    if towers is None:
        raise UserError(
            f"tower_weights.{next(iter(asked))} is for contrastive towers, and the model has none: choose one such as "
            "model=clip_nano, or start a classifier with weights=..."
        )
    if lacking := [name for name in asked if name not in towers]:
        raise UserError(f"tower_weights.{lacking[0]}: the model's towers are {', '.join(towers)}")
    return [GivenTower(name, path, tuple(settings["allow_targets"])) for name, path in asked.items()]


class _Part(str):
    """The class that a setting names."""


def _different(there: dict[str, Any], here: dict[str, Any], place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Settings that both have and that are not the same, by dotted key. A number that is null is left to others."""
    for key in sorted(there.keys() & here.keys() - _TRAINING - {"_target_"}):
        one, other = there[key], here[key]
        if isinstance(one, dict) and isinstance(other, dict) and one.get("_target_") == other.get("_target_"):
            yield from _different(one, other, f"{place}{key}.")
        elif isinstance(one, dict) or isinstance(other, dict):
            if one != other:
                yield f"{place}{key}", _named(one), _named(other)
        elif one is not None and other is not None and _plain(one) != _plain(other):
            yield f"{place}{key}", one, other


def _named(part: Any) -> Any:
    return _Part(str(part.get("_target_")).rpartition(".")[2]) if isinstance(part, dict) else part


def _plain(value: Any) -> Any:
    """A number for both sides is the same as two equal ones."""
    if isinstance(value, list | tuple):
        return value[0] if len(set(value)) == 1 else tuple(value)
    return value


def _typed(value: Any) -> str:
    return "null" if value is None else str(value).lower().replace(" ", "")


def _short(tokenizer: dict[str, Any]) -> str:
    return f"{str(tokenizer.get('_target_')).rpartition('.')[2]}, context_length={tokenizer.get('context_length')}"
