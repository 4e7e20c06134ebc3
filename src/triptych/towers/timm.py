"""Any architecture of timm as a vision tower."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.errors import UserError
from triptych.nn.layout import SequenceLayout
from triptych.nn.patch import Size, height_width
from triptych.towers.output import TowerOutput

NEAR = 3


class TimmTower(nn.Module):
    """A model of timm without its head: convolutional networks, hierarchical transformers, hybrids.

    ``name`` is an architecture as ``timm.list_models()`` has them, with the tag of its weights or without.
    ``image_size`` is in pixels, one number or (height, width). With ``pretrained`` the weights of that name are taken
    from timm's cache, or fetched from its hub; otherwise nothing is fetched. ``stochastic_depth``, ``dropout``: see
    timm's ``drop_path_rate`` and ``drop_rate``; None leaves them as the architecture has them.

    Raises UserError where timm knows no such architecture, or it takes no images of that size or number of channels.
    """

    def __init__(
        self,
        name: str,
        image_size: Size = 224,
        channels: int = 3,
        pretrained: bool = False,
        stochastic_depth: float | None = None,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.name, self.image_size, self.channels = name, height_width(image_size), channels
        rates = {"drop_path_rate": stochastic_depth, "drop_rate": dropout}
        self.arguments: dict[str, Any] = {"in_chans": channels, **_input_size(name, self.image_size)}
        self.model: Any = create(
            name, 0, pretrained, **self.arguments, **{k: v for k, v in rates.items() if v is not None}
        )
        _check_patches(name, self.model, self.image_size)
        self.embedding_dim = int(self.model.head_hidden_size)
        self.dim = int(self.model.num_features)
        self._channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"

    def forward(
        self, images: Float[Tensor, "batch channels height width"] | Sequence[Float[Tensor, "channels _ _"]]
    ) -> TowerOutput:
        """Images, float and normalised, to tokens (the cells of the last feature map, row by row, or timm's own tokens)
        and their pooled embedding. Raises UserError for images of differing sizes, which only a `VisionTower` packs.
        """
        if not isinstance(images, Tensor):
            raise UserError(
                f"{self.name} of timm takes images of one size, as one tensor (batch, channels, height, width), not "
                f"{len(images)} of their own sizes; resize them, or take a VisionTower."
            )
        features = self.model.forward_features(images)
        pooled = self.model.forward_head(features, pre_logits=True)
        tokens = self._tokens(features)
        prefix = int(getattr(self.model, "num_prefix_tokens", 0)) if features.ndim == 3 else 0
        layout = SequenceLayout.dense(len(tokens), tokens.shape[1], prefix=prefix, device=tokens.device)
        return TowerOutput(tokens, pooled.flatten(1), layout)

    def _tokens(self, features: Tensor) -> Float[Tensor, "batch tokens dim"]:
        if features.ndim == 3:
            return features
        if features.ndim == 2:
            return features[:, None]
        return features.flatten(1, 2) if self._channels_last else features.flatten(2).transpose(1, 2)


def create(name: str, num_classes: int, pretrained: bool, **arguments: Any) -> nn.Module:
    """A model of timm by its registered name; nothing is fetched unless ``pretrained``.

    Raises UserError where there is none of that name, or it does not take the arguments.
    """
    import timm
    from timm.models import is_model

    # A name such as hf-hub:... or local-dir:... would be looked up elsewhere, weights or not.
    if ":" in name or not is_model(name):
        from difflib import get_close_matches

        near = get_close_matches(name, timm.list_models(), n=NEAR)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"timm has no architecture {name!r}{hint}. `timm.list_models()` lists them")
    try:
        with torch.device("cpu"):
            return timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, OSError) as error:
        told = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise UserError(f"timm cannot build {name} with {told}: {error}") from error


def _check_patches(name: str, model: Any, image_size: tuple[int, int]) -> None:
    """Raises UserError where a network that cuts images into patches would leave a rest, which it only tells later."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if isinstance(patch, tuple) and any(side % part for side, part in zip(image_size, patch, strict=False)):
        raise UserError(
            f"{name} takes images in patches of {patch[0]} x {patch[1]} pixels, of which {image_size[0]} x "
            f"{image_size[1]} is no multiple; choose another image_size."
        )


def _input_size(name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """What tells timm of the image size, for architectures that are built for one."""
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name) if ":" not in name else None
    if known is None or not known.fixed_input_size or tuple(known.input_size[1:]) == image_size:
        return {}
    return {"img_size": image_size}
