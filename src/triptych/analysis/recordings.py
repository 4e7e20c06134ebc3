"""The worst mistakes of a model of sounds, to be listened to."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import soundfile
from jaxtyping import Float
from torch import Tensor

from triptych.analysis.mistakes import worst_mistakes
from triptych.analysis.results import ClassificationResults

MOST_SECONDS = 10.0  # of a sound in a page, whose middle stands for a longer one


@dataclass(frozen=True)
class Recording:
    """A sound with what is to be read beside it; ``flac`` is a whole file."""

    caption: str
    flac: bytes

    @classmethod
    def of(cls, waveform: Float[Tensor, "channels samples"], sample_rate: int, caption: str) -> "Recording":
        """Samples beyond 1 are cut off, as every player does."""
        extra = max(0, waveform.shape[1] - round(MOST_SECONDS * sample_rate))
        middle = waveform[:, extra // 2 : waveform.shape[1] - (extra + 1) // 2]
        file = io.BytesIO()
        soundfile.write(file, middle.clamp(-1, 1).T.cpu().numpy(), sample_rate, format="FLAC", subtype="PCM_16")
        return cls(caption, file.getvalue())


def worst_recordings(
    results: ClassificationResults,
    waveform_of: Callable[[int], Tensor],
    sample_rate: int,
    most: int = 16,
    name_of: Callable[[int], str] | None = None,
) -> list[Recording]:
    """The mistakes of highest loss, worst first, as `draw_mistakes` shows them; ``waveform_of`` gives a sample's sound
    by its number, ``name_of`` its name.
    """
    found = []
    for each in worst_mistakes(results, most):
        told = f"{each.true}, heard as {each.predicted} ({each.confidence:.0%})"
        name = f" · {name_of(each.index).rpartition('/')[2]}" if name_of is not None else ""
        found.append(Recording.of(waveform_of(each.index), sample_rate, told + name))
    return found
