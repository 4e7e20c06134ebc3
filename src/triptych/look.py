"""`triptych attention`: predicts pictures and draws what the model looks at in them."""

import logging
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from triptych.analysis.explanation import Explanation, explain
from triptych.analysis.overlays import class_name, draw_explanation
from triptych.data.decode import decode_image
from triptych.data.pictures import find_pictures
from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.evaluation.given import GivenModel, device_of, load_given
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.plain import read_bytes, read_yaml
from triptych.rundir import RunDirectory, console
from triptych.schema.option import near

log = logging.getLogger("triptych.look")

_TOP = 3  # classes printed for each picture


def look(config: DictConfig) -> int:
    """Does what `config` (the schema's `Attention`) says; the exit code."""
    files = find_pictures(config.image)
    if len(files) > config.limit:
        log.warning("drawing the first %d of %d pictures (limit=%d)", config.limit, len(files), config.limit)
        files = files[: config.limit]
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    given = load_given(settings["checkpoint"], tuple(settings["allow_targets"]))
    model = given.model
    if not isinstance(model, Classifier):
        raise UserError(f"{given.path} holds a {type(model).__name__}, but attention is shown of a Classifier")
    if settings["device"]["threads"]:
        torch.set_num_threads(settings["device"]["threads"])
    device = device_of(settings["device"]["accelerator"])
    model.to(device)
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(settings["device"]["precision"])
    classes, multi_label = given.classes or [], _multi_label(given)
    target = None if config.target is None else class_number(config.target, classes, model.num_classes)
    pictures = _read(files, model.preprocess)

    def explained(picture: Tensor) -> Explanation:
        with torch.autocast(device.type, half, enabled=half is not None):
            return explain(model, picture, target, multi_label, config.fusion, config.discard)

    first = explained(pictures[0][1])  # a model without attention is found out before anything is written
    source = RunDirectory.holding(Path(given.path))
    name = config.name or (source.path.parent.name if source else Path(config.checkpoint.path).resolve().stem)
    run = RunDirectory.create(config.output, config.task, name, folders=())
    run.write_config(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    digits = len(str(len(pictures)))
    width = min(max(len(file.name) for file, _ in pictures), 40)
    for number, (file, picture) in enumerate(pictures, start=1):
        found = first if number == 1 else explained(picture)
        # Numbered: two folders may hold pictures of one name.
        place = run.path / f"{f'{number:0{digits}d}_' if len(pictures) > 1 else ''}{file.stem}.png"
        draw_explanation(found, classes, place, config.heads)
        console().print(f"{file.name:<{width}}  {_said(found, classes)}", markup=False)
    console().print(f"{len(pictures)} picture{'s' if len(pictures) > 1 else ''} in {run.path}", markup=False)
    return 0


def class_number(word: str, classes: list[str], count: int) -> int:
    """The class that a user means by its name or its number. Raises UserError, with near misses, for neither."""
    if word in classes:
        return classes.index(word)
    if word.isascii() and word.isdigit() and int(word) < count:
        return int(word)
    if not classes:
        raise UserError(f"target={word} is no class: this checkpoint has no names, so give a number, 0 to {count - 1}")
    close = near(word, classes)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    some = ", ".join(classes[:8]) + (", ..." if count > 8 else "")
    raise UserError(f"target={word} is none of the {count} classes.{hint} They are {some}")


def _multi_label(given: GivenModel) -> bool:
    """A checkpoint of an older version does not say; its run does."""
    if given.multi_label is not None:
        return given.multi_label
    run = RunDirectory.holding(Path(given.path))
    settings = read_yaml(run.config) if run else {}
    return bool((settings.get("objective") or {}).get("multi_label"))


def _read(files: list[Path], preprocess: Preprocess) -> list[tuple[Path, Tensor]]:
    """The pictures that can be read; the others are named. Raises UserError where none can."""
    pictures, reasons = [], []
    for file in files:
        try:
            pictures.append((file, decode_image(read_bytes(file), len(preprocess.mean))))
        except (BadSample, OSError) as error:
            reasons.append(f"{file}: {error}")
    if not pictures:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise UserError(f"no picture can be read. {reasons[0]}{more}")
    for reason in reasons:
        log.warning("left out: %s", reason)
    return pictures


def _said(found: Explanation, classes: list[str]) -> str:
    shares, numbers = found.probabilities.topk(min(_TOP, len(found.probabilities)))
    likely = ", ".join(
        f"{class_name(classes, number)} {share:.1%}"
        for share, number in zip(shares.tolist(), numbers.tolist(), strict=True)
    )
    asked = "" if found.target == int(numbers[0]) else f"  (shown: {class_name(classes, found.target)})"
    return likely + asked
