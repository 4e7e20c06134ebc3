"""Sounds as pictures: the spectrogram that a model sees."""

from typing import Any

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from triptych.features.audio_preprocess import AudioPreprocess

_COLOURS = matplotlib.colormaps["magma"]  # its lightness alone tells the order


def spectrogram_picture(mel: Float[Tensor, "frames mel_bins"]) -> UInt8[Tensor, "3 mel_bins frames"]:
    """A log-mel spectrogram in colours: time to the right, high bands above, dark where it is quietest. The colours
    span the values of this clip, without the quietest hundredth.
    """
    values = mel.double().T.flip(0).cpu().numpy()
    least, most = np.quantile(values, 0.01), values.max()
    shares = (values - least) / max(most - least, 1e-6)
    return torch.from_numpy((_COLOURS(shares.clip(0, 1))[..., :3] * 255).round().astype(np.uint8)).permute(2, 0, 1)


def picture_of(sample: Any, preprocess: Any) -> UInt8[Tensor, "channels height width"]:
    """What stands for a sample in a picture: of a waveform the spectrogram that the model sees, an image as it is."""
    if not isinstance(preprocess, AudioPreprocess):
        return sample
    clip = preprocess.cut(sample)
    return spectrogram_picture(preprocess.normalise(preprocess.batch([clip]))[0])
