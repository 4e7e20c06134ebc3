"""What a classifier said of one picture or sound, and which parts of it that rests on."""

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from triptych.analysis.attention import attention_maps
from triptych.analysis.rollout import attention_rollout, gradient_rollout
from triptych.analysis.sound_picture import picture_of
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.front_end import as_type
from triptych.models.classifier import Classifier


@dataclass(frozen=True)
class Explanation:
    """One picture as the model saw it, or the spectrogram of a sound, and maps over it; every map lies on the grid of
    patches, `(rows, columns)`, the first row above.

    ``pixels``: resized and cut as the model wants them, uint8; of a sound `spectrogram_picture`. ``probabilities``: of
    the classes. ``target``: the class that ``relevance`` speaks for. ``rollout``: attention rollout. ``layers``: each
    layer's attention, a map for each of its heads.
    """

    pixels: UInt8[Tensor, "channels height width"]
    probabilities: Float[Tensor, " classes"]
    target: int
    rollout: Float[Tensor, "rows columns"]
    relevance: Float[Tensor, "rows columns"]
    layers: list[Float[Tensor, "heads rows columns"]]


def explain(
    model: Classifier,
    sample: UInt8[Tensor, "channels _ _"] | Float[Tensor, "1 samples"],
    target: int | None = None,
    multi_label: bool = False,
    fusion: str = "mean",
    discard: float = 0.0,
) -> Explanation:
    """Everything that can be shown of the attention of `model` to one picture or sound, on the CPU.

    Args:
        model: with softmax attention throughout, on any device.
        sample: a picture of any size, or a waveform; `model.preprocess` makes it what the model wants.
        target: the class to explain; None takes the one that the model predicts.
        multi_label: probabilities are those of several labels, each by itself.
        fusion: how rollout makes one of the heads.
        discard: the share of each layer's smallest weights that rollout leaves out.

    Raises:
        UserError: no softmax attention, or a setting out of range.
    """
    like = next(model.parameters())
    preprocess, batch = model.preprocess, None
    cut = preprocess.cut(sample)
    if isinstance(preprocess, AudioPreprocess):
        batch = as_type(preprocess.normalise(preprocess.batch([cut])), like.dtype).to(like.device)
    else:
        batch = preprocess.normalise(cut)[None].to(like.device, like.dtype)
    # The lowest band is the first row of a tower's grid, and the lowest of a picture.
    turned = isinstance(preprocess, AudioPreprocess)

    def placed(weights: Tensor) -> Tensor:
        return weights.flip(-2).float().cpu() if turned else weights.float().cpu()

    maps = attention_maps(model, batch)
    logits = maps.output[0].float().cpu()
    wanted = int(logits.argmax()) if target is None else target
    return Explanation(
        picture_of(sample, preprocess) if turned else cut,
        logits.sigmoid() if multi_label else logits.softmax(0),
        wanted,
        placed(attention_rollout(model, batch, fusion, discard=discard)[0]),
        placed(gradient_rollout(model, batch, [wanted])[0]),
        [placed(maps.on_grid(number)[0]) for number in sorted(maps.layers)],
    )
