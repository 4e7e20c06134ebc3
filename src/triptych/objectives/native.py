"""What cannot be trained on images of their own sizes, told before a run begins."""

from typing import Any

from torch import nn

from triptych.errors import UserError
from triptych.features.native_size import NativeSize
from triptych.towers.vision import VisionTower


def check_native(native: NativeSize, tower: nn.Module, settings: dict[str, Any]) -> None:
    """Raises UserError where a run's model, objective or trainer needs images of one size.

    Args:
        native: the size of the run's images.
        tower: that of the images.
        settings: the run's configuration in plain containers.
    """
    if not isinstance(tower, VisionTower):
        name = getattr(tower, "name", type(tower).__name__)
        raise _refused(f"{name} takes images of one size: choose a ViT of triptych (`triptych ls model`)")
    patch = tower.patch
    if not native.patch_size == patch.patch_size == patch.stride:
        raise _refused(
            f"data.image_size.patch_size={list(native.patch_size)} rounds sides to whole patches, and the model cuts "
            f"patches of {list(patch.patch_size)} pixels every {list(patch.stride)}: they must be equal"
        )
    objective = settings["objective"]
    if objective.get("mix") is not None:
        raise _refused("objective.mix puts images of one size over each other: set objective/mix=null")
    if "teacher" in objective:
        raise _refused("the teacher of objective=distillation takes images of one size: take objective=classification")
    if settings["trainer"]["compile"]:
        raise _refused("torch.compile would compile anew for nearly every batch: set trainer.compile=false")


def _refused(reason: str) -> UserError:
    return UserError(f"data/image_size=native gives each image its own size, but {reason}")
