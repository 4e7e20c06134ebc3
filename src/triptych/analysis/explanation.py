"""What a classifier said of one picture, and which parts of it that rests on."""

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from triptych.analysis.attention import attention_maps
from triptych.analysis.rollout import attention_rollout, gradient_rollout
from triptych.models.classifier import Classifier


@dataclass(frozen=True)
class Explanation:
    """One picture as the model saw it, and maps over it; every map lies on the grid of patches, `(rows, columns)`.

    ``pixels``: resized and cut as the model wants them, uint8. ``probabilities``: of the classes. ``target``: the class
    that ``relevance`` speaks for. ``rollout``: attention rollout. ``layers``: each layer's attention, a map for each
    of its heads.
    """

    pixels: UInt8[Tensor, "channels height width"]
    probabilities: Float[Tensor, " classes"]
    target: int
    rollout: Float[Tensor, "rows columns"]
    relevance: Float[Tensor, "rows columns"]
    layers: list[Float[Tensor, "heads rows columns"]]


def explain(
    model: Classifier,
    picture: UInt8[Tensor, "channels _ _"],
    target: int | None = None,
    multi_label: bool = False,
    fusion: str = "mean",
    discard: float = 0.0,
) -> Explanation:
    """Everything that can be shown of the attention of `model` to one picture, on the CPU.

    Args:
        model: with softmax attention throughout, on any device.
        picture: of any size; `model.preprocess` makes it what the model wants.
        target: the class to explain; None takes the one that the model predicts.
        multi_label: probabilities are those of several labels, each by itself.
        fusion: how rollout makes one of the heads.
        discard: the share of each layer's smallest weights that rollout leaves out.

    Raises:
        UserError: no softmax attention, or a setting out of range.
    """
    like = next(model.parameters())
    pixels = model.preprocess.cut(picture)
    batch = model.preprocess.normalise(pixels)[None].to(like.device, like.dtype)
    maps = attention_maps(model, batch)
    logits = maps.output[0].float().cpu()
    wanted = int(logits.argmax()) if target is None else target
    return Explanation(
        pixels,
        logits.sigmoid() if multi_label else logits.softmax(0),
        wanted,
        attention_rollout(model, batch, fusion, discard=discard)[0].float().cpu(),
        gradient_rollout(model, batch, [wanted])[0].float().cpu(),
        [maps.on_grid(number)[0].float().cpu() for number in sorted(maps.layers)],
    )
