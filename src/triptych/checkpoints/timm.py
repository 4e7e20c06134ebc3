"""ViTs as timm's hub writer saves them (``config.json`` beside ``model.safetensors`` or ``pytorch_model.bin``): in and
out.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from triptych.checkpoints.files import new_folder, write_file
from triptych.checkpoints.foreign import CONFIG, WEIGHTS, Described, assemble, folder_of, read_json, read_weights
from triptych.checkpoints.remap import export_state
from triptych.checkpoints.tensors import safetensors_chunks
from triptych.checkpoints.timm_any import any_config
from triptych.checkpoints.timm_config import describe as describe_plain
from triptych.checkpoints.timm_eva import describe_eva, is_eva
from triptych.checkpoints.timm_eva_export import eva_config, needs_eva
from triptych.checkpoints.timm_export import timm_config
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.towers.timm import TimmTower, create


def is_timm(path: str | Path) -> bool:
    """True for a folder that timm's hub writer made, or for a weights file in one."""
    config = read_json(folder_of(Path(path)) / CONFIG)
    return config is not None and isinstance(config.get("architecture"), str)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the weights that lie at ``path``, a folder or a weights file in one; nothing is unpickled that
    needs code.

    Raises UserError where one is missing or damaged.
    """
    folder = folder_of(Path(path))
    config = read_json(folder / CONFIG)
    if config is None or not is_timm(path):
        raise UserError(f"{folder} has no {CONFIG} that names a timm architecture.")
    return config, read_weights(Path(path))


def describe(config: dict[str, Any], state: dict[str, Tensor]) -> Described:
    """What the saved model is, in our terms. Raises UserError where it has a part that we have not."""
    arguments = config.get("model_args")
    if not (arguments is None or isinstance(arguments, dict)):
        raise UserError(f"The timm config has model_args={arguments!r}; expected names with values.")
    return describe_eva(config, state) if is_eva(str(config["architecture"])) else describe_plain(config, state)


def load_timm(path: str | Path, num_classes: int | None = None) -> Classifier:
    """The classifier saved at ``path``, built from its config and filled strictly, in evaluation mode.

    ``num_classes`` gives it a fresh head where it differs from the saved one; a model saved without a head has none
    here. ``model.config`` holds our own description of the model, ``model.preprocess`` what it wants of images.

    Raises UserError where the model is no ViT that we have the parts for, or is damaged.
    """
    config, state = read(path)
    return assemble(describe(config, state), state, Path(path), num_classes)


def save_timm(model: nn.Module, path: str | Path) -> None:
    """Writes a classifier as a new folder that timm reads (``timm.create_model("local-dir:PATH", pretrained=True)``).

    Raises UserError where timm has no such part (naming it), or ``path`` exists.
    """
    if not isinstance(model, Classifier):
        raise UserError(f"Only a Classifier has a form in timm, not a {type(model).__name__}.")
    config, state = _form(model)
    with new_folder(Path(path)) as staging:
        write_file(staging / WEIGHTS[0], safetensors_chunks(state))
        write_file(staging / CONFIG, [json.dumps(config, indent=2).encode()])


def timm_twin(model: Classifier) -> nn.Module:
    """timm's own model of the same architecture, with the same weights and the same rates of what is left out in
    training, in training mode.

    Raises UserError where timm has no such part, naming it, or the model is timm's already.
    """
    if isinstance(model.tower, TimmTower):
        raise UserError(f"{model.tower.name} is timm's own model already")
    config, state = _form(model)
    rates = {"drop_path_rate": model.tower.stack.rates[-1], "patch_drop_rate": model.tower.patch_dropout.rate}
    twin = create(config["architecture"], model.num_classes, False, **_arguments(config), **rates)
    twin.load_state_dict(state)
    return twin


def _form(model: Classifier) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What timm's hub writer would save: the config, and the weights under timm's names."""
    if isinstance(model.tower, TimmTower):
        return any_config(model)
    config, rules = eva_config(model) if needs_eva(model) else timm_config(model)
    return config, export_state(rules, model.state_dict())


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(config["model_args"])
    arguments.pop("num_classes")
    return arguments
