"""Transformers for text, images and audio from one set of blocks.

model = triptych.create("vit_small_patch16_224", num_classes=10)
model = triptych.load("outputs/train/emoji/2026-01-01_12-00-00")
triptych.export(model, "folder", format="timm")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triptych.checkpoints.load import export, load
    from triptych.presets import create

__all__ = ["create", "export", "load"]


def __getattr__(name: str) -> object:
    # torch takes seconds to import: help and listing must not wait for it
    if name == "create":
        from triptych.presets import create

        return create
    if name in ("load", "export"):
        from triptych.checkpoints import load

        return getattr(load, name)
    raise AttributeError(f"module 'triptych' has no attribute {name!r}")
