"""`triptych export`: a trained model in another format, with its card."""

import shutil
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from triptych.checkpoints.load import export, load
from triptych.checkpoints.onnx import save_onnx
from triptych.errors import UserError
from triptych.evaluation.given import checkpoint_at, known_of
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.release.card import build_card
from triptych.release.facts import Facts, gather
from triptych.rundir import console, write_atomic
from triptych.schema.export import FORMATS

CARD = "README.md"
_CLASSIFIERS, _TOWERS = ("onnx", "timm"), ("open_clip",)
"""Formats for classifiers, and those for contrastive towers, alone."""


def export_checkpoint(config: DictConfig) -> int:
    """Does what `config` (the schema's `Export`) says; the exit code."""
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    out, kind = Path(settings["out"]).expanduser(), settings["format"]
    for name in ("normalise", "dynamic_size"):
        if kind != "onnx" and not settings[name]:
            raise UserError(f"{name}=false is a setting of format=onnx, and format is {kind}: leave it out")
    if out.exists() or out.is_symlink():
        raise UserError(f"out={out} exists already and is not overwritten; name another folder or remove it")
    facts = _facts(settings["checkpoint"], tuple(settings["allow_targets"]))
    if kind in (unfit := _CLASSIFIERS if isinstance(facts.model, Contrastive) else _TOWERS):
        other = "contrastive towers" if unfit is _CLASSIFIERS else "a classifier"
        kinds = ", ".join(each for each in FORMATS if each not in unfit)
        raise UserError(f"format={kind}, but {settings['checkpoint']['path']} holds {other}: take one of {kinds}")
    if facts.classes and facts.model.config is not None:
        facts.model.config["classes"] = facts.classes
    extra = ""
    try:
        if kind == "onnx" and isinstance(facts.model, Classifier):
            extra = str(save_onnx(facts.model, out, settings["normalise"], settings["dynamic_size"]))
        else:
            export(facts.model, out, kind)
        try:
            write_atomic(out / CARD, build_card(facts, kind, extra))
        except BaseException:
            shutil.rmtree(out)  # weights and card, or nothing
            raise
    except OSError as error:
        raise UserError(f"out={out} cannot be written: {error.strerror or error}. Name another folder") from error
    if extra:
        console().print(extra, markup=False)
    files = ", ".join(sorted(each.name for each in out.iterdir()))
    console().print(f"{facts.name} as {kind} in {out}: {files}", markup=False)
    return 0


def _facts(checkpoint: dict[str, Any], allow: tuple[str, ...]) -> Facts:
    """What is known of the model that the settings of a checkpoint name.

    Raises:
        UserError: see `load_given`; names of classes for towers that take any.
    """
    path = checkpoint_at(Path(checkpoint["path"]))
    model = load(path, weights=checkpoint["weights"], allow=allow)
    if not isinstance(model, Contrastive):
        given = known_of(model, path, checkpoint["classes"])
        return gather(given.model, path, given.classes or [], checkpoint["weights"])
    if checkpoint["classes"] is not None:
        raise UserError(
            f"checkpoint.classes={checkpoint['classes']}, but contrastive towers take any names: leave it out"
        )
    return gather(model, path, [], checkpoint["weights"])
