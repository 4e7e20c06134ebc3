"""`triptych export`: a trained model in another format, with its card."""

import shutil
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from triptych.checkpoints.load import export
from triptych.checkpoints.onnx import save_onnx
from triptych.errors import UserError
from triptych.evaluation.given import load_given
from triptych.release.card import build_card
from triptych.release.facts import gather
from triptych.rundir import console, write_atomic

CARD = "README.md"


def export_checkpoint(config: DictConfig) -> int:
    """Does what `config` (the schema's `Export`) says; the exit code."""
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    out, kind = Path(settings["out"]).expanduser(), settings["format"]
    for name in ("normalise", "dynamic_size"):
        if kind != "onnx" and not settings[name]:
            raise UserError(f"{name}=false is a setting of format=onnx, and format is {kind}: leave it out")
    if out.exists() or out.is_symlink():
        raise UserError(f"out={out} exists already and is not overwritten; name another folder or remove it")
    given = load_given(settings["checkpoint"], tuple(settings["allow_targets"]))
    facts = gather(given, settings["checkpoint"]["weights"])
    if facts.classes and facts.model.config is not None:
        facts.model.config["classes"] = facts.classes
    extra = ""
    try:
        if kind == "onnx":
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
